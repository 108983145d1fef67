using System;
using System.Collections.Generic;
using System.IO;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>Prints a failing test so that it can be repeated by hand.</summary>
internal static unsafe class OracleReport
{
    /// <summary>Bytes, disassembly, initial state, differences.</summary>
    internal static void Write(TextWriter output, TestCase test, in Instruction last, TestResult expected, TestResult actual)
    {
        Disassemble(output, test);
        WriteState(output, test);
        List<string> lines = [];
        OracleComparer.Compare(test, last, expected, actual, lines);
        foreach (string line in lines)
        {
            output.WriteLine($"    native {line}");
        }
    }

    private static void Disassemble(TextWriter output, TestCase test)
    {
        IntelFormatter formatter = new();
        formatter.Options.HexPrefix = "0x";
        formatter.Options.HexSuffix = null;
        StringOutput text = new();
        ReadOnlySpan<byte> code = test.Code.AsSpan(0, test.CodeLength);
        Decoder decoder = OracleDecoder.Create(test.Mode32 ? 32 : 64, new ByteArrayCodeReader(code.ToArray()));
        decoder.IP = test.CodeAddress;
        int at = 0;
        while (at < code.Length)
        {
            decoder.Decode(out Instruction instruction);
            formatter.Format(instruction, text);
            string bytes = Convert.ToHexString(code.Slice(at, instruction.Length));
            output.WriteLine($"    {test.CodeAddress + (ulong)at:x}: {bytes,-30} {text.ToStringAndReset()}");
            at += Math.Max(instruction.Length, 1);
        }
    }

    private static void WriteState(TextWriter output, TestCase test)
    {
        CpuTestState* state = test.Initial;
        for (int row = 0; row < 16; row += 4)
        {
            output.Write("   ");
            for (int i = row; i < row + 4; i++)
            {
                output.Write($" {Register.RAX + i,-3}={state->Gpr[i]:x16}");
            }

            output.WriteLine();
        }

        WriteSlice(output, test);
        output.WriteLine($"    RFLAGS={state->Rflags:x} MXCSR={state->Mxcsr:x} FCW={state->Fcw:x} FSW={state->Fsw:x} FTW={state->Ftw:x}"
            + $" slice {test.SliceAddress:x}+{test.SliceLength:x}{(test.UsesSegmentBases ? " FS/GS bases" : "")}"
            + (test.Segments == SegmentChoice.Flat ? "" : $" {test.Segments}"));
    }

    private static void WriteSlice(TextWriter output, TestCase test)
    {
        for (int at = 0; at < test.SliceLength; at += 32)
        {
            int length = Math.Min(32, test.SliceLength - at);
            string bytes = Convert.ToHexString(test.Slice.AsSpan(at, length));
            output.WriteLine($"    {test.SliceAddress + (ulong)at:x}: {bytes}");
        }
    }
}
