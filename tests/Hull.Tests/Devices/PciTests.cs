using System.Collections.Generic;
using Hull.Bus;
using Hull.Devices.Pci;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Devices;

public sealed class PciTests
{
    private readonly TestPc _pc = new();

    [Fact]
    public void HostBridge_IsFoundBothWays()
    {
        Assert.Equal(0x29C0_8086u, Config(0, 0));
        Assert.Equal(0x29C0_8086u, (uint)_pc.Bus.ReadMmio(new GuestPhysical(0xE000_0000), 4));
        Assert.Equal(0x0600_0000u, Config(0, 8));
        _pc.Out32(0xCF8, 0x8000_0000);
        Assert.Equal(0x8000_0000u, _pc.In32(0xCF8));
        Assert.Equal(0x29C0, _pc.In16(0xCFE));
    }

    [Fact]
    public void NoFunction_ReadsAsOnes()
    {
        Assert.Equal(uint.MaxValue, Config(5, 0));
        Assert.Equal(uint.MaxValue, (uint)_pc.Bus.ReadMmio(new GuestPhysical(0xE010_0000), 4));
        _pc.Out32(0xCF8, 0);
        Assert.Equal(uint.MaxValue, _pc.In32(0xCFC));
    }

    [Fact]
    public void Bar_TellsItsSize_AndMovesTheDevice()
    {
        TestDevice device = new();
        PciFunction function = AddFunction(device, 0x4000, wide: true);
        SetConfig(3, 0x10, uint.MaxValue);
        SetConfig(3, 0x14, uint.MaxValue);
        Assert.Equal(0xFFFF_C004u, Config(3, 0x10));
        Assert.Equal(0xFFFF_FFFFu, Config(3, 0x14));
        SetConfig(3, 0x10, 0xC010_0000);
        SetConfig(3, 0x14, 0);
        Assert.Equal(0xC010_0000UL, function.GetBarAddress(0));
        Assert.Equal(0xFFFF_FFFFUL, _pc.Bus.ReadMmio(new GuestPhysical(0xC010_0008), 4));
        SetConfig(3, 0x04, 2);
        Assert.Equal(8UL, _pc.Bus.ReadMmio(new GuestPhysical(0xC010_0008), 4));
        SetConfig(3, 0x10, 0xC020_0000);
        Assert.Equal(0xFFFF_FFFFUL, _pc.Bus.ReadMmio(new GuestPhysical(0xC010_0008), 4));
        Assert.Equal(8UL, _pc.Bus.ReadMmio(new GuestPhysical(0xC020_0008), 4));
        SetConfig(3, 0x04, 0);
        Assert.Equal(0xFFFF_FFFFUL, _pc.Bus.ReadMmio(new GuestPhysical(0xC020_0008), 4));
    }

    [Fact]
    public void BarOverAnotherDevice_IsNotMapped()
    {
        AddFunction(new TestDevice(), 0x4000, wide: false);
        SetConfig(3, 0x10, 0xFEC0_0000);
        SetConfig(3, 0x04, 2);
        Assert.Equal(0x0017_0020u, _pc.ReadIoApic(1));
        SetConfig(3, 0x04, 0);
        Assert.Equal(0x0017_0020u, _pc.ReadIoApic(1));
    }

    [Fact]
    public void AssignBars_GivesEachItsPlace()
    {
        PciFunction one = AddFunction(new TestDevice(), 0x4000, wide: true);
        PciFunction two = new(Identity());
        two.AddBar(1, new PciBar(new TestDevice(), 0x10_0000, wide: false));
        two.AddBar(2, new PciBar((IPortDevice)new TestDevice(), 32));
        _pc.Chipset.Pci.Attach(two, 4);
        _pc.Chipset.Pci.AssignBars();
        Assert.Equal(0xC000_0000UL, one.GetBarAddress(0));
        Assert.Equal(0xC010_0000UL, two.GetBarAddress(1));
        Assert.Equal(0x1000UL, two.GetBarAddress(2));
        Assert.Equal(0x1001u, Config(4, 0x18));
    }

    [Fact]
    public void Capabilities_MakeAList()
    {
        PciFunction function = AddFunction(new TestDevice(), 0x4000, wide: true);
        int first = function.AddCapability(0x09, 16);
        int second = function.AddCapability(0x11, 12);
        Assert.Equal((uint)first, Config(3, 0x34) & 0xFF);
        Assert.Equal(0x09u | ((uint)second << 8), Config(3, first) & 0xFFFF);
        Assert.Equal(0x11u, Config(3, second) & 0xFFFF);
        Assert.Equal(0x10_0000u, Config(3, 4) & 0x10_0000);
    }

    [Fact]
    public void Intx_GoesToItsInput_UnlessDisabled()
    {
        PciFunction function = AddFunction(new TestDevice(), 0x4000, wide: true);
        _pc.Route(19, 0x53, level: true);
        Assert.Equal(0x0113u, Config(3, 0x3C) & 0xFFFF);
        SetConfig(3, 0x04, 0x400);
        function.SetIntx(true);
        Assert.False(_pc.Chipset.LocalApics[0].HasInterrupt);
        Assert.Equal(0x8_0000u, Config(3, 4) & 0x8_0000);
        SetConfig(3, 0x04, 0);
        Assert.True(_pc.Chipset.LocalApics[0].HasInterrupt);
        function.SetIntx(false);
        Assert.Equal([0x53], _pc.TakeAll());
    }

    [Fact]
    public void Msix_SendsItsMessage_OrKeepsItPending()
    {
        RecordingSink sink = new();
        MsixTable table = new(4, sink);
        table.WriteMmio(16, 8, 0xFEE0_3000);
        table.WriteMmio(24, 4, 0x61);
        table.Notify(1);
        Assert.Empty(sink.Messages);
        table.SetControl(0x8000);
        table.Notify(1);
        Assert.Empty(sink.Messages);
        Assert.Equal(2UL, table.ReadMmio(MsixTable.PendingOffset, 4));
        table.WriteMmio(28, 4, 0);
        Assert.Equal([new MsiMessage(0xFEE0_3000, 0x61)], sink.Messages);
        Assert.Equal(0UL, table.ReadMmio(MsixTable.PendingOffset, 8));
        table.SetControl(0xC000);
        table.Notify(1);
        Assert.Single(sink.Messages);
        table.SetControl(0x8000);
        Assert.Equal(2, sink.Messages.Count);
        Assert.Equal(0xFEE0_3000UL, table.ReadMmio(16, 4));
    }

    private static PciIdentity Identity() => new() { Vendor = 0x1AF4, Device = 0x1042, Class = 0x018000 };

    private PciFunction AddFunction(TestDevice device, ulong size, bool wide)
    {
        PciFunction function = new(Identity());
        function.AddBar(0, new PciBar((IMmioDevice)device, size, wide));
        _pc.Chipset.Pci.Attach(function, 3);
        return function;
    }

    private uint Config(int device, int offset)
    {
        _pc.Out32(0xCF8, 0x8000_0000 | ((uint)device << 11) | (uint)offset);
        return _pc.In32(0xCFC);
    }

    private void SetConfig(int device, int offset, uint value)
    {
        _pc.Out32(0xCF8, 0x8000_0000 | ((uint)device << 11) | (uint)offset);
        _pc.Out32(0xCFC, value);
    }

    private sealed class TestDevice : IMmioDevice, IPortDevice
    {
        public ulong ReadMmio(ulong offset, int size) => offset;

        public void WriteMmio(ulong offset, int size, ulong value)
        {
        }

        public uint ReadPort(ushort offset, int size) => offset;

        public void WritePort(ushort offset, int size, uint value)
        {
        }
    }

    private sealed class RecordingSink : IMsiSink
    {
        internal List<MsiMessage> Messages { get; } = [];

        public void Send(MsiMessage message) => Messages.Add(message);
    }
}
