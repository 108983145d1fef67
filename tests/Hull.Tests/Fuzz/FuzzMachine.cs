using System;
using Hull.Bus;
using Hull.Cpu;
using Hull.Engine;
using Hull.Memory;
using Hull.Timeline;

namespace Hull.Tests.Fuzz;

/// <summary>
/// A small machine to be mistreated: 2 MiB of RAM, a device behind MMIO and all ports, a local APIC that interrupts at
/// random, and a soft engine whose code cache is small, so that it overflows often.
/// </summary>
internal sealed class FuzzMachine : IDisposable
{
    internal const ulong RamSize = 2 << 20;
    internal const ulong DeviceAt = 0xD000_0000;
    internal const int DeviceSize = 0x1_0000;
    internal const nuint CodeCacheSize = 512 << 10;

    internal FuzzMachine(Random random)
    {
        Memory = new GuestMemory(RamSize);
        IoBus bus = new();
        FuzzDevice device = new();
        bus.MapMmio(new GuestPhysical(DeviceAt), DeviceSize, device);
        bus.MapPorts(0, 0x1_0000, device);
        Apic = new FuzzApic(random);
        CpuidPolicy cpuid = CpuidPolicy.HostSafe(2_000_000_000, 1_000_000_000, 1);
        Engine = new SoftEngine(Memory, bus, new MachineClock(), null, cpuid, CodeCacheSize);
        Vcpu = (SoftVcpu)Engine.CreateVcpu(0, Apic);
        Features = cpuid.Features;
    }

    internal GuestMemory Memory { get; }

    internal FuzzApic Apic { get; }

    internal SoftEngine Engine { get; }

    internal SoftVcpu Vcpu { get; }

    internal CpuFeatureSet Features { get; }

    internal void Write<T>(ulong at, T value)
        where T : unmanaged => Memory.Write(new GuestPhysical(at), value);

    public void Dispose()
    {
        Engine.Dispose();
        Memory.Dispose();
    }
}

/// <summary>Registers that keep what was written last.</summary>
internal sealed class FuzzDevice : IPortDevice, IMmioDevice
{
    private ulong _last;

    public uint ReadPort(ushort offset, int size) => (uint)_last + offset;

    public void WritePort(ushort offset, int size, uint value) => _last = value;

    public ulong ReadMmio(ulong offset, int size) => _last ^ offset;

    public void WriteMmio(ulong offset, int size, ulong value) => _last = value;
}

/// <summary>A local APIC that has an interrupt now and then, when it is let.</summary>
internal sealed class FuzzApic(Random random) : ILocalApic
{
    /// <summary>True while interrupts may come.</summary>
    internal bool Active { get; set; }

    public ulong BaseMsr { get; private set; } = 0xFEE0_0900;

    public ulong MmioPage => 0xFEE0_0000;

    public byte TaskPriority { get; set; }

    public bool HasInterrupt => Active && random.Next(4) == 0;

    public int Acknowledge() => random.Next(-1, 256);

    public uint ReadMmio(uint offset) => offset;

    public void WriteMmio(uint offset, uint value)
    {
    }

    public bool TryReadMsr(uint index, out ulong value)
    {
        value = index;
        return random.Next(2) == 0;
    }

    public bool TryWriteMsr(uint index, ulong value) => random.Next(2) == 0;

    public void Reset() => BaseMsr = 0xFEE0_0900;
}
