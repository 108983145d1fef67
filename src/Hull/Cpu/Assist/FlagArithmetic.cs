using System.Numerics;
using Hull.Cpu.State;

namespace Hull.Cpu.Assist;

/// <summary>The arithmetic flags of the few operations that assists do themselves.</summary>
internal static class FlagArithmetic
{
    /// <summary>CF, PF, AF, ZF, SF, OF of left - right at a size of 1, 2, 4 or 8 bytes.</summary>
    internal static ulong Subtract(ulong left, ulong right, int size)
    {
        ulong mask = Operands.SizeMask(size);
        left &= mask;
        right &= mask;
        ulong result = (left - right) & mask;
        ulong sign = 1UL << ((size * 8) - 1);
        ulong flags = SignZeroParity(result, size);
        flags |= left < right ? Rflags.Cf : 0;
        flags |= (left ^ right ^ result) & Rflags.Af;
        return flags | (((left ^ right) & (left ^ result) & sign) != 0 ? Rflags.Of : 0);
    }

    /// <summary>SF, ZF and PF of a result.</summary>
    internal static ulong SignZeroParity(ulong result, int size)
    {
        ulong flags = (BitOperations.PopCount((byte)result) & 1) == 0 ? Rflags.Pf : 0;
        flags |= result == 0 ? Rflags.Zf : 0;
        return flags | (((result >> ((size * 8) - 1)) & 1) != 0 ? Rflags.Sf : 0);
    }
}
