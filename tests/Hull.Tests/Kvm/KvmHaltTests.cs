using System;
using System.Threading;
using Hull.Engine;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Kvm;

/// <summary>HLT, which is no exit: who halts with interrupts off, the personality hears as on the soft engine.</summary>
public sealed class KvmHaltTests
{
    [KvmFact]
    public void HaltWithInterruptsOff_IsToldToThePersonality()
    {
        Listener listener = new();
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
        Assert.Equal(1, listener.Count);
    }

    [KvmTheory]
    [InlineData(0x002, 1)]
    [InlineData(0x202, 0)]
    public void OnlyAHaltForGood_IsTold(ulong flags, int expected)
    {
        Listener listener = new();
        using KvmGuest guest = new(leaves: listener);
        ArchState state = guest.Long(static c => c.hlt());
        state.Rflags = flags;
        guest.Vcpus[0].SetState(state);
        guest.Vcpus[0].LookForHalt();
        using Timer kick = new(_ => guest.Vcpus[0].Kick(), null, TimeSpan.FromMilliseconds(50), Timeout.InfiniteTimeSpan);
        Assert.Equal(VcpuExit.Kicked, guest.Vcpus[0].Run());
        Assert.Equal(expected, listener.Count);
        Assert.Equal(KvmGuest.CodeAt + 1, guest.Vcpus[0].GetState().Rip);
    }

    [KvmFact]
    public void BusyGuestWithInterruptsOff_IsNotTold()
    {
        Listener listener = new();
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
        Assert.Equal(0, listener.Count);
    }

    private sealed class Listener : IPersonality
    {
        internal Action<int> Told { get; set; } = static _ => { };

        internal int Count { get; private set; }

        public bool TryCpuid(int vcpu, uint leaf, uint subleaf, out CpuidResult result)
        {
            result = default;
            return false;
        }

        public bool TryReadMsr(int vcpu, uint index, out ulong value)
        {
            value = 0;
            return false;
        }

        public bool TryWriteMsr(int vcpu, uint index, ulong value) => false;

        public bool TryHypercall(int vcpu, IHypercallRegisters registers) => false;

        public void HaltedWithInterruptsOff(int vcpu)
        {
            Count++;
            Told(vcpu);
        }
    }
}
