using System;
using System.Collections.Generic;
using System.Runtime.Intrinsics.X86;
using System.Text;
using Hull.Engine;
using Hull.Host;
using Hull.Memory;
using Hull.Timeline;
using Hull.Xen;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Kvm;

/// <summary>Xen's hypercalls, upcalls and clock on KVM.</summary>
public sealed class KvmXenTests : IDisposable
{
    private const ulong PageAt = 0x20_0000;
    private const ulong ReadOnlyAt = 0x40_0000;
    private const ulong UserFlag = 4;
    private const int XenVersion = 17;
    private const byte Vector = 0x50;

    private readonly MachineClock _clock = new();
    private readonly TimerQueue _timers;
    private readonly List<string> _trace = [];
    private Action _poweredOff = static () => { };

    public KvmXenTests() => _timers = new TimerQueue(_clock);

    public void Dispose() => _timers.Dispose();

    [KvmFact]
    public void HostThatCannot_IsRefusedWithTheReason()
    {
        if (KvmHost.WhyNotXen.Value is not null)
        {
            HullException e = Assert.Throws<HullException>(() => Start().Dispose());
            Assert.Matches("^this (kernel's KVM lacks KVM_CAP_XEN_HVM|host's time-stamp counters do not agree)", e.Message);
            Assert.EndsWith("--xen needs --engine soft", e.Message, StringComparison.Ordinal);
        }
    }

    [KvmXenFact]
    public void CallThroughTheHypercallPage_ReachesTheDomain()
    {
        using KvmGuest guest = Start();
        ArchState end = guest.Run(guest.Long(static c =>
        {
            c.mov(ecx, 0x4000_0000);
            c.mov(eax, (uint)PageAt);
            c.xor(edx, edx);
            c.wrmsr();
            c.xor(edi, edi); // XENVER_version
            c.mov(rbx, PageAt + (32 * XenVersion));
            c.call(rbx);
            c.mov(rbp, rax);
            KvmGuest.End(c);
        }));
        Assert.Equal(0x4_0011u, end.Gpr[5]);
        Assert.Contains("xen_version(version)", Assert.Single(_trace), StringComparison.Ordinal);
    }

    [KvmXenTheory]
    [InlineData(PageAt + 0xFF8, 0L)]
    [InlineData(ReadOnlyAt - 4, -14L)]
    [InlineData(0x7000_0000_0000, -14L)]
    public void Result_GoesWhereTheCallerMayWrite(ulong destination, long expected)
    {
        using KvmGuest guest = Start();
        ArchState state = guest.Long(c =>
        {
            c.mov(edi, 1); // XENVER_extraversion
            c.mov(rsi, destination);
            c.mov(eax, XenVersion);
            Call(c);
            c.mov(rbp, rax);
            KvmGuest.End(c);
        });
        guest[0x3000 + (8 * (ReadOnlyAt >> 21))] &= ~2UL;
        ArchState end = guest.Run(state);
        Assert.Equal(expected, (long)end.Gpr[5]);
        Span<byte> text = new byte[7];
        guest.Memory.TryRead(new GuestPhysical(destination), text);
        Assert.Equal(expected == 0, Encoding.ASCII.GetString(text) == ".7-hull");
    }

    [KvmXenFact]
    public void CallFromLevel3_IsRefused()
    {
        using KvmGuest guest = Start();
        ArchState state = guest.Long(static c =>
        {
            c.xor(edi, edi);
            c.mov(eax, XenVersion);
            Call(c);
            c.mov(rbp, rax);
            KvmGuest.End(c);
        });
        foreach (ulong entry in (ReadOnlySpan<ulong>)[0x1000, 0x2000, 0x3000])
        {
            guest[entry] |= UserFlag;
        }

        state.Rflags = 0x3002; // IOPL 3, for the port that ends the run
        state.Segments[1] = state.Segments[1] with { Selector = 0x13, Attributes = 0xA0FB };
        state.Segments[2] = state.Segments[2] with { Selector = 0x1B, Attributes = 0xC0F3 };
        Assert.Equal(-1L, (long)guest.Run(state).Gpr[5]);
        Assert.Empty(_trace);
    }

    [KvmXenFact]
    public void Upcall_ThatComesWhileTheApicIsDisabled_IsNotLost()
    {
        using KvmGuest guest = Start();
        ArchState state = guest.Long(static c =>
        {
            Label again = c.CreateLabel();
            c.mov(ecx, 0x1B);
            c.rdmsr();
            c.or(eax, 0xC00);
            c.wrmsr();
            c.mov(ecx, 0x80F);
            c.mov(eax, 0x1FF);
            c.xor(edx, edx);
            c.wrmsr();
            c.sti();
            c.Label(ref again);
            c.hlt();
            c.jmp(again);
        });
        guest.Put(0x9000, 64, static c =>
        {
            c.mov(ebp, Vector);
            KvmGuest.End(c);
        });
        guest[0x6000 + (16UL * Vector)] = 0x9000 | (0x10UL << 16) | (0x8EUL << 40);
        guest[0x6000 + (16UL * Vector) + 8] = 0;
        guest.Engine.Inject(0, Vector);
        Assert.Equal(Vector, guest.Run(state).Gpr[5]);
    }

    [KvmXenFact]
    public void TimeStampCounter_IsTheMachines()
    {
        using KvmGuest guest = Start();
        ArchState state = guest.Long(static c =>
        {
            c.rdtsc();
            c.shl(rdx, 32);
            c.lea(rbp, __[rax + rdx]);
            KvmGuest.End(c);
        });
        ulong before = _clock.Tsc;
        ulong read = guest.Run(state).Gpr[5];
        Assert.InRange(read, before, _clock.Tsc);
    }

    [KvmXenFact]
    public void HaltWithInterruptsOff_IsPowerOff()
    {
        using KvmGuest guest = Start();
        _poweredOff = guest.Vcpus[0].Kick;
        ArchState end = guest.Run(guest.Long(static c =>
        {
            c.cli();
            c.hlt();
        }));
        Assert.Equal(KvmGuest.CodeAt + 2, end.Rip);
    }

    private static void Call(Assembler c)
    {
        bool isAmd = X86Base.CpuId(0, 0).Ecx == 0x444D_4163; // "cAMD"
        if (isAmd)
        {
            c.vmmcall();
        }
        else
        {
            c.vmcall();
        }
    }

    private KvmGuest Start() => new(1, personality: guest => new XenPersonality(new Domain(new DomainOptions
    {
        Memory = guest.Memory,
        Timers = _timers,
        Trace = _trace.Add,
        Interrupts = guest.Engine,
        ConsoleOutput = static _ => { },
        PoweredOff = () => _poweredOff(),
        Crashed = static _ => { },
        ResetRequested = static () => { },
    })), tscOffset: _clock.TscOffset);
}
