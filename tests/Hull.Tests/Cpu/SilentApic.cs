using Hull.Bus;

namespace Hull.Tests.Cpu;

/// <summary>A local APIC that takes what it is told, and has nothing to say.</summary>
internal class SilentApic : ILocalApic
{
    public ulong BaseMsr => 0xFEE0_0900;

    public ulong MmioPage => 0xFEE0_0000;

    public byte TaskPriority { get; set; }

    public bool HasInterrupt { get; set; }

    public virtual int Acknowledge() => -1;

    public uint ReadMmio(uint offset) => 0;

    public void WriteMmio(uint offset, uint value)
    {
    }

    public bool TryReadMsr(uint index, out ulong value)
    {
        value = 0;
        return false;
    }

    public bool TryWriteMsr(uint index, ulong value) => false;

    public void Reset()
    {
    }
}
