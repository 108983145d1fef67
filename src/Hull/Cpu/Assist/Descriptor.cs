using Hull.Cpu.State;

namespace Hull.Cpu.Assist;

/// <summary>
/// A descriptor as it stands in a table: segment, system segment or gate. <see cref="High"/> is the second half of a
/// 16-byte one. SDM vol. 3A, "Segment Descriptors", "Gate Descriptors".
/// </summary>
internal readonly record struct Descriptor(ulong Low, ulong High)
{
    internal const int Tss16Available = 1;
    internal const int LdtType = 2;
    internal const int Tss16Busy = 3;
    internal const int CallGate16 = 4;
    internal const int TaskGate = 5;
    internal const int InterruptGate16 = 6;
    internal const int TrapGate16 = 7;
    internal const int TssAvailable = 9;
    internal const int TssBusy = 11;
    internal const int CallGate = 12;
    internal const int InterruptGate = 14;
    internal const int TrapGate = 15;

    internal int Type => (int)(Low >> 40) & 15;

    /// <summary>A gate, TSS or LDT.</summary>
    internal bool IsSystem => (Low & (1UL << 44)) == 0;

    internal int Dpl => (int)(Low >> 45) & 3;

    internal bool IsPresent => (Low & (1UL << 47)) != 0;

    internal bool IsCode => !IsSystem && (Type & 8) != 0;

    internal bool IsData => !IsSystem && (Type & 8) == 0;

    internal bool IsWritableData => IsData && (Type & 2) != 0;

    internal bool IsReadable => IsData || (IsCode && (Type & 2) != 0);

    internal bool IsConforming => IsCode && (Type & 4) != 0;

    internal bool IsAccessed => (Type & 1) != 0;

    internal bool IsLong => (Low & (1UL << 53)) != 0;

    internal bool IsBig => (Low & (1UL << 54)) != 0;

    internal uint Attributes => (uint)(Low >> 40) & 0xF0FF;

    internal uint Limit
    {
        get
        {
            uint limit = (uint)(Low & 0xFFFF) | ((uint)(Low >> 32) & 0xF_0000);
            return (Low & (1UL << 55)) != 0 ? (limit << 12) | 0xFFF : limit;
        }
    }

    internal uint Base32 => (uint)((Low >> 16) & 0xFF_FFFF) | ((uint)(Low >> 32) & 0xFF00_0000);

    /// <summary>The base of a 16-byte system segment.</summary>
    internal ulong Base64 => Base32 | (High << 32);

    internal ushort GateSelector => (ushort)(Low >> 16);

    internal uint GateOffset => (uint)(Low & 0xFFFF) | ((uint)(Low >> 32) & 0xFFFF_0000);

    /// <summary>The offset of a 16-byte gate.</summary>
    internal ulong GateOffset64 => GateOffset | (High << 32);

    internal int GateParameters => (int)(Low >> 32) & 31;

    /// <summary>The hidden part of a segment register that was loaded from this descriptor.</summary>
    internal CpuSegment ToSegment(ushort selector) =>
        new() { Selector = selector, Base = Base32, Limit = Limit, Attributes = Attributes };

    /// <summary>The hidden part of a segment register that was loaded with a null selector.</summary>
    internal static CpuSegment Null(ushort selector, int dpl = 0) =>
        new() { Selector = selector, Attributes = SegmentAttributes.Unusable | ((uint)dpl << 5) };

    /// <summary>The hidden part of a segment register in real or virtual-8086 mode.</summary>
    internal static CpuSegment Virtual8086(ushort selector) =>
        new() { Selector = selector, Base = (ulong)selector << 4, Limit = 0xFFFF, Attributes = 0xF3 };
}
