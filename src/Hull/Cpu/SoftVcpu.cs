using System;
using System.Runtime.InteropServices;
using System.Threading;
using Hull.Bus;
using Hull.Cpu.Assist;
using Hull.Cpu.Exceptions;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Cpu.Translate;
using Hull.Engine;
using Hull.Host;
using Hull.Memory;
using Hull.Timeline;

namespace Hull.Cpu;

/// <summary>
/// One vCPU of the soft engine: the loop that looks for events, finds or translates the next block, and enters it.
/// Its parts: <see cref="VcpuEvents"/>, <see cref="BlockFinder"/>, <see cref="MemoryDoor"/>, <see cref="AssistDoor"/>,
/// <see cref="BlockRunner"/>, <see cref="PreciseExits"/>.
/// </summary>
internal sealed unsafe class SoftVcpu : IVcpu
{
    private readonly SoftEngine _engine;
    private readonly VcpuMemory _stateMemory;
    private readonly VcpuEvents _events;
    private readonly BlockRunner _runner;
    private GCHandle _handle;
    private bool _isInside;
    private bool _mayStoreLoosely;

    internal SoftVcpu(SoftEngine engine, int index, ILocalApic apic)
    {
        _engine = engine;
        Index = index;
        Apic = apic;
        Bus = engine.Bus;
        Cpuid = engine.Cpuid;
        Personality = engine.Personality;
        _stateMemory = new VcpuMemory();
        Cpu = _stateMemory.State;
        _handle = GCHandle.Alloc(this);
        Cpu->VcpuHandle = GCHandle.ToIntPtr(_handle);
        Cpu->TscOffset = engine.Clock.TscOffset;
        Tlb = new Tlb(Cpu, engine.Memory, Cpuid.PhysicalBits, engine.WindowRoom);
        Debug = new DebugUnit(Cpu, Tlb);
        Mmu = new SoftMmu(this, engine.Memory);
        CpuReset.PowerOn(Cpu, Cpuid);
        _events = new VcpuEvents(this);
        Budget = engine.VirtualTimers is { } timers ? new InstructionBudget(this, _events, timers) : null;
        BlockFinder finder = new(this, engine);
        PreciseExits exits = new(this, engine.Cache, finder);
        _runner = new BlockRunner(this, engine, _events, finder, exits, new WindowFaults(this, engine));
        Door = new MemoryDoor(this, engine, exits);
        AssistDoor = new AssistDoor(this, engine, finder);
    }

    /// <summary>The state block; stable for the vCPU's life.</summary>
    internal CpuState* Cpu { get; }

    /// <summary>This vCPU's memory view.</summary>
    internal SoftMmu Mmu { get; }

    /// <summary>The tables that generated code looks into.</summary>
    internal Tlb Tlb { get; }

    /// <summary>Breakpoints and single steps.</summary>
    internal DebugUnit Debug { get; }

    /// <summary>Where generated code asks for memory that it cannot reach alone.</summary>
    internal MemoryDoor Door { get; }

    /// <summary>Where generated code calls assists.</summary>
    internal AssistDoor AssistDoor { get; }

    /// <summary>It runs a program that may have windows.</summary>
    internal bool MayHaveWindows => _engine.HasWindows && Cpu->Cpl == 3 && CpuMode.Is64Bit(Cpu);

    /// <summary>What it counts.</summary>
    internal VcpuCounters Counters { get; } = new();

    /// <summary>In deterministic mode: what makes it stop at exact instruction counts.</summary>
    internal InstructionBudget? Budget { get; }

    /// <summary>The counter to which <see cref="CpuState.TscOffset"/> is added: the host's, or virtual time's.</summary>
    internal ulong BaseTsc => _engine.VirtualTimers is { } timers ? timers.Clock.Tsc : HostTsc.Read();

    /// <summary>Its local APIC.</summary>
    internal ILocalApic Apic { get; }

    /// <summary>Ports and MMIO.</summary>
    internal IoBus Bus { get; }

    /// <summary>The index, 0 for the bootstrap processor.</summary>
    internal int Index { get; }

    /// <summary>The machine has other vCPUs.</summary>
    internal bool IsShared => _engine.IsShared;

    /// <summary>May be in generated code; kept by <see cref="ExclusiveSection"/>.</summary>
    internal bool IsInside
    {
        get => Volatile.Read(ref _isInside);
        set => Volatile.Write(ref _isInside, value);
    }

    /// <summary>
    /// Generated code may be about to store where no line of the store TLB says so. Written by the vCPU's own thread.
    /// </summary>
    internal bool MayStoreLoosely
    {
        get => Volatile.Read(ref _mayStoreLoosely);
        set => Volatile.Write(ref _mayStoreLoosely, value);
    }

    /// <summary>CPUID, as the guest sees it.</summary>
    internal CpuidPolicy Cpuid { get; }

    /// <summary>What else the guest finds: the paravirtual clock, hypercalls.</summary>
    internal IPersonality? Personality { get; private set; }

    /// <summary>The registers as a hypercall sees them.</summary>
    internal HypercallRegisters HypercallRegisters => field ??= new HypercallRegisters(this);

    /// <summary>The exception that an assist or a memory access has recorded, to be delivered when it returns.</summary>
    internal PendingFault Pending;

    /// <inheritdoc/>
    public string? FailureMessage { get; private set; }

    /// <summary>The run ends with <see cref="FailureMessage"/>.</summary>
    internal bool HasFailed { get; private set; }

    /// <summary>Links between pages, of all vCPUs.</summary>
    internal CrossLinks CrossLinks => _engine.CrossLinks;

    /// <summary>Blocks of all vCPUs that were invalidated so far.</summary>
    internal ulong Invalidations => _engine.Invalidations;

    /// <inheritdoc/>
    public VcpuExit Run()
    {
        StepIn();
        X87State.Load(this);
        try
        {
            return RunLoop();
        }
        finally
        {
            X87State.Capture(this);
            StepOut();
        }
    }

    /// <inheritdoc/>
    public void Kick() => _events.Signal(Attention.Kick);

    /// <inheritdoc/>
    public void InterruptChanged() => _events.Signal(Attention.Interrupt);

    /// <inheritdoc/>
    public void Nmi() => _events.Nmi();

    /// <inheritdoc/>
    public void Init() => _events.Initialise();

    /// <inheritdoc/>
    public void Startup(byte vector) => _events.Startup(vector);

    /// <inheritdoc/>
    public void Suspend() => _events.Signal(Attention.Suspend);

    /// <inheritdoc/>
    public void Resume(uint? at) => _events.Resume(at);

    /// <inheritdoc/>
    public ArchState GetState()
    {
        ArchState state = StateTransfer.Read(Cpu);
        state.Halted = _events.Halted;
        state.WaitingForStartup = _events.WaitingForStartup;
        state.NmiPending = _events.NmiPending;
        state.InFlight = _events.InFlight;
        return state;
    }

    /// <inheritdoc/>
    public void SetState(ArchState state)
    {
        StateTransfer.Write(Cpu, state, Cpuid.MxcsrMask);
        if (!Mmu.TryLoadPdptes(Cpu->Cr3))
        {
            new Span<ulong>(Cpu->Pdptes, 4).Clear(); // no vCPU could have got there; they do not matter outside PAE mode
        }

        _events.Halted = state.Halted;
        _events.WaitingForStartup = state.WaitingForStartup;
        _events.NmiPending = state.NmiPending;
        _events.InFlight = state.InFlight;
        Pending = default;
        Tlb.FlushAll();
        Debug.Drop();
        Debug.Recompute();
    }

    /// <summary>
    /// Runs at most <paramref name="instructions"/> guest instructions as one translated block without links, and
    /// delivers the exception that it raised. For tests and debuggers.
    /// </summary>
    /// <returns>False when the vCPU shut down.</returns>
    internal bool StepBlock(int instructions) => Step(BlockMode.Unlinked, instructions);

    /// <summary>Runs one block and all that it is linked to, until it leaves generated code. For tests.</summary>
    /// <returns>False when the vCPU shut down.</returns>
    internal bool StepLinked() => Step(default, Translator.MaximumInstructions);

    /// <summary>A vCPU in its power-on state with an engine of its own: what tests of assists and delivery need.</summary>
    internal static SoftVcpu ForTests(GuestMemory memory, IoBus bus, ILocalApic apic, CpuidPolicy cpuid) =>
        (SoftVcpu)new SoftEngine(memory, bus, new MachineClock(), null, cpuid).CreateVcpu(0, apic);

    /// <summary>Gives a vCPU made by <see cref="ForTests"/> a personality.</summary>
    internal void SetPersonalityForTests(IPersonality personality) => Personality = personality;

    /// <summary>A hash of the registers, for comparing runs. On the vCPU's thread between blocks, or when it is stopped.</summary>
    /// <param name="running">Called from <see cref="Run"/>: the x87 registers are the host's.</param>
    internal ulong HashState(bool running)
    {
        if (running)
        {
            X87State.Capture(this);
        }

        return StateTransfer.Hash(Cpu, _events.Halted);
    }

    /// <summary>Records an exception without error code. Always returns false, so that callers can return it.</summary>
    internal bool Raise(byte vector)
    {
        Pending = new PendingFault(vector, false, 0);
        return false;
    }

    /// <summary>Records an exception with an error code. Always returns false.</summary>
    internal bool Raise(byte vector, uint errorCode)
    {
        Pending = new PendingFault(vector, true, errorCode);
        return false;
    }

    /// <summary>Records #PF and writes CR2. Always returns false.</summary>
    internal bool RaisePageFault(ulong linear, uint errorCode)
    {
        Cpu->Cr2 = linear;
        Pending = new PendingFault(14, true, errorCode);
        return false;
    }

    /// <summary>Something of ours failed under generated code: Run ends with the message.</summary>
    internal void Fail(Exception e)
    {
        FailureMessage = $"vCPU {Index} at rip 0x{Cpu->Rip:x}: {e}";
        HasFailed = true;
        Cpu->ExitReason = (ulong)ExitReason.Dispatch;
    }

    /// <summary>The engine cannot go on: Run ends with the message. Always returns false.</summary>
    internal bool Fail(string message)
    {
        FailureMessage = message;
        HasFailed = true;
        return false;
    }

    /// <summary>Takes <see cref="Pending"/> through the IDT.</summary>
    /// <returns>False when the vCPU shut down, or had failed.</returns>
    internal bool Deliver(EventKind kind)
    {
        if (HasFailed)
        {
            return false;
        }

        Counters.Events++;
        return ExceptionDelivery.Deliver(this, Pending, kind);
    }

    /// <summary>Another vCPU wants to be alone. Any thread.</summary>
    internal void Stop() => _events.Signal(Attention.Exclusive);

    /// <summary>Asks the vCPU to leave generated code for a moment, see <see cref="FetchGuard"/>. Any thread.</summary>
    internal void RequestAcknowledge() => _events.Signal(Attention.Acknowledge);

    /// <summary>Asks the vCPU to forget its translations. Any thread.</summary>
    internal void RequestFlush() => _events.Signal(Attention.Protection);

    /// <summary>Out of generated code: does what others have asked for.</summary>
    internal void AnswerOthers(Attention asked)
    {
        if ((asked & Attention.Acknowledge) != 0)
        {
            Acknowledge();
        }

        if ((asked & Attention.Protection) != 0)
        {
            Mmu.FlushAll();
        }

        if ((asked & Attention.Exclusive) != 0)
        {
            StepOut();
            StepIn();
        }

        if (_engine.Guard.HasDoubts)
        {
            _engine.VerifyFetches();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_handle.IsAllocated)
        {
            _handle.Free();
        }

        Door.Dispose();
        Tlb.Windows.Release();
        _stateMemory.Dispose();
        _events.Dispose();
    }

    private bool Step(BlockMode extra, int limit)
    {
        X87State.Load(this);
        try
        {
            return _runner.Run(extra, limit);
        }
        finally
        {
            X87State.Capture(this);
        }
    }

    private VcpuExit RunLoop()
    {
        while (true)
        {
            if (Budget is not null && !Budget.Prepare())
            {
                _events.WaitForKick();
                return VcpuExit.Kicked;
            }

            if (_events.ArePending && _events.Service() is VcpuExit exit)
            {
                return exit;
            }

            if (_events.Halted || _events.WaitingForStartup)
            {
                if (Budget is null)
                {
                    StepOut();
                    _events.WaitHalted();
                    StepIn();
                }
                else
                {
                    Budget.Idle();
                }

                continue;
            }

            if (!_runner.Run(default, Translator.MaximumInstructions))
            {
                return HasFailed ? VcpuExit.Failed : VcpuExit.Shutdown;
            }
        }
    }

    private void StepIn()
    {
        if (_engine.IsShared)
        {
            _engine.Exclusive.Enter(this);
        }
    }

    // Whoever is outside has nothing under way.
    private void StepOut()
    {
        if (_engine.IsShared)
        {
            Acknowledge();
            _engine.Exclusive.Leave(this);
        }
    }

    /// <summary>Out of generated code: nothing is under way, and nothing that could be is left.</summary>
    internal void Acknowledge()
    {
        Tlb.EmptySlots();
        MayStoreLoosely = false;
        if (_engine.Guard.IsAsked(this))
        {
            lock (_engine.CodeLock)
            {
                Tlb.ProtectCodePages(_engine.Memory);
                _engine.Guard.Acknowledge(this);
            }
        }
    }
}
