using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using Hull.Bus;
using Hull.Engine;
using Hull.Memory;
using Hull.Tests.Timeline;
using Hull.Xen;

namespace Hull.Tests.Xen;

/// <summary>A domain with a caller whose linear addresses are its physical ones, and records of what it did outside.</summary>
internal sealed class TestDomain : IHypercallRegisters, IInterruptInjector, IDisposable
{
    internal const ulong Size = 4 << 20;

    /// <summary>Where tests put the structure of a call.</summary>
    internal const ulong Argument = 0x10_0000;

    private readonly ulong[] _registers = new ulong[16];

    internal TestDomain(int vcpus = 2)
    {
        Memory = new GuestMemory(Size, sparePages: SpecialPages.SpareCount);
        Domain = new Domain(new DomainOptions
        {
            VcpuCount = vcpus,
            Memory = Memory,
            MemoryMap = [new MemoryMapEntry(0, 0xA_0000, 1), new MemoryMapEntry(0x10_0000, Size - 0x10_0000, 1)],
            Trace = Trace.Add,
            Timers = Time,
            VcpuTimes = vcpu => VcpuTimes[vcpu],
            Interrupts = this,
            ConsoleOutput = bytes => Console.AddRange(bytes),
            PoweredOff = () => PowerOffs++,
            Crashed = Crashes.Add,
            ResetRequested = () => Resets++,
        });
        Personality = new XenPersonality(Domain);
    }

    internal GuestMemory Memory { get; }

    internal ManualTimeline Time { get; } = new();

    internal Domain Domain { get; }

    internal XenPersonality Personality { get; }

    internal List<(int Vcpu, byte Vector)> Injected { get; } = [];

    internal List<byte> Console { get; } = [];

    internal List<string> Trace { get; } = [];

    /// <summary>What the host says that each vCPU's thread has run and waited.</summary>
    internal (long RunNs, long WaitNs)[] VcpuTimes { get; } = new (long, long)[8];

    /// <summary>Sees each store to the caller's memory before it is done.</summary>
    internal Action<ulong, byte[]>? Stored { get; set; }

    internal int PowerOffs { get; private set; }

    /// <summary>What it said when it ended for another reason.</summary>
    internal List<string> Crashes { get; } = [];

    internal int Resets { get; private set; }

    public int Cpl { get; set; }

    public bool Is64Bit { get; set; } = true;

    public ulong this[int index]
    {
        get => _registers[index];
        set => _registers[index] = value;
    }

    public bool TryLoad(ulong linear, Span<byte> destination) => Memory.TryRead(new GuestPhysical(linear), destination);

    public bool TryStore(ulong linear, ReadOnlySpan<byte> source)
    {
        Stored?.Invoke(linear, source.ToArray());
        return Memory.TryWrite(new GuestPhysical(linear), source);
    }

    public void Inject(int vcpu, byte vector) => Injected.Add((vcpu, vector));

    /// <summary>Vectors past the local APICs; null: the engine has no way for them.</summary>
    internal List<(int Vcpu, byte Vector)>? Past { get; set; } = [];

    public bool TryInjectPastApic(int vcpu, byte vector)
    {
        Past?.Add((vcpu, vector));
        return Past is not null;
    }

    /// <summary>vCPUs that got an NMI.</summary>
    internal List<int> Nmis { get; } = [];

    public void InjectNmi(int vcpu) => Nmis.Add(vcpu);

    public void Dispose() => Memory.Dispose();

    /// <summary>A hypercall with up to five arguments.</summary>
    internal long Call(int number, params ReadOnlySpan<ulong> arguments)
    {
        ReadOnlySpan<int> places = [7, 6, 2, 10, 8];
        _registers[0] = (ulong)number;
        for (int i = 0; i < arguments.Length; i++)
        {
            _registers[places[i]] = arguments[i];
        }

        Assert(Personality.TryHypercall(0, this));
        return (long)_registers[0];
    }

    /// <summary>As <see cref="CallWith"/>, from 32-bit code.</summary>
    internal long ShortCallWith(int number, uint operation, params ReadOnlySpan<uint> words)
    {
        Memory.TryWrite(new GuestPhysical(Argument), MemoryMarshal.AsBytes(words));
        Is64Bit = false;
        _registers[0] = (ulong)number;
        _registers[3] = operation;
        _registers[1] = Argument;
        _registers[2] = 1;
        Assert(Personality.TryHypercall(0, this));
        Is64Bit = true;
        return (int)(uint)_registers[0];
    }

    /// <summary>A hypercall whose second argument is a structure of words.</summary>
    internal long CallWith(int number, ulong operation, params ReadOnlySpan<uint> words)
    {
        Memory.TryWrite(new GuestPhysical(Argument), MemoryMarshal.AsBytes(words));
        return Call(number, operation, Argument);
    }

    /// <summary>A word of the structure after the call.</summary>
    internal uint Word(int index) => Memory.Read<uint>(new GuestPhysical(Argument + (ulong)(4 * index)));

    private static void Assert(bool condition) => Xunit.Assert.True(condition);
}
