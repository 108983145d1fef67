using System;
using System.Collections.Generic;
using System.IO;
using System.Threading;
using Hull.Bus;
using Hull.Cpu;
using Hull.Devices.Irq;
using Hull.Engine;
using Hull.Memory;
using Hull.Tests.Cpu.Translate;
using Hull.Timeline;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Smp;

/// <summary>
/// A machine of RAM, local APICs and several vCPUs, each on a thread of its own. All that have code start at once in 64-bit
/// mode at CPL 0 with 64 MiB mapped one to one; the others wait for a start-up message. A vCPU says that it is done by
/// a write to port 0xF4 and halts.
/// </summary>
internal sealed class SmpGuest : IDisposable
{
    internal const ulong CodeAt = 0x10_0000;
    internal const ulong DataAt = 0x30_0000;

    /// <summary>Where a test may put code of its own.</summary>
    internal const ulong SpareAt = 0x80_0000;

    /// <summary>A write lets the host's other threads run: for loops that wait.</summary>
    internal const byte YieldPort = 0xF5;

    private const byte DonePortAt = 0xF4;
    private const ulong StackAt = 0x20_0000;
    private const int CodeBytes = 0x2000;

    // Only a hang is that slow, whatever else the host does.
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(3);

    private readonly SoftVcpu[] _vcpus;
    private readonly bool[] _hasCode;
    private readonly TimerQueue _timers;
    private readonly ManualResetEventSlim _done = new();
    private readonly List<string> _failures = [];
    private int _left;

    internal SmpGuest(int vcpus, nuint codeBytes = SoftEngine.DefaultCodeBytes)
    {
        Memory = new GuestMemory(64 << 20);
        MachineClock clock = new();
        _timers = new TimerQueue(clock);
        CpuidPolicy cpuid = CpuidPolicy.For(CpuModel.Parse("-avx"), clock.TscHz, 1_000_000_000, vcpus);
        IoBus bus = new();
        bus.MapPorts(DonePortAt, 2, new DonePort(this));
        Engine = new SoftEngine(Memory, bus, clock, null, cpuid, codeBytes);
        ApicBus apics = new();
        Apics = new LocalApic[vcpus];
        _vcpus = new SoftVcpu[vcpus];
        _hasCode = new bool[vcpus];
        for (int i = 0; i < vcpus; i++)
        {
            Apics[i] = new LocalApic((uint)i, _timers, apics, null);
            _vcpus[i] = (SoftVcpu)Engine.CreateVcpu(i, Apics[i]);
            Apics[i].Connect(_vcpus[i]);
        }

        FlatGuest.WriteTables(Memory);
    }

    internal GuestMemory Memory { get; }

    internal SoftEngine Engine { get; }

    internal LocalApic[] Apics { get; }

    internal IReadOnlyList<SoftVcpu> Vcpus => _vcpus;

    internal ulong this[ulong at]
    {
        get => Memory.Read<ulong>(new GuestPhysical(at));
        set => Memory.Write(new GuestPhysical(at), value);
    }

    /// <summary>Gives a vCPU its code; <see cref="Finish"/> is appended.</summary>
    internal SmpGuest Code(int vcpu, Action<Assembler> write)
    {
        ulong at = CodeAt + ((ulong)vcpu * CodeBytes);
        byte[] code = Assemble(at, c =>
        {
            write(c);
            Finish(c);
        });
        if (code.Length > CodeBytes)
        {
            throw new InvalidOperationException("the test's code is too long");
        }

        Memory.TryWrite(new GuestPhysical(at), code);
        ArchState state = FlatGuest.NewState();
        state.Rip = at;
        state.Gpr[4] = StackAt - ((ulong)vcpu * 0x2000);
        _vcpus[vcpu].SetState(state);
        _hasCode[vcpu] = true;
        return this;
    }

    /// <summary>Puts the vCPUs that have code at level 3, with access to all ports. They end with <see cref="FinishAsUser"/>.</summary>
    internal SmpGuest AsUser()
    {
        foreach (SoftVcpu vcpu in Vcpus)
        {
            ArchState state = vcpu.GetState();
            FlatGuest.MakeUser(Memory, state);
            state.Rflags |= 3 << 12; // IOPL
            vcpu.SetState(state);
        }

        return this;
    }

    /// <summary>Says that the vCPU is done, where HLT is not allowed.</summary>
    internal static void FinishAsUser(Assembler c)
    {
        c.@out(DonePortAt, al);
        Label again = c.CreateLabel();
        c.Label(ref again);
        c.jmp(again);
    }

    /// <summary>Says that the vCPU is done, and halts it.</summary>
    internal static void Finish(Assembler c)
    {
        c.@out(DonePortAt, al);
        Label again = c.CreateLabel();
        c.Label(ref again);
        c.hlt();
        c.jmp(again);
    }

    /// <summary>Bytes of code for an address.</summary>
    internal static byte[] Assemble(ulong at, Action<Assembler> write, int bits = 64)
    {
        Assembler assembler = new(bits);
        write(assembler);
        using MemoryStream stream = new();
        assembler.Assemble(new StreamCodeWriter(stream), at);
        return stream.ToArray();
    }

    /// <summary>Runs all vCPUs until <paramref name="finishers"/> of them have finished (without it: those with code).</summary>
    internal SmpGuest Run(int finishers = 0)
    {
        _left = finishers != 0 ? finishers : Array.FindAll(_hasCode, static has => has).Length;
        List<Thread> threads = [];
        using CancellationTokenSource stop = new();
        foreach (SoftVcpu vcpu in _vcpus)
        {
            Thread thread = new(() => RunVcpu(vcpu, stop.Token)) { IsBackground = true, Name = $"vcpu{vcpu.Index}" };
            thread.Start();
            threads.Add(thread);
        }

        bool finished = _done.Wait(Limit);
        stop.Cancel();
        foreach (SoftVcpu vcpu in _vcpus)
        {
            vcpu.Kick();
        }

        foreach (Thread thread in threads)
        {
            if (!thread.Join(Limit))
            {
                throw new InvalidOperationException($"{thread.Name} does not stop");
            }
        }

        if (!finished || _failures.Count > 0)
        {
            string where = string.Join(", ", Array.ConvertAll(_vcpus, static v => $"0x{v.GetState().Rip:x}"));
            throw new InvalidOperationException($"not finished; rips {where}. {string.Join("; ", _failures)}");
        }

        return this;
    }

    public void Dispose()
    {
        _timers.Dispose();
        Engine.Dispose();
        Memory.Dispose();
        _done.Dispose();
    }

    private void RunVcpu(SoftVcpu vcpu, CancellationToken stop)
    {
        VcpuExit exit = VcpuExit.Kicked;
        while (exit == VcpuExit.Kicked && !stop.IsCancellationRequested)
        {
            exit = vcpu.Run();
        }

        if (exit != VcpuExit.Kicked)
        {
            lock (_failures)
            {
                _failures.Add($"vCPU {vcpu.Index}: {exit} {vcpu.FailureMessage}");
            }

            _done.Set();
        }
    }

    private sealed class DonePort(SmpGuest guest) : IPortDevice
    {
        public uint ReadPort(ushort offset, int size) => 0;

        public void WritePort(ushort offset, int size, uint value)
        {
            if (offset == YieldPort - DonePortAt)
            {
                Thread.Sleep(0);
            }
            else if (Interlocked.Decrement(ref guest._left) == 0)
            {
                guest._done.Set();
            }
        }
    }
}
