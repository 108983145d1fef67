using System;
using Hull.Bus;
using Hull.Devices.Firmware;
using Hull.Devices.Irq;
using Hull.Devices.Pci;
using Hull.Devices.Test;
using Hull.Memory;
using Hull.Platform;
using Xunit;

namespace Hull.Tests.Devices;

/// <summary>A hostile guest: any access of any size to any register, with time passing. Nothing may throw or hang.</summary>
public sealed class FuzzTests
{
    private const int Accesses = 50_000;

    [Theory]
    [InlineData(0x20, 2)]
    [InlineData(0x40, 4)]
    [InlineData(0x60, 5)]
    [InlineData(0x70, 2)]
    [InlineData(0x80, 1)]
    [InlineData(0x92, 1)]
    [InlineData(0xA0, 2)]
    [InlineData(0x3F8, 8)]
    [InlineData(0x4D0, 2)]
    [InlineData(0x600, 12)]
    [InlineData(0x610, 4)]
    [InlineData(0x620, 12)]
    [InlineData(0xCF8, 8)]
    public void RandomPortAccesses_DoNoHarm(int first, int count)
    {
        TestPc pc = new();
        AddFunction(pc);
        Random random = new(first);
        for (int i = 0; i < Accesses; i++)
        {
            int size = 1 << random.Next(3);
            ushort port = (ushort)(first + random.Next(count));
            if (random.Next(2) == 0)
            {
                uint value = pc.Bus.ReadPort(port, size);
                Assert.True(size == 4 || value >> (size * 8) == 0);
            }
            else
            {
                pc.Bus.WritePort(port, size, Interesting(random));
            }

            Disturb(pc, random);
        }
    }

    [Fact]
    public void RandomLocalApicAccesses_DoNoHarm()
    {
        TestPc pc = new(vcpus: 3);
        Random random = new(11);
        for (int i = 0; i < Accesses * 4; i++)
        {
            LocalApic apic = pc.Chipset.LocalApics[random.Next(3)];
            switch (random.Next(7))
            {
                case 0:
                    apic.WriteMmio((uint)random.Next(0x400) & ~(random.Next(4) == 0 ? 0u : 0xFu), Interesting(random));
                    break;
                case 1:
                    apic.ReadMmio((uint)random.Next(0x1000));
                    break;
                case 2:
                    apic.TryWriteMsr(0x800 + (uint)random.Next(0x100), Interesting(random));
                    break;
                case 3:
                    apic.TryReadMsr(0x800 + (uint)random.Next(0x100), out _);
                    break;
                case 4:
                    apic.TryWriteMsr(0x6E0, (ulong)random.NextInt64() >> random.Next(64));
                    break;
                case 5:
                    apic.TryWriteMsr(0x1B, 0xFEE0_0000 | ((ulong)random.Next(4) << 10));
                    break;
                default:
                    apic.TaskPriority = (byte)random.Next(256);
                    break;
            }

            if (apic.HasInterrupt)
            {
                Assert.InRange(apic.Acknowledge(), -1, 255);
            }

            pc.Chipset.Messages.Send(new MsiMessage(0xFEE0_0000 | Interesting(random), Interesting(random)));
            Disturb(pc, random);
        }
    }

    [Fact]
    public void RandomIoApicAccesses_DoNoHarm()
    {
        TestPc pc = new();
        Random random = new(12);
        IrqLine[] lines = new IrqLine[24];
        for (int i = 0; i < lines.Length; i++)
        {
            lines[i] = pc.Chipset.Interrupts.CreateIoApicLine(i);
        }

        for (int i = 0; i < Accesses; i++)
        {
            GuestPhysical at = new(PlatformMap.IoApicBase + (ulong)(random.Next(2) == 0 ? random.Next(2) * 16 : random.Next(0x1000)));
            pc.Bus.WriteMmio(at, 1 << random.Next(4), Interesting(random));
            pc.Bus.ReadMmio(at, 1 << random.Next(4));
            lines[random.Next(24)].Set(random.Next(2) == 0);
            Disturb(pc, random);
        }
    }

    [Fact]
    public void RandomEcamAccesses_DoNoHarm()
    {
        TestPc pc = new();
        AddFunction(pc);
        Random random = new(13);
        for (int i = 0; i < Accesses; i++)
        {
            ulong slot = random.Next(4) switch { 0 => 0, 1 => (ulong)random.Next(65536), _ => 3 << 3 };
            GuestPhysical at = new(PlatformMap.EcamBase + (slot << 12) + (ulong)random.Next(random.Next(2) == 0 ? 0x40 : 0x1000));
            pc.Bus.WriteMmio(at, 1 << random.Next(4), Interesting(random) | ((ulong)Interesting(random) << 32));
            pc.Bus.ReadMmio(at, 1 << random.Next(4));
        }
    }

    [Fact]
    public void RandomHpetAccesses_DoNoHarm()
    {
        TestPc pc = new();
        Random random = new(15);
        for (int i = 0; i < Accesses; i++)
        {
            GuestPhysical at = new(PlatformMap.HpetBase + (ulong)random.Next(0x180));
            at = random.Next(4) == 0 ? at : new GuestPhysical(at.Value & ~7UL);
            pc.Bus.WriteMmio(at, 1 << random.Next(4), Interesting(random) | ((ulong)Interesting(random) << 32));
            pc.Bus.ReadMmio(at, 1 << random.Next(4));
            Disturb(pc, random);
        }
    }

    [Fact]
    public void RandomFwCfgAndTestDeviceAccesses_DoNoHarm()
    {
        TestPc pc = new();
        PcTestDevice.Map(pc.Bus, pc.Chipset.Interrupts);
        using GuestMemory memory = new(1 << 20);
        IoBus bus = new();
        FwCfg config = new(memory);
        config.AddFile("opt/file", new byte[100]);
        config.Map(bus);
        Random random = new(16);
        byte[] request = new byte[16];
        for (int i = 0; i < Accesses; i++)
        {
            ushort port = (ushort)(PlatformMap.FwCfgPort + random.Next(12));
            random.NextBytes(request);
            request[2] = 0;
            request[3] &= 0x1F;
            memory.TryWrite(new GuestPhysical(0x1000), request);
            bus.WritePort(port, 1 << random.Next(3), random.Next(2) == 0 ? 0x0010_0000 : Interesting(random));
            bus.ReadPort(port, 1 << random.Next(3));
            GuestPhysical at = new(PlatformMap.TestMemoryBase + (ulong)random.Next(0x1_0000));
            pc.Bus.WriteMmio(at, 1 << random.Next(4), Interesting(random));
            pc.Bus.ReadMmio(at, 1 << random.Next(4));
            pc.Bus.WritePort((ushort)(PlatformMap.TestRegisterPort + random.Next(12)), 1 << random.Next(3), Interesting(random));
            pc.Bus.ReadPort((ushort)(PlatformMap.TestRegisterPort + random.Next(12)), 1 << random.Next(3));
            pc.Bus.WritePort((ushort)(PlatformMap.TestIrqPort + random.Next(24)), 1 << random.Next(3), Interesting(random));
            Disturb(pc, random);
        }
    }

    [Fact]
    public void RandomMsixAccesses_DoNoHarm()
    {
        TestPc pc = new();
        MsixTable table = new(5, pc.Chipset.Messages);
        Random random = new(14);
        for (int i = 0; i < Accesses; i++)
        {
            table.WriteMmio((ulong)random.Next(0x1000), 1 << random.Next(4), Interesting(random));
            table.ReadMmio((ulong)random.Next(0x1000), 1 << random.Next(4));
            table.SetControl((ushort)Interesting(random));
            table.Notify(random.Next(-2, 8));
        }
    }

    private static uint Interesting(Random random) => random.Next(4) switch
    {
        0 => (uint)random.NextInt64(),
        1 => (uint)random.Next(256),
        2 => 1u << random.Next(32),
        _ => uint.MaxValue << random.Next(32),
    };

    private static void AddFunction(TestPc pc)
    {
        PciFunction function = new(new PciIdentity { Vendor = 1, Device = 2, Class = 3 });
        MsixTable table = new(4, pc.Chipset.Messages);
        function.AddBar(0, new PciBar((IMmioDevice)table, 0x1000, wide: false));
        function.AddBar(2, new PciBar((IMmioDevice)table, 0x1_0000_0000, wide: true));
        function.AddBar(4, new PciBar(new Silent(), 64));
        table.AddCapability(function, 0, 0);
        pc.Chipset.Pci.Attach(function, 3);
    }

    private static void Disturb(TestPc pc, Random random)
    {
        switch (random.Next(16))
        {
            case 0:
                pc.Time.Advance(random.Next(2_000_000));
                break;
            case 1:
                pc.Chipset.Serial[0].Input.Offer("input"u8);
                break;
            case 2:
                pc.Chipset.Keyboard.Type([0x1E]);
                break;
            case 3:
                pc.Chipset.PowerButton();
                break;
            case 4:
                _ = pc.TakeAll();
                break;
            default:
                break;
        }
    }

    private sealed class Silent : IPortDevice
    {
        public uint ReadPort(ushort offset, int size) => 0;

        public void WritePort(ushort offset, int size, uint value)
        {
        }
    }
}
