using System;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Hull.Host;

namespace Hull.Tests.Oracle;

/// <summary>
/// Runs tests on the host CPU. One at a time in a process, and only on the thread that made it: that thread has an
/// alternate signal stack and blocks all asynchronous signals, because RSP holds the test's values.
/// </summary>
internal sealed unsafe class NativeRunner : IInstructionRunner, IDisposable
{
    private const int MapFixedNoReplace = 0x100000;
    private static readonly int[] FaultSignals = [4, 5, 7, 8, 11];

    private readonly byte[] _pattern = OracleLayout.MakePattern();
    private readonly NativeStub _stub;
    private readonly int _thread = Environment.CurrentManagedThreadId;
    private readonly NativeLibc.KernelSigaction[] _oldActions = new NativeLibc.KernelSigaction[FaultSignals.Length];
    private readonly NativeLibc.StackDescription _oldStack;
    private readonly ulong _oldMask;
    private readonly ulong[] _writtenPads = new ulong[TestCase.MaxPads];
    private int _writtenPadCount;
    private int _writtenLength;
    private ulong _writtenAddress;
    private int _writtenVersion = -1;
    private TestCase? _writtenTest;

    /// <summary>Maps the pages, installs the handlers.</summary>
    /// <exception cref="HullException">The addresses are taken, or the kernel refuses.</exception>
    internal NativeRunner()
    {
        SoftRunner.InstallSignals();
        HasAvx = Avx.IsSupported;
        HasSegments = OracleSegments.TryInstall();
        _stub = new NativeStub(HasAvx);
        Map(OracleLayout.StatePage, 0x1000, Libc.ProtRead | Libc.ProtWrite);
        Map(OracleLayout.StubPage, 0x2000, Libc.ProtRead | Libc.ProtWrite | Libc.ProtExec);
        Map(OracleLayout.SignalStack, OracleLayout.SignalStackSize, Libc.ProtRead | Libc.ProtWrite);
        Map(OracleLayout.Code, OracleLayout.CodeSize, Libc.ProtRead | Libc.ProtWrite | Libc.ProtExec);
        Map(OracleLayout.Window, OracleLayout.WindowEnd - OracleLayout.Window, Libc.ProtRead | Libc.ProtWrite);
        _stub.Bytes.CopyTo(At(OracleLayout.StubPage, _stub.Bytes.Length));
        At(OracleLayout.Code, (int)OracleLayout.CodeSize).Fill(0xCC);
        _pattern.CopyTo(At(OracleLayout.Window, _pattern.Length));
        Check(Libc.Mprotect((void*)OracleLayout.ReadOnlyPage, 0x1000, Libc.ProtRead), "mprotect");

        NativeLibc.StackDescription stack = new() { Base = OracleLayout.SignalStack, Size = OracleLayout.SignalStackSize };
        Check(NativeLibc.SigAltStack(in stack, out _oldStack), "sigaltstack");
        ulong mask = ulong.MaxValue;
        foreach (int signal in FaultSignals)
        {
            mask &= ~(1UL << (signal - 1));
        }

        ulong oldMask;
        Check((int)NativeLibc.Syscall(NativeLibc.RtSigprocmask, 2, (nint)(&mask), (nint)(&oldMask), 8), "sigprocmask");
        _oldMask = oldMask;
        for (int i = 0; i < FaultSignals.Length; i++)
        {
            NativeLibc.KernelSigaction action = new()
            {
                Handler = _stub.Handler,
                Restorer = _stub.Restorer,
                Flags = 0x0C00_0004, // SA_ONSTACK | SA_RESTORER | SA_SIGINFO
            };
            _oldActions[i] = Sigaction(FaultSignals[i], action);
            *(ulong*)(NativeStub.OldHandlers + (ulong)(FaultSignals[i] * 8)) = _oldActions[i].Handler;
        }
    }

    /// <summary>True: YMM registers are loaded, stored and compared whole.</summary>
    internal bool HasAvx { get; }

    /// <summary>True when 32-bit tests may have segments that are not flat.</summary>
    internal bool HasSegments { get; }

    /// <summary>True when user code may set FS and GS bases: needed by tests that use segment bases.</summary>
    internal static bool HasSegmentBases => (NativeLibc.GetAuxiliaryValue(26) & 2) != 0;

    /// <inheritdoc/>
    public void Run(TestCase test, TestResult result)
    {
        Debug.Assert(Environment.CurrentManagedThreadId == _thread, "the oracle belongs to one thread");
        StubVariant variant = test.Mode32 && test.UsesSegmentBases ? StubVariant.Compat32Segments
            : test.Mode32 ? StubVariant.Compat32
            : test.UsesSegmentBases ? StubVariant.SegmentBases : StubVariant.Plain;
        if (_writtenVersion != test.CodeVersion || _writtenTest != test)
        {
            WriteCode(test, variant);
        }

        CpuTestState.AsBytes(test.Initial).CopyTo(At(NativeStub.Input, CpuTestState.Bytes));
        ushort* selectors = ((CpuTestState*)NativeStub.Input)->Selectors;
        selectors[0] = test.Segments.Es;
        selectors[2] = test.Segments.Ss;
        selectors[3] = test.Segments.Ds;
        Span<byte> slice = test.SliceLength == 0 ? default : At(test.SliceAddress, test.SliceLength);
        test.Slice.AsSpan(0, test.SliceLength).CopyTo(slice);
        StubPaths paths = _stub.Paths[(int)variant];
        CpuTestState* output = (CpuTestState*)NativeStub.Output;
        output->Rip = 0;
        output->FsBase = test.Initial->FsBase;
        output->GsBase = test.Initial->GsBase;
        *(ulong*)NativeStub.Target = test.CodeAddress;
        *(ushort*)(NativeStub.Target + 4) = test.Mode32 ? OracleLayout.UserCode32 : (ushort)0;
        *(ulong*)NativeStub.Recovery = paths.Recover;
        *(uint*)NativeStub.Faulted = 0;

        // SAFETY: the entry follows the C calling convention and comes back through an exit or the fault handler. What
        // the test itself may touch was confined by its generator to the window, or to addresses that fault.
        ((delegate* unmanaged<void>)paths.Entry)();

        CpuTestState.AsBytes(output).CopyTo(CpuTestState.AsBytes(result.State));
        result.RunnerError = null;
        result.Faulted = *(uint*)NativeStub.Faulted != 0;
        if (result.Faulted)
        {
            TakeFault(result);
        }
        else
        {
            result.Vector = 0;
            result.ErrorCode = 0;
            result.Address = 0;
        }

        slice.CopyTo(result.Slice);
        _pattern.AsSpan((int)(test.SliceAddress - OracleLayout.Window), test.SliceLength).CopyTo(slice);
    }

    /// <inheritdoc/>
    public ulong VerifyWindow()
    {
        Span<byte> window = At(OracleLayout.Window, OracleLayout.WritableSize);
        ReadOnlySpan<byte> pattern = _pattern.AsSpan(0, OracleLayout.WritableSize);
        int same = window.CommonPrefixLength(pattern);
        if (same == window.Length)
        {
            return 0;
        }

        pattern.CopyTo(window);
        return OracleLayout.Window + (ulong)same;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        for (int i = 0; i < FaultSignals.Length; i++)
        {
            Sigaction(FaultSignals[i], _oldActions[i]);
        }

        ulong mask = _oldMask;
        _ = NativeLibc.Syscall(NativeLibc.RtSigprocmask, 2, (nint)(&mask), 0, 8);
        _ = NativeLibc.SigAltStack(in _oldStack, out _);
        _ = Libc.Munmap((void*)OracleLayout.StatePage, 0x1000);
        _ = Libc.Munmap((void*)OracleLayout.StubPage, 0x2000);
        _ = Libc.Munmap((void*)OracleLayout.SignalStack, (nuint)OracleLayout.SignalStackSize);
        _ = Libc.Munmap((void*)OracleLayout.Code, (nuint)OracleLayout.CodeSize);
        _ = Libc.Munmap((void*)OracleLayout.Window, (nuint)(OracleLayout.WindowEnd - OracleLayout.Window));
    }

    // SAFETY: every caller names a range inside the pages that the constructor has mapped.
    private static Span<byte> At(ulong address, int length) => new((void*)address, length);

    private static void TakeFault(TestResult result)
    {
        ReadOnlySpan<byte> order = [8, 9, 10, 11, 12, 13, 14, 15, 7, 6, 5, 3, 2, 0, 1, 4];
        ulong* context = (ulong*)NativeStub.Context;
        for (int i = 0; i < order.Length; i++)
        {
            result.State->Gpr[order[i]] = context[i];
        }

        result.State->Selectors[1] = (ushort)context[18];
        result.State->Selectors[2] = (ushort)(context[18] >> 48);
        result.State->Rip = context[16];
        result.State->Rflags = context[17];
        result.ErrorCode = (uint)context[19];
        result.Vector = (byte)context[20];
        result.Address = result.Vector == 14 ? context[22] : 0;
    }

    private void WriteCode(TestCase test, StubVariant variant)
    {
        At(_writtenAddress == 0 ? OracleLayout.Code : _writtenAddress, _writtenLength).Fill(0xCC);
        for (int i = 0; i < _writtenPadCount; i++)
        {
            At(_writtenPads[i], NativeStub.PadLength).Fill(0xCC);
        }

        _stub.ExitVariant = variant;
        for (int i = 0; i < test.PadCount; i++)
        {
            _writtenPads[i] = test.Pads[i];
            _stub.WritePad(At(test.Pads[i], NativeStub.PadLength), test.Pads[i], test.Mode32);
        }

        test.Code.AsSpan(0, test.CodeLength).CopyTo(At(test.CodeAddress, test.CodeLength));
        _writtenPadCount = test.PadCount;
        _writtenLength = test.CodeLength;
        _writtenAddress = test.CodeAddress;
        _writtenVersion = test.CodeVersion;
        _writtenTest = test;
    }

    private static void Map(ulong address, ulong length, int protection)
    {
        int flags = Libc.MapPrivate | Libc.MapAnonymous | MapFixedNoReplace;
        void* at = Libc.Mmap((void*)address, (nuint)length, protection, flags, -1, 0);
        if (at != (void*)address)
        {
            throw new HullException($"cannot map 0x{address:x} for the native oracle (only one at a time)");
        }
    }

    private static NativeLibc.KernelSigaction Sigaction(int signal, NativeLibc.KernelSigaction action)
    {
        NativeLibc.KernelSigaction old;
        Check((int)NativeLibc.Syscall(NativeLibc.RtSigaction, signal, (nint)(&action), (nint)(&old), 8), "sigaction");
        return old;
    }

    private static void Check(int result, string call)
    {
        if (result != 0)
        {
            throw new HullException($"native oracle: {call} failed: {Libc.LastErrorMessage()}");
        }
    }
}

/// <summary>The system calls of the native oracle.</summary>
internal static partial class NativeLibc
{
    internal const nint RtSigaction = 13;
    internal const nint RtSigprocmask = 14;

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    internal static partial nint Syscall(nint number, nint first, nint second, nint third, nint fourth);

    [LibraryImport("libc", EntryPoint = "sigaltstack", SetLastError = true)]
    internal static partial int SigAltStack(in StackDescription stack, out StackDescription old);

    [LibraryImport("libc", EntryPoint = "getauxval")]
    internal static partial nuint GetAuxiliaryValue(nuint type);

    /// <summary>stack_t.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct StackDescription
    {
        internal ulong Base;
        internal ulong Flags;
        internal ulong Size;
    }

    /// <summary>The kernel's own struct sigaction.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct KernelSigaction
    {
        internal ulong Handler;
        internal ulong Flags;
        internal ulong Restorer;
        internal ulong Mask;
    }
}
