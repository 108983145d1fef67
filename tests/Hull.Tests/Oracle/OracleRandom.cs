using System;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Hull.Tests.Oracle;

/// <summary>xoshiro256** with a printable seed, and the boundary lattices that operands are drawn from.</summary>
internal sealed class OracleRandom
{
    private static readonly ulong[] Boundaries =
    [
        0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000,
        0xFFFF_FFFF, 0x1_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, ulong.MaxValue, ulong.MaxValue - 1,
        0xFFFF_FFFF_8000_0000, 0xFFFF_FFFF_7FFF_FFFF, 0x0080_0080_0080_0080, 0x5555_5555_5555_5555,
    ];

    private static readonly uint[] Singles =
    [
        0, 0x8000_0000, 0x3F80_0000, 0xBF80_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0xFFC0_0000, 0x7F80_0001,
        0xFFBF_FFFF, 1, 0x8000_0001, 0x007F_FFFF, 0x0080_0000, 0x7F7F_FFFF, 0x4F00_0000, 0xCF00_0000, 0x5F00_0000,
        0x3F00_0000, 0x3FC0_0000, 0x4B00_0001, 0x3380_0000, 0x4EFF_FFFF, 0x477F_E000, 0x3F7F_FFFF, 0x4000_0000,
    ];

    private static readonly ulong[] Doubles =
    [
        0, 1UL << 63, 0x3FF0_0000_0000_0000, 0xBFF0_0000_0000_0000, 0x7FF0_0000_0000_0000, 0xFFF0_0000_0000_0000,
        0x7FF8_0000_0000_0000, 0xFFF8_0000_0000_0000, 0x7FF0_0000_0000_0001, 0xFFF7_FFFF_FFFF_FFFF, 1,
        0x000F_FFFF_FFFF_FFFF, 0x0010_0000_0000_0000, 0x7FEF_FFFF_FFFF_FFFF, 0x41DF_FFFF_FFC0_0000,
        0x41E0_0000_0000_0000, 0xC1E0_0000_0000_0000, 0x43E0_0000_0000_0000, 0xC3E0_0000_0000_0000,
        0x3FE0_0000_0000_0000, 0x3FF8_0000_0000_0000, 0x4330_0000_0000_0001, 0x47EF_FFFF_E000_0000,
        0x47F0_0000_0000_0000, 0x3690_0000_0000_0000, 0x3FEF_FFFF_FFFF_FFFF,
    ];

    private ulong _s0;
    private ulong _s1;
    private ulong _s2;
    private ulong _s3;

    /// <summary>Starts the sequence of <paramref name="seed"/>.</summary>
    internal OracleRandom(ulong seed)
    {
        _s0 = SplitMix(ref seed);
        _s1 = SplitMix(ref seed);
        _s2 = SplitMix(ref seed);
        _s3 = SplitMix(ref seed);
    }

    /// <summary>64 random bits.</summary>
    internal ulong Next()
    {
        ulong result = BitOperations.RotateLeft(_s1 * 5, 7) * 9;
        ulong t = _s1 << 17;
        _s2 ^= _s0;
        _s3 ^= _s1;
        _s1 ^= _s2;
        _s0 ^= _s3;
        _s2 ^= t;
        _s3 = BitOperations.RotateLeft(_s3, 45);
        return result;
    }

    /// <summary>A number from 0 to <paramref name="bound"/> - 1.</summary>
    internal int Below(int bound) => (int)(((Next() >> 32) * (ulong)bound) >> 32);

    /// <summary>A number from <paramref name="low"/> to <paramref name="high"/>, both included.</summary>
    internal int Between(int low, int high) => low + Below(high - low + 1);

    /// <summary>True once in <paramref name="n"/>.</summary>
    internal bool OneIn(int n) => Below(n) == 0;

    /// <summary>An integer operand: boundaries, powers of two and their neighbours, small, or random.</summary>
    internal ulong Integer()
    {
        ulong bits = Next();
        ulong pick = bits & 7;
        bits >>= 3;
        return pick switch
        {
            0 or 1 => Boundaries[bits % (ulong)Boundaries.Length],
            2 => (1UL << (int)(bits & 63)) + ((bits >> 6) % 3) - 1,
            3 => (ulong)(long)(sbyte)bits,
            4 => (uint)(bits >> 8),
            _ => Next(),
        };
    }

    /// <summary>A single-precision operand.</summary>
    internal uint Single()
    {
        ulong bits = Next();
        return (bits & 3) switch
        {
            0 => Singles[(bits >> 2) % (ulong)Singles.Length],
            1 => (uint)(bits >> 32),
            _ => ((uint)(bits >> 32) & 0x807F_FFFF) | ((uint)(110 + ((bits >> 8) % 40)) << 23),
        };
    }

    /// <summary>A double-precision operand.</summary>
    internal ulong Double()
    {
        ulong bits = Next();
        return (bits & 3) switch
        {
            0 => Doubles[(bits >> 2) % (ulong)Doubles.Length],
            1 => Next(),
            _ => (Next() & 0x800F_FFFF_FFFF_FFFF) | ((1000 + ((bits >> 8) % 50)) << 52),
        };
    }

    /// <summary>An x87 extended operand, with pseudo-denormals, unnormals and pseudo-infinities among them.</summary>
    internal void Extended(Span<byte> destination)
    {
        ulong bits = Next();
        ulong sign = bits & 0x8000;
        ulong exponent = ((bits >> 16) & 7) switch
        {
            0 => 0,
            1 => 0x7FFF,
            2 => (bits >> 24) & 0x7FFF,
            _ => 0x3FFF - 70 + ((bits >> 24) % 140),
        };
        ulong mantissa = ((bits >> 40) & 7) switch
        {
            0 => 0,
            1 => 1UL << 63,
            2 => 0xC000_0000_0000_0000,
            3 => Next(),
            4 => (Next() & ~0x7FFUL) | (1UL << 63),
            _ => Next() | (1UL << 63),
        };
        MemoryMarshal.Write(destination, mantissa);
        MemoryMarshal.Write(destination[8..], (ushort)(sign | exponent));
    }

    /// <summary>Fills with operands of all kinds, in runs of 16 bytes.</summary>
    internal void FillMixed(Span<byte> destination)
    {
        for (int at = 0; at + 16 <= destination.Length; at += 16)
        {
            Span<byte> run = destination.Slice(at, 16);
            Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(run);
            switch (Below(8))
            {
                case 0:
                case 1:
                    words[0] = Double();
                    words[1] = Double();
                    break;
                case 2:
                case 3:
                    words[0] = Single() | ((ulong)Single() << 32);
                    words[1] = Single() | ((ulong)Single() << 32);
                    break;
                case 4:
                    Extended(run);
                    words[1] |= Next() << 16;
                    break;
                case 5:
                    words[0] = Integer();
                    words[1] = Integer();
                    break;
                default:
                    words[0] = Next();
                    words[1] = Next();
                    break;
            }
        }
    }

    private static ulong SplitMix(ref ulong seed)
    {
        ulong z = seed += 0x9E37_79B9_7F4A_7C15;
        z = (z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9;
        z = (z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB;
        return z ^ (z >> 31);
    }
}
