using System;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Threading;
using Hull.Bus;
using Hull.Engine;
using Hull.Host;
using Hull.Kvm.Abi;

namespace Hull.Kvm;

/// <summary>
/// One vCPU of the KVM engine: the loop around KVM_RUN. What exits want is in <see cref="KvmExits"/>, the registers are in
/// <see cref="KvmArchState"/>, how a thread is got out of the guest in <see cref="VcpuKick"/>.
/// </summary>
internal sealed unsafe class KvmVcpu : IVcpu
{
    private const ulong ApicBase = 0xFEE0_0000;
    private const int MostEmptyRings = 1000;

    private readonly KvmEngine _engine;
    private readonly IExtIntSource? _extInt;
    private readonly KvmExits _exits;
    private readonly VcpuKick _kick;
    private readonly KvmRun* _run;
    private readonly OwedVectors _owed = new();
    private volatile bool _kicked;
    private volatile bool _looksForHalt;
    private int _emptyRings;
    private bool _disposed;

    /// <summary>Makes the kernel's vCPU and maps what it shares.</summary>
    /// <param name="engine">The machine.</param>
    /// <param name="index">The index and APIC id.</param>
    /// <param name="extInt">The 8259s, on the vCPU that they are wired to.</param>
    internal KvmVcpu(KvmEngine engine, int index, IExtIntSource? extInt)
    {
        _engine = engine;
        _extInt = extInt;
        Index = index;
        File = new KvmFile(engine.CreateKernelVcpu(index));
        void* run = Libc.Mmap(
            null, (nuint)engine.Device.VcpuMapBytes, Libc.ProtRead | Libc.ProtWrite, Libc.MapShared, File.Fd, 0);
        if (run == (void*)-1)
        {
            string error = Libc.LastErrorMessage();
            File.Dispose();
            throw new HullException($"cannot map a vCPU's state: {error}");
        }

        _run = (KvmRun*)run;
        _kick = new VcpuKick(_run);
        Msrs = new ulong[MsrPolicy.SlotCount];
        MsrPolicy.Reset(engine.Cpuid, Msrs);
        State = new KvmArchState(File, engine, Msrs);
        _exits = new KvmExits(this, engine, _run);
    }

    /// <summary>The kernel's vCPU.</summary>
    internal KvmFile File { get; }

    /// <summary>The index, 0 for the bootstrap processor; also the APIC id.</summary>
    internal int Index { get; }

    /// <summary>What the table of MSRs keeps for this vCPU where KVM keeps nothing.</summary>
    internal ulong[] Msrs { get; }

    /// <summary>The registers, in and out.</summary>
    internal KvmArchState State { get; }

    /// <summary>What it counts.</summary>
    internal KvmCounters Counters { get; } = new();

    /// <inheritdoc/>
    public string? FailureMessage { get; private set; }

    /// <inheritdoc/>
    public VcpuExit Run()
    {
        _kick.Enter();
        try
        {
            VcpuExit? exit;
            do
            {
                exit = RunOnce();
            }
            while (exit is null);
            FinishExit();
            return exit.Value;
        }
        finally
        {
            _kick.Leave();
        }
    }

    /// <inheritdoc/>
    public void Kick()
    {
        _kicked = true;
        _kick.Send();
    }

    /// <inheritdoc/>
    public void InterruptChanged()
    {
        if (_extInt is { Output: true })
        {
            _kick.Send();
        }
    }

    /// <inheritdoc/>
    public void Nmi() => File.Call(KvmRequests.Nmi);

    /// <summary>
    /// A vector for this vCPU's local APIC, edge-triggered: as a message, but one that comes while software has the APIC
    /// disabled waits in its IRR. Any thread.
    /// </summary>
    internal void Inject(byte vector)
    {
        if (!_engine.TrySend(new MsiMessage(ApicBase | ((ulong)Index << 12), vector)))
        {
            _owed.Add(vector);
            _kick.Send();
        }
    }

    /// <summary>Tells the personality if the vCPU is halted with interrupts off. Any thread.</summary>
    internal void LookForHalt()
    {
        _looksForHalt = true;
        _kick.Send();
    }

    /// <summary>The guest's TSC is the host's and this. Before the vCPU runs.</summary>
    /// <exception cref="HullException">The kernel is older than Linux 5.16, or refuses.</exception>
    internal void SetTscOffset(ulong offset)
    {
        // Group and attribute: KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET.
        KvmDeviceAttribute attribute = new() { Address = (ulong)&offset };
        File.Call(KvmRequests.SetDeviceAttribute, ref attribute);
    }

    /// <inheritdoc/>
    public void Init() => _engine.Send(new MsiMessage(ApicBase | ((ulong)Index << 12), 0x500));

    /// <inheritdoc/>
    public void Startup(byte vector) => _engine.Send(new MsiMessage(ApicBase | ((ulong)Index << 12), 0x600u | vector));

    /// <inheritdoc/>
    public void Suspend() => throw new UnreachableException("machines with KVM have no S3");

    /// <inheritdoc/>
    public void Resume(uint? at) => throw new UnreachableException("machines with KVM have no S3");

    /// <inheritdoc/>
    public ArchState GetState() => State.Get();

    /// <inheritdoc/>
    public void SetState(ArchState state) => State.Set(state);

    /// <summary>
    /// Lets the guest stop after each instruction, or at addresses. <see cref="Run"/> then returns
    /// <see cref="VcpuExit.Debug"/>. Only while Run is not running.
    /// </summary>
    /// <param name="singleStep">Stop after the next instruction.</param>
    /// <param name="breakpoints">Up to four linear addresses of instructions.</param>
    internal void SetGuestDebug(bool singleStep, params ReadOnlySpan<ulong> breakpoints)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(breakpoints.Length, 4);
        KvmDebugControl control = singleStep ? KvmDebugControl.Enable | KvmDebugControl.SingleStep : KvmDebugControl.None;
        KvmGuestDebug debug = default;
        if (breakpoints.Length > 0)
        {
            control |= KvmDebugControl.Enable | KvmDebugControl.HardwareBreakpoints;
            debug.DebugRegisters[7] = 0x400;
            for (int i = 0; i < breakpoints.Length; i++)
            {
                debug.DebugRegisters[i] = breakpoints[i];
                debug.DebugRegisters[7] |= 2UL << (2 * i); // global enable; length and condition 0: an instruction
            }
        }

        debug.Control = control;
        File.Call(KvmRequests.SetGuestDebug, ref debug);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _kick.Close();
            _ = Libc.Munmap(_run, (nuint)_engine.Device.VcpuMapBytes);
            File.Dispose();
        }
    }

    private VcpuExit? RunOnce()
    {
        // In this order: who asks sets the flag first, then this byte. What comes behind the look is seen by the kernel.
        _run->ImmediateExit = 0;
        Interlocked.MemoryBarrier();
        if (_kicked)
        {
            _kicked = false;
            return VcpuExit.Kicked;
        }

        if (_owed.Any)
        {
            _owed.Deliver(this);
        }

        if (_extInt is not null)
        {
            OfferExtInt();
        }

        Counters.Entries++;
        if (LibcKvm.Ioctl(File.Fd, KvmRequests.Run.Number, (nuint)0) < 0)
        {
            int error = Marshal.GetLastPInvokeError();

            // EAGAIN: an application processor that got its INIT or SIPI.
            if (error is not (Errno.Interrupted or Errno.TryAgain))
            {
                return Fail($"KVM_RUN failed: {Marshal.GetPInvokeErrorMessage(error)}");
            }

            if (_looksForHalt)
            {
                _looksForHalt = false;
                TellOfHalt();
            }

            return null;
        }

        return Handle();
    }

    private VcpuExit? Handle()
    {
        switch (_run->ExitReason)
        {
            case KvmExitReason.Io:
                _exits.PortIo();
                return null;
            case KvmExitReason.Mmio:
                _exits.Mmio();
                return null;
            case KvmExitReason.ReadMsr:
                _exits.ReadMsr();
                return null;
            case KvmExitReason.WriteMsr:
                _exits.WriteMsr();
                return null;
            case KvmExitReason.Xen:
                _exits.Hypercall();
                return null;
            case KvmExitReason.IoApicEoi:
                Counters.EoiExits++;
                _engine.EndOfInterrupt(_run->EoiVector);
                return null;
            case KvmExitReason.InterruptWindowOpen:
                Counters.WindowExits++;
                return null;
            case KvmExitReason.Interrupted or KvmExitReason.Halt:
                return null;
            case KvmExitReason.DirtyRingFull:
                Counters.RingExits++;
                return DrainRings();
            case KvmExitReason.Debug:
                return VcpuExit.Debug;
            case KvmExitReason.Shutdown:
                return VcpuExit.Shutdown;
            default:
                return Fail(KvmExits.DescribeFailure(*_run));
        }
    }

    // A signal leaves a halted vCPU halted. Interrupts that are off stay off in HLT, so the two belong to one moment.
    private void TellOfHalt()
    {
        if (_run->InterruptFlag == 0 && State.GetMpState() == KvmMpState.Halted)
        {
            _engine.Personality.HaltedWithInterruptsOff(Index);
        }
    }

    // Another thread may have emptied it just before; but a ring that stays full has lost its place.
    private VcpuExit? DrainRings()
    {
        _emptyRings = _engine.DrainRings() ? 0 : _emptyRings + 1;
        return _emptyRings < MostEmptyRings ? null : Fail("KVM_RUN: the dirty ring is full and nothing is in it: it ran over");
    }

    // The 8259s speak to one processor, through a cycle that user space plays: KVM says when the guest would take it.
    private void OfferExtInt()
    {
        bool wanted = _extInt!.Output; // the caller looked
        if (wanted && _run->ReadyForInterruptInjection != 0)
        {
            uint vector = (uint)_extInt.AcknowledgeInterrupt();
            File.Call(KvmRequests.Interrupt, ref vector);
            _run->ReadyForInterruptInjection = 0;
            wanted = _extInt.Output;
        }

        _run->RequestInterruptWindow = wanted ? (byte)1 : (byte)0;
    }

    // An IN or a load from MMIO ends inside the next KVM_RUN; nobody may look at the registers before.
    private void FinishExit()
    {
        _run->ImmediateExit = 1;
        _ = LibcKvm.Ioctl(File.Fd, KvmRequests.Run.Number, (nuint)0);
    }

    private VcpuExit Fail(string what)
    {
        FailureMessage = $"vCPU {Index}: {what}{State.DescribePlace()}";
        return VcpuExit.Failed;
    }
}
