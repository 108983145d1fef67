using System;
using System.Diagnostics;
using System.Threading;
using Hull.Bus;
using Hull.Engine;
using Hull.Host;
using Hull.Kvm;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Kvm;

/// <summary>Interrupts through the kernel's local APICs and from the 8259s, and the start of further processors.</summary>
public sealed class KvmInterruptTests
{
    private const ulong ApicPage = 0xFEE0_0000;
    private const ulong Counter = KvmGuest.DataAt;
    private const byte Vector = 0x50;

    [KvmFact]
    public void ExtInt_ReachesARealModeHandler()
    {
        using KvmGuest guest = new();
        ArchState state = guest.Real(static c =>
        {
            Label again = c.CreateLabel();
            c.sti();
            c.Label(ref again);
            c.hlt();
            c.jmp(again);
        });
        guest[0x20 * 4] = 0x9000; // vector 20h at 0:9000
        guest.Put(0x9000, 16, static c =>
        {
            c.mov(bx, 0x77);
            KvmGuest.End(c);
            c.iret();
        });
        guest.Vcpus[0].SetState(state);
        using Timer later = new(
            _ =>
            {
                guest.Pic.Raise(0x20);
                guest.Engine.ExtIntChanged();
            },
            null,
            20,
            Timeout.Infinite);
        Assert.Equal(VcpuExit.Kicked, guest.Go());
        Assert.Equal(0x77u, guest.Vcpus[0].GetState().Gpr[3] & 0xFFFF);
        Assert.False(guest.Pic.Output);
    }

    [KvmFact]
    public void Message_WakesAHaltedProcessor()
    {
        using KvmGuest guest = new();
        ArchState state = Waiting(guest, x2Apic: true);
        guest.Vcpus[0].SetState(state);
        using Timer later = new(_ => guest.Engine.Send(new MsiMessage(ApicPage, Vector)), null, 20, Timeout.Infinite);
        Assert.Equal(VcpuExit.Kicked, guest.Go());
        Assert.Equal(1u, guest[Counter]);
        Assert.Empty(guest.Ends);
    }

    [KvmFact]
    public void EndOfALevelInterrupt_ComesBackToTheIoApic()
    {
        using KvmGuest guest = new();
        MsiMessage message = new(ApicPage, 0xC000u | Vector);
        guest.Vcpus[0].SetState(Waiting(guest, x2Apic: true));
        guest.Engine.Route(4, message);
        using Timer later = new(_ => guest.Engine.Send(message), null, 20, Timeout.Infinite);
        Assert.Equal(VcpuExit.Kicked, guest.Go());
        Assert.Equal(VcpuExit.Kicked, guest.Go()); // where kernel code is emulated the exit waits for the next entry
        Assert.Equal([Vector], guest.Ends);
    }

    [KvmTheory]
    [InlineData(2)]
    [InlineData(4)]
    public void InitAndSipi_StartProcessorsInRealMode(int vcpus)
    {
        using KvmGuest guest = new(vcpus);
        guest.Put(0x9000, 16, static c =>
        {
            c.mov(ax, cs);
            c.mov(ds, ax);
            c.@lock.inc(__word_ptr[0x800]);
            c.cli();
            c.hlt();
        });
        ArchState state = guest.Long(c =>
        {
            EnableApic(c, x2Apic: true);
            for (int id = 1; id < vcpus; id++)
            {
                Command(c, (uint)id, 0x4500);
                Command(c, (uint)id, 0x4609);
            }

            Label again = c.CreateLabel();
            c.Label(ref again);
            c.cmp(__word_ptr[0x9800], vcpus - 1);
            c.jne(again);
            KvmGuest.End(c);
        });
        guest.Vcpus[0].SetState(state);
        Thread[] others = new Thread[vcpus - 1];
        for (int i = 0; i < others.Length; i++)
        {
            KvmVcpu vcpu = guest.Vcpus[i + 1];
            others[i] = new Thread(() => vcpu.Run()) { IsBackground = true };
            others[i].Start();
        }

        Assert.Equal(VcpuExit.Kicked, guest.Go());
        foreach (Thread thread in others)
        {
            Assert.True(thread.Join(TimeSpan.FromMinutes(1)));
        }

        Assert.Equal((ulong)vcpus - 1, guest[0x9800] & 0xFFFF);
        for (int i = 1; i < vcpus; i++)
        {
            ArchState end = guest.Vcpus[i].GetState();
            Assert.Equal(0x900, end.Segments[1].Selector);
            Assert.True(end.Halted);
        }
    }

    [KvmFact]
    public void InitMakesAProcessorWaitForItsStart()
    {
        using KvmGuest guest = new(2);
        Assert.True(guest.Vcpus[1].GetState().WaitingForStartup);
        Assert.False(guest.Vcpus[0].GetState().WaitingForStartup);
    }

    [KvmTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void Kick_EndsALoopAtEachLevelAndIsKept(bool before)
    {
        using KvmGuest guest = new();
        guest.Vcpus[0].SetState(guest.Long(static c =>
        {
            Label again = c.CreateLabel();
            c.Label(ref again);
            c.jmp(again);
        }));
        if (before)
        {
            guest.Vcpus[0].Kick();
        }

        using JoinedTimer later = new(guest.Vcpus[0].Kick, before ? Timeout.Infinite : 30, Timeout.Infinite);
        Assert.Equal(VcpuExit.Kicked, guest.Go());
        Assert.Equal(KvmGuest.CodeAt, guest.Vcpus[0].GetState().Rip);
    }

    [KvmFact]
    public void StormOfSignals_DisturbsNoExit()
    {
        const int Signal = 44;
        const int Signals = 300;
        using KvmGuest guest = new();
        Adder adder = new();
        guest.Bus.MapPorts(0x10, 2, adder);
        guest.Vcpus[0].SetState(guest.Long(static c =>
        {
            Label again = c.CreateLabel();
            c.xor(ebx, ebx);
            c.xor(ecx, ecx);
            c.Label(ref again);
            c.@in(al, 0x10);
            c.movzx(eax, al);
            c.add(rbx, rax);
            c.inc(ecx);
            c.@in(al, 0x11);
            c.test(al, al);
            c.jne(again);
            KvmGuest.End(c);
        }));
        int vcpuThread = LibcKvm.GetThreadId();
        bool ended = false;
        Thread storm = new(() =>
        {
            int sent = 0;

            // A signal that is waiting keeps KVM_RUN from entering: on a slow host the guest would never come to its next exit.
            while (sent < Signals && !Volatile.Read(ref ended))
            {
                int before = adder.Reads;
                sent += LibcKvm.SignalThread(System.Environment.ProcessId, vcpuThread, Signal) == 0 ? 1 : 0;
                long patience = Stopwatch.GetTimestamp() + (Stopwatch.Frequency / 500);
                adder.More = sent < Signals;
                while (adder.Reads == before && Stopwatch.GetTimestamp() < patience && !Volatile.Read(ref ended))
                {
                    Thread.SpinWait(20);
                }

                Thread.SpinWait(sent % 50 * 10);
            }
        })
        {
            IsBackground = true,
        };
        storm.Start();
        VcpuExit exit;
        try
        {
            exit = guest.Go();
        }
        finally
        {
            Volatile.Write(ref ended, true);
        }

        Assert.True(storm.Join(TimeSpan.FromMinutes(1)));
        Assert.Equal(VcpuExit.Kicked, exit);
        Assert.False(adder.More);
        Assert.Equal((ulong)adder.Reads, guest.Vcpus[0].GetState().Gpr[1]);
        Assert.Equal(adder.Sum, guest.Vcpus[0].GetState().Gpr[3]);
    }

    // Halts with interrupts on; the handler counts, ends the interrupt and the run.
    private static ArchState Waiting(KvmGuest guest, bool x2Apic)
    {
        ArchState state = guest.Long(c =>
        {
            EnableApic(c, x2Apic);
            c.sti();
            c.hlt();
            KvmGuest.End(c);
            KvmGuest.End(c);
        });
        guest.Put(0x9000, 64, static c =>
        {
            c.inc(__qword_ptr[Counter]);
            c.mov(ecx, 0x80B);
            c.xor(eax, eax);
            c.xor(edx, edx);
            c.wrmsr();
            c.iretq();
        });
        ulong gate = 0x6000 + (16UL * Vector);
        guest[gate] = 0x9000 | (0x10UL << 16) | (0x8EUL << 40);
        guest[gate + 8] = 0;
        return state;
    }

    internal static void EnableApic(Assembler c, bool x2Apic)
    {
        c.mov(ecx, 0x1B);
        c.rdmsr();
        c.or(eax, x2Apic ? 0xC00 : 0x800);
        c.wrmsr();
        c.mov(ecx, 0x80F);
        c.mov(eax, 0x1FF);
        c.xor(edx, edx);
        c.wrmsr();
    }

    // Another number at each read of the first port: an exit that is done twice is seen. The second says whether to go on.
    private sealed class Adder : IPortDevice
    {
        private volatile int _reads;
        private volatile bool _more = true;

        internal int Reads => _reads;

        internal bool More
        {
            get => _more;
            set => _more = value;
        }

        internal ulong Sum { get; private set; }

        public uint ReadPort(ushort offset, int size)
        {
            if (offset == 1)
            {
                return More ? 1U : 0;
            }

            uint value = (uint)(_reads++ * 7) & 0xFF;
            Sum += value;
            return value;
        }

        public void WritePort(ushort offset, int size, uint value)
        {
        }
    }

    private static void Command(Assembler c, uint destination, uint low)
    {
        c.mov(ecx, 0x830);
        c.mov(eax, low);
        c.mov(edx, destination);
        c.wrmsr();
    }
}
