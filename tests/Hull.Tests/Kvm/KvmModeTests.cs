using System.Collections.Generic;
using Hull.Bus;
using Hull.Engine;
using Hull.Memory;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Kvm;

/// <summary>The modes of the CPU, ports and MMIO on this host's KVM.</summary>
public sealed class KvmModeTests
{
    private const ulong MmioAt = 0xD000_0000;
    private const ushort PortAt = 0x500;

    [KvmFact]
    public void RealMode_ReadsAndWritesPorts()
    {
        using KvmGuest guest = new();
        Recorder device = new();
        guest.Bus.MapPorts(PortAt, 4, device);
        ArchState end = guest.Run(guest.Real(static c =>
        {
            c.mov(dx, (short)PortAt);
            c.mov(ax, 0x1234);
            c.@out(dx, ax);
            c.@in(al, dx);
            c.mov(cx, ax);
            KvmGuest.End(c);
        }));
        Assert.Equal(["out 0+2 1234"], device.Seen);
        Assert.Equal(0x12A5u, end.Gpr[1] & 0xFFFF);
        Assert.Equal(0x10u, end.Cr0 & 0x11);
    }

    [KvmFact]
    public void StringOut_SendsEachItem()
    {
        using KvmGuest guest = new();
        Recorder device = new();
        guest.Bus.MapPorts(PortAt, 4, device);
        guest[0x7000] = 0x0605_0403_0201;
        guest.Run(guest.Real(static c =>
        {
            c.mov(dx, (short)PortAt);
            c.mov(si, 0x7000);
            c.mov(cx, 6);
            c.rep.outsb();
            KvmGuest.End(c);
        }));
        Assert.Equal(["out 0+1 1", "out 0+1 2", "out 0+1 3", "out 0+1 4", "out 0+1 5", "out 0+1 6"], device.Seen);
    }

    [KvmFact]
    public void ProtectedMode_ReachesMmioInEverySize()
    {
        using KvmGuest guest = new();
        Recorder device = new();
        guest.Bus.MapMmio(new GuestPhysical(MmioAt), 0x1000, device);
        ArchState end = guest.Run(guest.Protected(static c =>
        {
            c.mov(eax, 0x0102_0304);
            c.mov(ebx, unchecked((int)MmioAt));
            c.mov(__byte_ptr[ebx + 1], al);
            c.mov(__word_ptr[ebx + 2], ax);
            c.mov(__dword_ptr[ebx + 8], eax);
            c.mov(ecx, __dword_ptr[ebx + 0x10]);
            KvmGuest.End(c);
        }));
        Assert.Equal(["store 1+1 4", "store 2+2 304", "store 8+4 1020304", "load 10+4"], device.Seen);
        Assert.Equal(0xA5A5_A5A5u, end.Gpr[1]);
    }

    [KvmFact]
    public void LongMode_PagesAndReachesMmioAcrossAnOddPlace()
    {
        using KvmGuest guest = new();
        Recorder device = new();
        guest.Bus.MapMmio(new GuestPhysical(MmioAt), 0x1000, device);
        ArchState state = guest.Long(static c =>
        {
            c.mov(rbx, 0x4000_0000UL);
            c.mov(rax, 0x1122_3344_5566_7788UL);
            c.mov(__qword_ptr[rbx + 8], rax);
            c.mov(rcx, __qword_ptr[rbx + 0x10]);
            c.mov(rdx, 0x4000_1000UL);
            c.mov(rsi, __qword_ptr[rdx]);
            KvmGuest.End(c);
        });

        // 1 GiB is the device's page, and one of RAM behind it that lies elsewhere.
        guest[0x2008] = 0x60_0003;
        guest[0x60_0000] = 0x60_1003;
        guest[0x60_1000] = MmioAt | 0x13;
        guest[0x60_1008] = 0x70_0003;
        guest[0x70_0000] = 0xFEED;
        ArchState end = guest.Run(state);
        Assert.Equal(["store 8+8 1122334455667788", "load 10+8"], device.Seen);
        Assert.Equal(0xA5A5_A5A5_A5A5_A5A5u, end.Gpr[1]);
        Assert.Equal(0xFEEDu, end.Gpr[6]);
        Assert.NotEqual(0u, guest[0x60_1008] & 0x20); // accessed
    }

    [KvmFact]
    public unsafe void ReadOnlyMemory_IsReadAtOnce_AndItsWritesAreMmio()
    {
        using KvmGuest guest = new();
        Recorder device = new();
        guest.Bus.MapMmio(new GuestPhysical(MmioAt), 0x1000, device);
        using GuestMemory rom = new(0x10_0000);
        rom.Write(new GuestPhysical(0), 0x5151_5151u);
        guest.Engine.Slots.AddReadOnly(new GuestPhysical(MmioAt), 0x1000, rom.Base);
        ArchState end = guest.Run(guest.Protected(static c =>
        {
            c.mov(ebx, unchecked((int)MmioAt));
            c.mov(ecx, __dword_ptr[ebx]);
            c.mov(__dword_ptr[ebx], ebx);
            KvmGuest.End(c);
        }));
        Assert.Equal(0x5151_5151u, end.Gpr[1]);
        Assert.Equal(["store 0+4 d0000000"], device.Seen);
        Assert.Equal(0x5151_5151u, rom.Read<uint>(new GuestPhysical(0)));
    }

    [KvmFact]
    public void NothingThere_ReadsAsOnes()
    {
        using KvmGuest guest = new();
        ArchState end = guest.Run(guest.Protected(static c =>
        {
            c.mov(ebx, unchecked((int)MmioAt));
            c.mov(ecx, __dword_ptr[ebx]);
            c.mov(dx, 0x777);
            c.@in(eax, dx);
            c.mov(esi, eax);
            KvmGuest.End(c);
        }));
        Assert.Equal(uint.MaxValue, end.Gpr[1]);
        Assert.Equal(uint.MaxValue, end.Gpr[6]);
    }

    [KvmFact]
    public void TripleFault_ShutsDown()
    {
        using KvmGuest guest = new();
        ArchState state = guest.Long(static c => c.ud2());
        state.Idtr = new DescriptorTableRegister(0, 0);
        guest.Vcpus[0].SetState(state);
        Assert.Equal(VcpuExit.Shutdown, guest.Go());
    }

    [KvmFact]
    public void Cpuid_IsThePolicys()
    {
        using KvmGuest guest = new();
        ArchState end = guest.Run(guest.Long(static c =>
        {
            c.mov(eax, 0x4000_0010);
            c.cpuid();
            c.mov(r8d, eax);
            c.xor(eax, eax);
            c.xor(ecx, ecx);
            c.cpuid();
            c.mov(r9d, ebx);
            c.mov(r10d, eax);
            KvmGuest.End(c);
        }));
        CpuidResult zero = guest.Engine.Cpuid.Query(0, 0);
        Assert.Equal(zero.Ebx, end.Gpr[9]);
        Assert.Equal(zero.Eax, end.Gpr[10]);
        Assert.NotEqual(0u, end.Gpr[8]); // the guest's TSC in kHz
    }

    [KvmFact]
    public void FactMsr_IsAnsweredByTheTable_AndAnUnknownOneFaults()
    {
        using KvmGuest guest = new();
        ArchState state = guest.Long(static c =>
        {
            c.mov(ecx, 0xFE);
            c.rdmsr();
            c.mov(r8d, eax);
            c.mov(ecx, 0x1234_5678);
            c.rdmsr();
            KvmGuest.End(c);
        });

        // #GP: its handler ends the run.
        guest.Put(0x8000 + (16 * 13), 64, static c =>
        {
            c.mov(r9d, 13);
            KvmGuest.End(c);
        });
        ArchState end = guest.Run(state);
        Assert.Equal(0x508u, end.Gpr[8]);
        Assert.Equal(13u, end.Gpr[9]);
    }

    /// <summary>Writes down what comes, and answers with A5.</summary>
    private sealed class Recorder : IPortDevice, IMmioDevice
    {
        internal List<string> Seen { get; } = [];

        public uint ReadPort(ushort offset, int size) => 0xA5;

        public void WritePort(ushort offset, int size, uint value) => Seen.Add($"out {offset:x}+{size} {value:x}");

        public ulong ReadMmio(ulong offset, int size)
        {
            Seen.Add($"load {offset:x}+{size}");
            return 0xA5A5_A5A5_A5A5_A5A5UL & (size == 8 ? ulong.MaxValue : (1UL << (size * 8)) - 1);
        }

        public void WriteMmio(ulong offset, int size, ulong value) => Seen.Add($"store {offset:x}+{size} {value:x}");
    }
}
