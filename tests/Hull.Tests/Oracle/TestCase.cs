using System;
using System.Runtime.InteropServices;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>
/// One test: code, the state it starts from, and the bytes of memory that it may change. Reused: a campaign fills the
/// same object millions of times.
/// </summary>
internal sealed unsafe class TestCase : IDisposable
{
    internal const int MaxSlice = 1024;
    internal const int MaxCode = 512;
    internal const int MaxPads = 8;

    internal TestCase() => Initial = CpuTestState.Allocate();

    /// <summary>The state to start from; RIP is <see cref="CodeAddress"/>.</summary>
    internal CpuTestState* Initial { get; }

    /// <summary>The code's bytes; <see cref="CodeLength"/> count.</summary>
    internal byte[] Code { get; } = new byte[MaxCode];

    /// <summary>Bytes of code.</summary>
    internal int CodeLength { get; set; }

    /// <summary>Where the code goes.</summary>
    internal ulong CodeAddress { get; set; } = OracleLayout.CodeStart;

    /// <summary>How many instructions the code has.</summary>
    internal int InstructionCount { get; set; } = 1;

    /// <summary>A new number whenever the code or its place changes: runners then write it anew.</summary>
    internal int CodeVersion { get; set; }

    /// <summary>True for 32-bit compatibility mode.</summary>
    internal bool Mode32 { get; set; }

    /// <summary>ES, SS and DS of a 32-bit test.</summary>
    internal SegmentChoice Segments { get; set; } = SegmentChoice.Flat;

    /// <summary>
    /// True: the final selectors are compared; in 64-bit mode FS and GS have the bases of the initial state, which are
    /// compared too.
    /// </summary>
    internal bool UsesSegmentBases { get; set; }

    /// <summary>Addresses where the code may end; the test counts as finished there. The end of the code is one.</summary>
    internal ulong[] Pads { get; } = new ulong[MaxPads];

    /// <summary>How many pads.</summary>
    internal int PadCount { get; set; }

    /// <summary>The first byte of the window with the test's own content.</summary>
    internal ulong SliceAddress { get; set; } = OracleLayout.Window;

    /// <summary>That content.</summary>
    internal byte[] Slice { get; } = new byte[MaxSlice];

    /// <summary>Bytes of it, 0 to <see cref="MaxSlice"/>.</summary>
    internal int SliceLength { get; set; }

    /// <summary>Bytes of the slice that are not compared, from this offset.</summary>
    internal int IgnoredOffset { get; set; }

    /// <summary>How many bytes of the slice are not compared.</summary>
    internal int IgnoredLength { get; set; }

    /// <summary>The base of a segment in a 32-bit test, else 0. Linear addresses are cut to 32 bits there.</summary>
    internal uint BaseOf(Register segment) => !Mode32 ? 0 : OracleSegments.BaseOf(segment switch
    {
        Register.ES => Segments.Es,
        Register.SS => Segments.Ss,
        Register.DS => Segments.Ds,
        _ => OracleLayout.UserData,
    });

    /// <summary>True when RIP is a place where the code may end.</summary>
    internal bool IsPad(ulong rip) => Pads.AsSpan(0, PadCount).Contains(rip);

    /// <summary>Replaces the code by straight-line bytes that end at a pad.</summary>
    internal void SetCode(ReadOnlySpan<byte> bytes, int instructions = 1, ulong address = OracleLayout.CodeStart)
    {
        bytes.CopyTo(Code);
        CodeLength = bytes.Length;
        CodeAddress = address;
        InstructionCount = instructions;
        CodeVersion++;
        PadCount = 0;
        ulong end = address + (ulong)bytes.Length;
        if (end + NativeStub.PadLength <= OracleLayout.Code + OracleLayout.CodeSize)
        {
            Pads[PadCount++] = end;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => NativeMemory.AlignedFree(Initial);
}

/// <summary>What a test led to.</summary>
internal sealed unsafe class TestResult : IDisposable
{
    internal TestResult() => State = CpuTestState.Allocate();

    /// <summary>The state after the test; with a fault, the state that the fault found.</summary>
    internal CpuTestState* State { get; }

    /// <summary>The test's slice of memory afterwards.</summary>
    internal byte[] Slice { get; } = new byte[TestCase.MaxSlice];

    /// <summary>True when the code ended with an exception.</summary>
    internal bool Faulted { get; set; }

    /// <summary>The exception's vector.</summary>
    internal byte Vector { get; set; }

    /// <summary>Its error code, else 0.</summary>
    internal uint ErrorCode { get; set; }

    /// <summary>CR2 of a page fault, else 0.</summary>
    internal ulong Address { get; set; }

    /// <summary>What the runner itself has to complain of; null when it ran.</summary>
    internal string? RunnerError { get; set; }

    /// <summary>Before a run: no fault, no complaint.</summary>
    internal void Clear()
    {
        RunnerError = null;
        Faulted = false;
        Vector = 0;
        ErrorCode = 0;
        Address = 0;
    }

    /// <inheritdoc/>
    public void Dispose() => NativeMemory.AlignedFree(State);
}

/// <summary>Runs tests: natively, or on an engine.</summary>
internal interface IInstructionRunner
{
    /// <summary>Runs the test from its initial state.</summary>
    void Run(TestCase test, TestResult result);

    /// <summary>Checks that no test has written outside its slice, and repairs the window.</summary>
    /// <returns>The first address that differs, or 0.</returns>
    ulong VerifyWindow();
}
