using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Hull.Bus;
using Hull.Cpu;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Engine;
using Hull.Memory;
using Hull.Tests.Cpu;
using Hull.Timeline;

namespace Hull.Tests.Oracle;

/// <summary>How a test runs on the soft engine.</summary>
internal enum SoftMode
{
    /// <summary>One instruction a block.</summary>
    Single,

    /// <summary>The whole test as one block, without links.</summary>
    Block,

    /// <summary>As a guest runs: cached blocks that are linked, until INT3 behind the test.</summary>
    Linked,
}

/// <summary>Runs tests on the soft engine, in a guest of its own.</summary>
internal sealed unsafe class SoftRunner : IInstructionRunner, IDisposable
{
    private const int Breakpoint = 3;
    private GuestMemory _memory = null!;
    private SoftEngine _engine = null!;
    private SoftVcpu _vcpu = null!;
    private SoftGuest _guest = null!;
    private readonly byte[] _pattern = OracleLayout.MakePattern();
    private readonly bool _avx = Avx.IsSupported;
    private TestCase? _writtenTest;
    private int _writtenVersion = -1;
    private ulong _writtenAddress = OracleLayout.Code;
    private int _writtenLength;
    private bool? _mode32;
    private SegmentChoice _chosen;
    private CpuSegments _segments;

    private readonly WindowUse _windows;

    /// <summary>Makes the engine and its guest.</summary>
    internal SoftRunner(SoftMode mode, WindowUse windows = WindowUse.ForLongRuns)
    {
        Mode = mode;
        _windows = windows;
        Start();
    }

    private void Start()
    {
        _memory = new GuestMemory(SoftGuest.RamSize);
        MachineClock clock = new();
        CpuidPolicy cpuid = CpuidPolicy.For(
            _avx ? CpuModel.HostSafe : CpuModel.Parse("-avx"), clock.TscHz, 1_000_000_000, 1);
        _engine = new SoftEngine(_memory, new IoBus(), clock, null, cpuid) { Windows = _windows };
        _vcpu = (SoftVcpu)_engine.CreateVcpu(0, new SilentApic());
        _guest = new SoftGuest(_memory);
        _mode32 = null;
        _writtenTest = null;
        _writtenLength = 0;
    }

    /// <summary>How tests run.</summary>
    internal SoftMode Mode { get; set; }

    /// <summary>Faults of windows so far.</summary>
    internal ulong WindowFaults => _vcpu.Tlb.Windows.Faults;

    /// <inheritdoc/>
    public void Run(TestCase test, TestResult result)
    {
        if (_mode32 != test.Mode32 || _chosen != test.Segments)
        {
            _vcpu.SetState(SoftGuest.MakeState(test.Mode32, test.Segments));
            _chosen = test.Segments;
            _segments = _vcpu.Cpu->Segments;
            _mode32 = test.Mode32;
        }

        if (_writtenVersion != test.CodeVersion || _writtenTest != test)
        {
            WriteCode(test);
        }

        _guest.WriteLinear(test.SliceAddress, test.Slice.AsSpan(0, test.SliceLength));
        Load(test);
        result.Clear();
        Step(test, result);
        Store(test, result);
        if (result.RunnerError is not null)
        {
            // An engine that failed once stays failed.
            Dispose();
            Start();
            return;
        }

        _guest.ReadLinear(test.SliceAddress, result.Slice.AsSpan(0, test.SliceLength));
        int at = (int)(test.SliceAddress - OracleLayout.Window);
        _guest.WriteLinear(test.SliceAddress, _pattern.AsSpan(at, test.SliceLength));
    }

    /// <inheritdoc/>
    public ulong VerifyWindow()
    {
        byte[] window = new byte[_pattern.Length];
        _guest.ReadLinear(OracleLayout.Window, window);
        int same = window.AsSpan().CommonPrefixLength(_pattern);
        if (same == window.Length)
        {
            return 0;
        }

        _guest.WriteLinear(OracleLayout.Window, _pattern);
        return OracleLayout.Window + (ulong)same;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _engine.Dispose();
        _memory.Dispose();
    }

    private void WriteCode(TestCase test)
    {
        Span<byte> filler = stackalloc byte[TestCase.MaxCode];
        filler.Fill(0xCC);
        _guest.WriteLinear(_writtenAddress, filler[.._writtenLength]);
        _guest.WriteLinear(test.CodeAddress, test.Code.AsSpan(0, test.CodeLength));
        _writtenAddress = test.CodeAddress;
        _writtenLength = test.CodeLength;
        _writtenVersion = test.CodeVersion;
        _writtenTest = test;
    }

    private void Load(TestCase test)
    {
        CpuState* cpu = _vcpu.Cpu;
        CpuTestState* from = test.Initial;
        new ReadOnlySpan<byte>(from->Gpr, 128).CopyTo(new Span<byte>(cpu->Gpr, 128));
        cpu->Rip = test.CodeAddress;
        cpu->Rflags = from->Rflags;
        cpu->Segments = _segments;
        cpu->Cpl = 3;
        cpu->Cr2 = 0;
        cpu->InterruptShadow = 0;
        if (test.UsesSegmentBases && !test.Mode32)
        {
            cpu->Segments[4].Base = from->FsBase;
            cpu->Segments[5].Base = from->GsBase;
        }

        new ReadOnlySpan<byte>(from->Fxsave, 160).CopyTo(Bytes(ref cpu->X87));
        cpu->Mxcsr = from->Mxcsr;
        new ReadOnlySpan<byte>(from->Xmm, 256).CopyTo(Bytes(ref cpu->Xmm));
        new ReadOnlySpan<byte>(from->YmmHigh, 256).CopyTo(Bytes(ref cpu->YmmHigh));
        cpu->YmmDirty = _avx ? 1u : 0;
    }

    private void Step(TestCase test, TestResult result)
    {
        int limit = Mode == SoftMode.Single ? 1 : test.InstructionCount;
        for (int i = 0; i < 400; i++)
        {
            bool alive = Mode == SoftMode.Linked ? _vcpu.StepLinked() : _vcpu.StepBlock(limit);
            if (!alive)
            {
                result.RunnerError = $"shut down: {_vcpu.FailureMessage}";
                return;
            }

            if (TakeFault(test, result) || test.IsPad(_vcpu.Cpu->Rip))
            {
                return;
            }
        }

        result.RunnerError = $"does not end: rip 0x{_vcpu.Cpu->Rip:x}";
    }

    // The handler's address says which exception it was; the frame on its stack says the rest.
    private bool TakeFault(TestCase test, TestResult result)
    {
        CpuState* cpu = _vcpu.Cpu;
        int vector = SoftGuest.VectorAt(cpu->Rip);
        if (vector < 0)
        {
            return false;
        }

        int first = 1;
        cpu->Segments[2].Selector = _guest.ReadPushed(first++);
        cpu->Gpr[4] = _guest.ReadPushed(first++);
        ulong flags = _guest.ReadPushed(first++);
        cpu->Segments[1].Selector = _guest.ReadPushed(first++);
        cpu->Rip = _guest.ReadPushed(first++);
        cpu->Rflags = flags;
        if (vector == Breakpoint && Mode != SoftMode.Single && test.IsPad(cpu->Rip - 1))
        {
            cpu->Rip--;
            return true;
        }

        result.Faulted = true;
        result.Vector = (byte)vector;
        result.ErrorCode = SoftGuest.HasErrorCode(vector) ? (uint)_guest.ReadPushed(first) : 0;
        result.Address = vector == 14 ? cpu->Cr2 : 0;
        return true;
    }

    private void Store(TestCase test, TestResult result)
    {
        CpuState* cpu = _vcpu.Cpu;
        CpuTestState* to = result.State;
        new ReadOnlySpan<byte>(cpu->Gpr, 128).CopyTo(new Span<byte>(to->Gpr, 128));
        to->Rip = cpu->Rip;
        to->Rflags = cpu->Rflags;
        if (test.UsesSegmentBases)
        {
            to->FsBase = cpu->Segments[4].Base;
            to->GsBase = cpu->Segments[5].Base;
            for (int i = 0; i < 6; i++)
            {
                to->Selectors[i] = (ushort)cpu->Segments[i].Selector;
            }
        }

        Bytes(ref cpu->X87)[..160].CopyTo(new Span<byte>(to->Fxsave, 160));
        to->Mxcsr = cpu->Mxcsr;
        Bytes(ref cpu->Xmm).CopyTo(new Span<byte>(to->Xmm, 256));
        Span<byte> high = new(to->YmmHigh, 256);
        high.Clear();
        if (cpu->YmmDirty != 0)
        {
            Bytes(ref cpu->YmmHigh).CopyTo(high);
        }
    }

    private static Span<byte> Bytes<T>(ref T block)
        where T : unmanaged => MemoryMarshal.AsBytes(new Span<T>(ref block));

    /// <summary>Makes the engine's signal handlers, which must lie below the oracle's.</summary>
    internal static void InstallSignals() => RuntimeHelpers.RunClassConstructor(typeof(HostSignals).TypeHandle);
}
