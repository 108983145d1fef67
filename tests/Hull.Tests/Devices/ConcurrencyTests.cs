using System;
using System.Threading;
using System.Threading.Tasks;
using Hull.Bus;
using Hull.Devices;
using Hull.Devices.Irq;
using Hull.Timeline;
using Xunit;

namespace Hull.Tests.Devices;

/// <summary>Chips that several threads use at once: nothing is lost, no line stays wrong.</summary>
public sealed class ConcurrencyTests
{
    [Fact]
    public async Task SerialInput_FromAHostThread_ArrivesWhole()
    {
        using TimerQueue timers = new(new MachineClock());
        IoBus bus = new();
        Chipset chipset = new(bus, timers, new ChipsetOptions { Vcpus = 1, LowMemory = 64 << 20 });
        byte[] sent = new byte[100_000];
        new Random(1).NextBytes(sent);
        using CancellationTokenSource stop = new(TimeSpan.FromSeconds(60));
        Task writer = Task.Run(() => chipset.Serial[0].Input.Write(sent, stop.Token));

        bus.WritePort(0x3FA, 1, 0x81);
        bus.WritePort(0x3FC, 1, 0x0B);
        bus.WritePort(0x3F9, 1, 1);
        int received = 0;
        while (received < sent.Length && !stop.IsCancellationRequested)
        {
            // As a driver would: only an interrupt says that there is something.
            if ((bus.ReadPort(0x3FA, 1) & 1) != 0)
            {
                Thread.Yield();
                continue;
            }

            while ((bus.ReadPort(0x3FD, 1) & 1) != 0)
            {
                Assert.Equal(sent[received++], (byte)bus.ReadPort(0x3F8, 1));
            }
        }

        await writer;
        Assert.Equal(sent.Length, received);
    }

    [Fact]
    public async Task Interprocessor_EveryMessageIsSeen()
    {
        using TimerQueue timers = new(new MachineClock());
        Chipset chipset = new(new IoBus(), timers, new ChipsetOptions { Vcpus = 2, LowMemory = 64 << 20 });
        using WaitingVcpu first = new(chipset.LocalApics[0]);
        using WaitingVcpu second = new(chipset.LocalApics[1]);
        WaitingVcpu[] vcpus = [first, second];
        using CancellationTokenSource stop = new(TimeSpan.FromSeconds(60));

        // Ping-pong: a lost wake-up stops it for ever.
        Task one = Task.Run(() => vcpus[1].Answer(0, 20_000, stop.Token));
        chipset.LocalApics[0].WriteMmio(0x310, 0x0100_0000);
        chipset.LocalApics[0].WriteMmio(0x300, 0x50);
        Task two = Task.Run(() => vcpus[0].Answer(1, 20_000, stop.Token));
        await Task.WhenAll(one, two);
        Assert.Equal(20_000, vcpus[0].Taken);
        Assert.Equal(20_000, vcpus[1].Taken);
    }

    [Fact]
    public async Task Line_FollowedOnTwoThreads_EndsAtTheLastLevel()
    {
        bool seen = false;
        IrqLine line = new(level => seen = level);
        ToggledSource source = new();
        void Toggle()
        {
            for (int i = 0; i < 100_000; i++)
            {
                source.Toggle();
                line.Follow(source);
            }
        }

        await Task.WhenAll(Task.Run(Toggle), Task.Run(Toggle));
        Assert.Equal(source.IrqLevel, seen);
        Assert.Equal(source.IrqLevel, line.Level);
    }

    private sealed class ToggledSource : IIrqSource
    {
        private int _count;

        public bool IrqLevel => (Volatile.Read(ref _count) & 1) != 0;

        internal void Toggle() => Interlocked.Increment(ref _count);
    }

    /// <summary>A vCPU in HLT that takes interrupts and sends one back for each.</summary>
    private sealed class WaitingVcpu : IVcpuSignals, IDisposable
    {
        private readonly LocalApic _apic;
        private readonly SemaphoreSlim _wake = new(0);

        internal WaitingVcpu(LocalApic apic)
        {
            _apic = apic;
            apic.Connect(this);
            apic.WriteMmio(0xF0, 0x1FF);
            apic.WriteMmio(0x350, 0x10000);
        }

        internal int Taken { get; private set; }

        public void Dispose() => _wake.Dispose();

        public void InterruptChanged() => _wake.Release();

        public void Nmi()
        {
        }

        public void Init()
        {
        }

        public void Suspend()
        {
        }

        public void Resume(uint? at)
        {
        }

        public void Startup(byte vector)
        {
        }

        internal void Answer(uint other, int count, CancellationToken stop)
        {
            while (Taken < count)
            {
                while (!_apic.HasInterrupt)
                {
                    _wake.Wait(stop);
                }

                Assert.Equal(0x50, _apic.Acknowledge());
                Taken++;
                _apic.WriteMmio(0xB0, 0);
                _apic.WriteMmio(0x310, other << 24);
                _apic.WriteMmio(0x300, 0x50);
            }
        }
    }
}
