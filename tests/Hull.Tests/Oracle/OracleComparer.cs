using System;
using System.Collections.Generic;
using System.Numerics;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>Compares what two runners made of one test, the whole state.</summary>
internal static unsafe class OracleComparer
{
    private const int CodeSegment = 1;

    // RF is set in the image that a fault saves and means nothing to the test; bit 1 and IF are constant.
    private const ulong ComparedFlags = 0x3E_FFD7;

    /// <summary>Compares; adds one line for each difference.</summary>
    /// <returns>True when equal.</returns>
    internal static bool Compare(TestCase test, in Instruction last, TestResult expected, TestResult actual, List<string>? lines)
    {
        if (lines is null && IsIdentical(test, expected, actual))
        {
            return true;
        }

        Variance variance = Variance.Of(test, last, expected);
        if (variance.Everything && actual.RunnerError is null)
        {
            return true;
        }

        bool other = actual.RunnerError is null && expected.Faulted && actual.Faulted && variance.OtherVector == actual.Vector;
        bool same = other || CompareFault(expected, actual, variance, lines);
        CpuTestState* want = expected.State;
        CpuTestState* have = actual.State;
        int registers = test.Mode32 ? 8 : 16;
        ulong mask = test.Mode32 ? uint.MaxValue : ulong.MaxValue;
        for (int i = 0; i < registers; i++)
        {
            if (((variance.Registers >> i) & 1) != 0)
            {
                continue;
            }

            ulong bits = ((variance.LowHalves >> i) & 1) != 0 ? uint.MaxValue : mask;
            same &= Check(want->Gpr[i] & bits, have->Gpr[i] & bits, (Register.RAX + i).ToString(), lines);
        }

        ulong flags = ComparedFlags & ~variance.Flags;
        same &= Check(want->Rflags & flags, have->Rflags & flags, "RFLAGS", lines);
        same &= variance.Rip || Check(want->Rip & mask, have->Rip & mask, "RIP", lines);
        if (test.UsesSegmentBases)
        {
            same &= HasNoBase(test, want->Selectors[4]) || Check(want->FsBase, have->FsBase, "FS base", lines);
            same &= HasNoBase(test, want->Selectors[5]) || Check(want->GsBase, have->GsBase, "GS base", lines);
            for (int i = 0; i < 6; i++)
            {
                if (i == CodeSegment && test.Mode32 && !expected.Faulted)
                {
                    continue; // the pad has left for 64-bit mode
                }

                // The host's kernel makes a null selector with an RPL 0 when it delivers a signal or switches threads.
                int keep = have->Selectors[i] < 4 ? ~3 : ~0;
                same &= Check((ulong)(want->Selectors[i] & keep), (ulong)(have->Selectors[i] & keep), (Register.ES + i).ToString(), lines);
            }
        }

        same &= variance.X87 || CompareX87(want, have, lines);
        uint control = variance.Mxcsr ? ~0x3Fu : ~0u;
        same &= Check(want->Mxcsr & control, have->Mxcsr & control, "MXCSR", lines);
        int vectors = test.Mode32 ? 8 : 16;
        same &= variance.Vectors || CompareVectors(new ReadOnlySpan<byte>(want->Xmm, vectors * 16), new ReadOnlySpan<byte>(have->Xmm, vectors * 16), "XMM", lines);
        for (uint left = variance.UpperHalves; left != 0; left &= left - 1)
        {
            int at = BitOperations.TrailingZeroCount(left) * 16;
            new ReadOnlySpan<byte>(want->YmmHigh + at, 16).CopyTo(new Span<byte>(have->YmmHigh + at, 16));
        }

        same &= variance.Vectors || CompareVectors(new ReadOnlySpan<byte>(want->YmmHigh, vectors * 16), new ReadOnlySpan<byte>(have->YmmHigh, vectors * 16), "YMM high ", lines);
        return variance.Memory ? same : same & CompareMemory(test, expected, actual, lines);
    }

    // In 32-bit code a null selector's base is nobody's.
    private static bool HasNoBase(TestCase test, ushort selector) => test.Mode32 && selector < 4;

    // The quick way for the usual case: equal without any mask but those for the x87 pointers.
    private static bool IsIdentical(TestCase test, TestResult expected, TestResult actual)
    {
        CpuTestState* want = expected.State;
        CpuTestState* have = actual.State;
        const int Pointers = CpuTestState.XsaveOffset + 6;
        const int AfterPointers = CpuTestState.XsaveOffset + 24;
        const int AfterXmm = CpuTestState.XsaveOffset + 416;
        return !test.UsesSegmentBases && actual.RunnerError is null && expected.Faulted == actual.Faulted
            && expected.Vector == actual.Vector && expected.ErrorCode == actual.ErrorCode
            && expected.Address == actual.Address && want->Rip == have->Rip
            && ((want->Rflags ^ have->Rflags) & ComparedFlags) == 0
            && Part(want, 0, 128).SequenceEqual(Part(have, 0, 128))
            && Part(want, CpuTestState.XsaveOffset, Pointers).SequenceEqual(Part(have, CpuTestState.XsaveOffset, Pointers))
            && Part(want, AfterPointers, AfterXmm).SequenceEqual(Part(have, AfterPointers, AfterXmm))
            && Part(want, CpuTestState.YmmHighOffset, CpuTestState.Bytes).SequenceEqual(Part(have, CpuTestState.YmmHighOffset, CpuTestState.Bytes))
            && CompareMemory(test, expected, actual, null);
    }

    private static ReadOnlySpan<byte> Part(CpuTestState* state, int from, int to) => new((byte*)state + from, to - from);

    private static bool CompareFault(
        TestResult expected,
        TestResult actual,
        Variance variance,
        List<string>? lines)
    {
        if (actual.RunnerError is not null)
        {
            lines?.Add(actual.RunnerError);
            return false;
        }

        if (expected.Faulted != actual.Faulted || (expected.Faulted && expected.Vector != actual.Vector))
        {
            lines?.Add($"exception: {Describe(expected)}, not {Describe(actual)}");
            return false;
        }

        if (!expected.Faulted)
        {
            return true;
        }

        ulong distance = expected.Address > actual.Address ? expected.Address - actual.Address : actual.Address - expected.Address;
        bool sameOperand = variance.Address == AddressRule.SameOperand && distance < 1024;
        uint error = sameOperand && distance != 0 ? ~1u : ~0u;
        bool same = Check(expected.ErrorCode & error, actual.ErrorCode & error, $"error code of vector {expected.Vector}", lines);
        return sameOperand || variance.Address == AddressRule.Any
            ? same
            : Check(expected.Address, actual.Address, "CR2", lines) & same;
    }

    private static string Describe(TestResult result) =>
        result.Faulted ? $"vector {result.Vector} error {result.ErrorCode:x} at {result.Address:x}" : "none";

    private static bool CompareX87(CpuTestState* want, CpuTestState* have, List<string>? lines)
    {
        bool same = Check(want->Fcw, have->Fcw, "FCW", lines);
        same &= Check(want->Fsw, have->Fsw, "FSW", lines);
        same &= Check(want->Ftw, have->Ftw, "FTW", lines);
        for (int i = 0; i < 8; i++)
        {
            ulong* a = (ulong*)(want->St + (i * 16));
            ulong* b = (ulong*)(have->St + (i * 16));
            if (a[0] != b[0] || (ushort)a[1] != (ushort)b[1])
            {
                lines?.Add($"ST{i}: {(ushort)a[1]:x4}:{a[0]:x16}, not {(ushort)b[1]:x4}:{b[0]:x16}");
                same = false;
            }
        }

        return same;
    }

    private static bool CompareVectors(ReadOnlySpan<byte> want, ReadOnlySpan<byte> have, string name, List<string>? lines)
    {
        if (want.SequenceEqual(have))
        {
            return true;
        }

        for (int i = 0; i < want.Length && lines is not null; i += 16)
        {
            UInt128 a = BitConverter.ToUInt128(want[i..]);
            UInt128 b = BitConverter.ToUInt128(have[i..]);
            if (a != b)
            {
                lines.Add($"{name}{i / 16}: {a:x32}, not {b:x32}");
            }
        }

        return false;
    }

    private static bool CompareMemory(TestCase test, TestResult expected, TestResult actual, List<string>? lines)
    {
        Span<byte> want = expected.Slice.AsSpan(0, test.SliceLength);
        Span<byte> have = actual.Slice.AsSpan(0, test.SliceLength);
        if (test.IgnoredLength != 0)
        {
            want.Slice(test.IgnoredOffset, test.IgnoredLength).CopyTo(have[test.IgnoredOffset..]);
        }

        int common = want.CommonPrefixLength(have);
        if (common == want.Length)
        {
            return true;
        }

        int shown = Math.Min(16, want.Length - common);
        lines?.Add($"memory {test.SliceAddress + (ulong)common:x}: {Convert.ToHexString(want.Slice(common, shown))}, "
            + $"not {Convert.ToHexString(have.Slice(common, shown))}");
        return false;
    }

    private static bool Check(ulong want, ulong have, string name, List<string>? lines)
    {
        if (want == have)
        {
            return true;
        }

        lines?.Add($"{name}: {want:x}, not {have:x}");
        return false;
    }
}
