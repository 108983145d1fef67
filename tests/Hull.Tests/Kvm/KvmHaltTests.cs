using System;
using System.Threading;
using Hull.Engine;
using Hull.Tests.Cpu;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Kvm;

/// <summary>HLT, which is no exit: who halts with interrupts off, the personality hears as on the soft engine.</summary>
public sealed class KvmHaltTests
{
    [KvmFact]
    public void HaltWithInterruptsOff_IsToldToThePersonality()
    {
        TestPersonality listener = new();
        using KvmGuest guest = new(2, leaves: listener);
        listener.Told = vcpu => guest.Vcpus[vcpu].Kick();
        guest.Engine.WatchHalts();
        ArchState end = guest.Run(guest.Long(static c =>
        {
            c.cli();
            c.hlt();
            KvmGuest.End(c);
        }));
        Assert.Equal((KvmGuest.CodeAt + 2, true), (end.Rip, end.Halted));
        Assert.Equal(1, listener.Halts);
    }

    [KvmTheory]
    [InlineData(0x002, 1)]
    [InlineData(0x202, 0)]
    public void OnlyAHaltForGood_IsTold(ulong flags, int expected)
    {
        TestPersonality listener = new();
        using KvmGuest guest = new(leaves: listener);
        ArchState state = guest.Long(static c => c.hlt());
        state.Rflags = flags;
        guest.Vcpus[0].SetState(state);
        guest.Vcpus[0].LookForHalt();
        using Timer kick = new(_ => guest.Vcpus[0].Kick(), null, TimeSpan.FromMilliseconds(50), Timeout.InfiniteTimeSpan);
        Assert.Equal(VcpuExit.Kicked, guest.Vcpus[0].Run());
        Assert.Equal(expected, listener.Halts);
        Assert.Equal(KvmGuest.CodeAt + 1, guest.Vcpus[0].GetState().Rip);
    }

    [KvmFact]
    public void BusyGuestWithInterruptsOff_IsNotTold()
    {
        TestPersonality listener = new();
        using KvmGuest guest = new(leaves: listener);
        ArchState state = guest.Long(static c =>
        {
            Iced.Intel.Label again = c.CreateLabel();
            c.Label(ref again);
            c.inc(rax);
            c.jmp(again);
        });
        guest.Vcpus[0].SetState(state);
        guest.Vcpus[0].LookForHalt();
        using Timer kick = new(_ => guest.Vcpus[0].Kick(), null, TimeSpan.FromMilliseconds(50), Timeout.InfiniteTimeSpan);
        Assert.Equal(VcpuExit.Kicked, guest.Vcpus[0].Run());
        Assert.Equal(0, listener.Halts);
    }
}
