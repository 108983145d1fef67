using Hull.Engine;
using Hull.Kvm.Abi;

namespace Hull.Kvm;

/// <summary>Between KVM's segment registers, a field for each attribute, and ours, with the attributes of a descriptor.</summary>
internal static class KvmSegments
{
    /// <summary>A segment register as Hull has it.</summary>
    internal static SegmentRegister ToArch(in KvmSegment segment) => new()
    {
        Selector = segment.Selector,
        Base = segment.Base,
        Limit = segment.Limit,
        Attributes = (segment.Type & 0xFu) | ((uint)segment.S << 4) | ((uint)segment.Dpl << 5) | ((uint)segment.Present << 7)
            | ((uint)segment.Avl << 12) | ((uint)segment.L << 13) | ((uint)segment.Db << 14) | ((uint)segment.G << 15)
            | ((uint)segment.Unusable << 16),
    };

    /// <summary>A segment register as KVM has it.</summary>
    internal static KvmSegment FromArch(in SegmentRegister segment)
    {
        uint attributes = segment.Attributes;
        byte Bits(int shift, uint mask = 1) => (byte)((attributes >> shift) & mask);
        return new KvmSegment
        {
            Selector = segment.Selector,
            Base = segment.Base,
            Limit = segment.Limit,
            Type = Bits(0, 0xF),
            S = Bits(4),
            Dpl = Bits(5, 3),
            Present = Bits(7),
            Avl = Bits(12),
            L = Bits(13),
            Db = Bits(14),
            G = Bits(15),
            Unusable = Bits(16),
        };
    }
}
