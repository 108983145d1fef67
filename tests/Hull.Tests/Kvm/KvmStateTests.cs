using System;
using System.Runtime.Intrinsics.X86;
using Hull.Engine;
using Hull.Host;
using Hull.Kvm.Abi;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Kvm;

/// <summary>Registers in and out, single steps, and what is said when KVM cannot go on.</summary>
public sealed class KvmStateTests
{
    [KvmFact]
    public void State_GoesInAndOutUnchanged()
    {
        using KvmGuest guest = new();
        ArchState state = guest.Long(static c => c.nop());
        Random random = new(1);
        for (int i = 0; i < 16; i++)
        {
            state.Gpr[i] = (ulong)random.NextInt64();
        }

        random.NextBytes(state.Fxsave.AsSpan(32, 384)); // x87 and XMM registers
        for (int i = 0; i < 8; i++)
        {
            state.Fxsave.AsSpan(32 + (16 * i) + 10, 6).Clear();
        }

        state.Fxsave[24] = 0x80;
        state.Fxsave[25] = 0x1F;
        state.Fxsave[4] = 0xFF;
        random.NextBytes(state.YmmHigh);
        state.Xcr0 = 7;
        state.Cr4 |= 0x4_0000;
        state.Cr2 = 0x1234_5678_9000;
        state.Rflags = 0x246;
        state.DebugRegisters[0] = 0x1000;
        state.DebugRegisters[3] = 0x2000;
        state.Segments[4] = state.Segments[4] with { Base = 0x7F00_0000_1000 };
        state.Segments[5] = state.Segments[5] with { Base = 0xFFFF_8000_0000_1000 };
        state.Msrs[0xC000_0082] = 0xFFFF_8000_1234_0000; // LSTAR
        state.Msrs[0xC000_0102] = 0xFFFF_8000_5678_0000; // KERNEL_GS_BASE
        state.Msrs[0x175] = 0x9000;
        state.Msrs[0x277] = 0x0007_0406_0007_0401; // PAT
        state.NmiBlocked = true;
        guest.Vcpus[0].SetState(state);
        ArchState read = guest.Vcpus[0].GetState();
        Assert.Equal(state.Gpr, read.Gpr);
        Assert.Equal(state.Rip, read.Rip);
        Assert.Equal(state.Rflags, read.Rflags);
        Assert.Equal(state.Segments, read.Segments);
        Assert.Equal(state.Gdtr, read.Gdtr);
        Assert.Equal(state.Idtr, read.Idtr);
        Assert.Equal((state.Cr0, state.Cr2, state.Cr3, state.Cr4), (read.Cr0, read.Cr2, read.Cr3, read.Cr4));
        Assert.Equal((state.Efer, state.Xcr0), (read.Efer, read.Xcr0));
        Assert.Equal(state.DebugRegisters, read.DebugRegisters);
        Assert.Equal(state.Fxsave[..416], read.Fxsave[..416]);
        Assert.Equal(state.YmmHigh, read.YmmHigh);
        Assert.Equal((state.Halted, state.WaitingForStartup), (read.Halted, read.WaitingForStartup));
        Assert.Equal(state.NmiBlocked, read.NmiBlocked);
        foreach ((uint index, ulong value) in state.Msrs)
        {
            Assert.Equal((index, value), (index, read.Msrs[index]));
        }

        // What was read is a state like any other.
        guest.Vcpus[0].SetState(read);
        Assert.Equal(read.Msrs, guest.Vcpus[0].GetState().Msrs);
    }

    [KvmFact]
    public void LocalApic_GoesInAndOutUnchanged()
    {
        using KvmGuest guest = new();
        KvmLapic apic = guest.Vcpus[0].State.GetLapic();
        apic[0xF1] = 1; // software enable
        apic[0x320] = 0x40; // timer vector
        guest.Vcpus[0].State.SetLapic(apic);
        KvmLapic read = guest.Vcpus[0].State.GetLapic();
        Assert.Equal(((ReadOnlySpan<byte>)apic).ToArray(), ((ReadOnlySpan<byte>)read).ToArray());
    }

    [KvmFact]
    public void RefusedValue_IsNamed()
    {
        using KvmGuest guest = new();
        ArchState state = guest.Long(static c => c.nop());
        state.Msrs[0xC000_0082] = 0x1234_5678_9ABC_DEF0; // not canonical
        HullException e = Assert.Throws<HullException>(() => guest.Vcpus[0].SetState(state));
        Assert.Contains("MSR 0xc0000082", e.Message, StringComparison.Ordinal);
        Assert.Contains("KVM_SET_MSRS", e.Message, StringComparison.Ordinal);
    }

    [KvmFact]
    public void SingleStep_StopsBehindEachInstruction()
    {
        using KvmGuest guest = new();
        guest.Vcpus[0].SetState(guest.Long(static c =>
        {
            c.inc(rax);
            c.inc(rax);
            c.inc(rax);
            KvmGuest.End(c);
        }));
        guest.Vcpus[0].SetGuestDebug(singleStep: true);
        Assert.Equal(VcpuExit.Debug, guest.Go());
        Assert.Equal(KvmGuest.CodeAt + 3, guest.Vcpus[0].GetState().Rip);
        Assert.Equal(VcpuExit.Debug, guest.Go());
        Assert.Equal(KvmGuest.CodeAt + 6, guest.Vcpus[0].GetState().Rip);
        guest.Vcpus[0].SetGuestDebug(singleStep: false);
        Assert.Equal(VcpuExit.Kicked, guest.Go());
        Assert.Equal(3u, guest.Vcpus[0].GetState().Gpr[0]);
    }

    [KvmFact]
    public void Breakpoint_StopsBeforeItsInstruction()
    {
        using KvmGuest guest = new();
        guest.Vcpus[0].SetState(guest.Long(static c =>
        {
            c.inc(rax);
            c.inc(rax);
            KvmGuest.End(c);
        }));
        guest.Vcpus[0].SetGuestDebug(singleStep: false, KvmGuest.CodeAt + 3);
        Assert.Equal(VcpuExit.Debug, guest.Go());
        ArchState state = guest.Vcpus[0].GetState();
        Assert.Equal((KvmGuest.CodeAt + 3, 1UL), (state.Rip, state.Gpr[0]));
    }

    [KvmFact]
    public void Failure_NamesTheCallTheReasonAndThePlace()
    {
        using KvmGuest guest = new();

        // Code in memory that is none: KVM has to emulate, and cannot fetch. (Some KVMs make it a fault in the guest.)
        ArchState state = guest.Long(static c => c.nop());
        guest[0x2008] = 0x60_0003;
        guest[0x60_0000] = 0x60_1003;
        guest[0x60_1000] = 0xD000_0013;
        state.Rip = 0x4000_0000;
        guest.Vcpus[0].SetState(state);
        VcpuExit exit = guest.Go();
        Assert.Equal(VcpuExit.Failed, exit);
        string message = guest.Vcpus[0].FailureMessage!;
        Assert.Contains("KVM_RUN", message, StringComparison.Ordinal);
        Assert.Contains("internal error 1", message, StringComparison.Ordinal);
        Assert.Contains("rip 0x40000000", message, StringComparison.Ordinal);
        Assert.Contains("bytes there: not mapped", message, StringComparison.Ordinal);
    }

    [KvmFact]
    public void InstructionThatKvmCannotEmulate_IsShownWithItsBytes()
    {
        using KvmGuest guest = new();

        // KVM's emulator has no POPCNT, and at an address where no memory is the CPU cannot do it alone.
        guest.Vcpus[0].SetState(guest.Protected(static c => c.popcnt(eax, __dword_ptr[0xD000_0000])));
        Assert.Equal(VcpuExit.Failed, guest.Go());
        string message = guest.Vcpus[0].FailureMessage!;
        Assert.Contains("KVM_RUN: KVM cannot emulate an instruction (internal error 1)", message, StringComparison.Ordinal);
        Assert.Contains("rip 0x100000, bytes there: f30fb805000000d0", message, StringComparison.Ordinal);
    }

    [KvmFact(OnTheCpu = true)]
    public void StateThatTheCpuDoesNotEnter_IsShownWithItsPlace()
    {
        using KvmGuest guest = new();

        // KVM_SET_SREGS lets a code segment with L and D pass; VMRUN does not, nor does VMX ("Consistency Checks",
        // "Checks on Guest Segment Registers").
        ArchState state = guest.Long(static c => c.mov(eax, 0x1234_5678));
        state.Segments[1] = state.Segments[1] with { Attributes = 0xE09B };
        guest.Vcpus[0].SetState(state);
        Assert.Equal(VcpuExit.Failed, guest.Go());
        string reason = X86Base.CpuId(0, 0).Ecx == 0x6C65_746E ? "0x80000021" : "0xffffffff"; // "ntel"
        string message = guest.Vcpus[0].FailureMessage!;
        Assert.StartsWith(
            $"vCPU 0: KVM_RUN: the CPU did not enter the guest (reason {reason}) (rip 0x", message, StringComparison.Ordinal);

        // QEMU's processor writes registers of its own to the guest's state when it refuses that.
        bool isQemu = X86Base.CpuId(0x4000_0000, 0).Ebx == 0x5447_4354; // "TCGT"
        Assert.Matches(isQemu ? @"rip 0x[0-9a-f]+, bytes there: .+\)$" : @"rip 0x100000, bytes there: b878563412[0-9a-f]*\)$", message);
    }
}
