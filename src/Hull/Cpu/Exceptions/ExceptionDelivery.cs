using Hull.Cpu.Assist;
using Hull.Cpu.State;

namespace Hull.Cpu.Exceptions;

/// <summary>Where an event comes from; decides checks, error code and the saved RIP.</summary>
internal enum EventKind
{
    /// <summary>An exception.</summary>
    Exception,

    /// <summary>INT n (RIP is behind the instruction).</summary>
    SoftwareInterrupt,

    /// <summary>INT3 or INTO (RIP is behind the instruction).</summary>
    SoftwareException,

    /// <summary>INT1, ICEBP.</summary>
    PrivilegedSoftwareException,

    /// <summary>An interrupt from outside.</summary>
    External,

    /// <summary>A non-maskable interrupt.</summary>
    Nmi,
}

/// <summary>Takes the vCPU through the IDT, in every mode. SDM vol. 3A, "Interrupt and Exception Handling".</summary>
internal static unsafe class ExceptionDelivery
{
    // Benign, contributory, page, double: no chain that ends is longer.
    private const int LongestChain = 8;

    /// <summary>
    /// Delivers an event: RIP and the registers are those to be saved. A fault while delivering becomes the fault or
    /// double fault that the manual says.
    /// </summary>
    /// <returns>False: triple fault, the vCPU shuts down.</returns>
    internal static bool Deliver(SoftVcpu vcpu, PendingFault fault, EventKind kind)
    {
        for (int length = 1; !TryDeliver(vcpu, fault, kind, vcpu.Cpu->Rip); length++)
        {
            // QUIRK: #AC at the push of #AC's own frame, which a handler in a conforming segment meets at level 3: a
            // processor tries for ever and looks at nothing else; the vCPU shuts down.
            if (length == LongestChain)
            {
                return false;
            }

            PendingFault second = vcpu.Pending;
            if (kind == EventKind.Exception)
            {
                FaultClass first = ClassOf(fault.Vector);
                FaultClass next = ClassOf(second.Vector);
                if (fault.Vector == Vector.DoubleFault && next != FaultClass.Benign)
                {
                    return false;
                }

                if (next != FaultClass.Benign && first != FaultClass.Benign
                    && !(first == FaultClass.Contributory && next == FaultClass.Page))
                {
                    second = new PendingFault(Vector.DoubleFault, true, 0);
                }
            }

            fault = second;
            kind = EventKind.Exception;
        }

        return true;
    }

    /// <summary>
    /// Delivers an event once. On failure the fault is in <see cref="SoftVcpu.Pending"/> and nothing has changed; assists
    /// of INT n and its kin return that fault, because for them it is a first fault.
    /// </summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="fault">The vector, and the error code if there is one.</param>
    /// <param name="kind">Where it comes from.</param>
    /// <param name="returnRip">The RIP to save.</param>
    internal static bool TryDeliver(SoftVcpu vcpu, PendingFault fault, EventKind kind, ulong returnRip)
    {
        CpuState* cpu = vcpu.Cpu;
        bool done = !CpuMode.IsProtected(cpu) ? RealModeDelivery.Deliver(vcpu, fault.Vector, returnRip)
            : CpuMode.IsLong(cpu) ? LongModeDelivery.Deliver(vcpu, fault, kind, returnRip)
            : ProtectedModeDelivery.Deliver(vcpu, fault, kind, returnRip);
        if (!done)
        {
            bool external = kind is not (EventKind.SoftwareInterrupt or EventKind.SoftwareException);
            if (external && vcpu.Pending is { HasErrorCode: true, Vector: >= Vector.InvalidTss and <= Vector.GeneralProtection })
            {
                vcpu.Pending = vcpu.Pending with { ErrorCode = vcpu.Pending.ErrorCode | 1 };
            }

            return false;
        }

        cpu->InterruptShadow = 0;
        if (kind == EventKind.Nmi)
        {
            cpu->NmiBlocked = 1;
        }

        if (fault.Vector == Vector.Debug && kind is EventKind.Exception or EventKind.PrivilegedSoftwareException)
        {
            cpu->DebugRegisters[7] &= ~(1UL << 13); // GD
        }

        return true;
    }

    /// <summary>
    /// The RFLAGS image to save: RF is set for faults, so that an instruction breakpoint does not hit again; of debug
    /// exceptions for general detect alone. SDM vol. 3B, "Instruction-Breakpoint Exception Condition".
    /// </summary>
    internal static ulong SavedFlags(CpuState* cpu, PendingFault fault, EventKind kind)
    {
        const ulong generalDetect = 1 << 13; // in DR7 and, when it was met, in DR6
        if (fault.Vector == Vector.Debug && (cpu->DebugRegisters[7] & cpu->DebugRegisters[6] & generalDetect) != 0)
        {
            return cpu->Rflags | Rflags.Rf;
        }

        bool isFault = kind == EventKind.Exception && fault.Vector is not (Vector.Debug or Vector.Nmi or Vector.Breakpoint
            or Vector.Overflow or Vector.DoubleFault or Vector.MachineCheck);
        return isFault ? cpu->Rflags | Rflags.Rf : cpu->Rflags;
    }

    /// <summary>Pushes what every frame ends with: flags, CS, RIP and the error code if there is one.</summary>
    internal static void PushReturn(ref StackFrame frame, CpuState* cpu, PendingFault fault, EventKind kind, ulong returnRip)
    {
        frame.Push(SavedFlags(cpu, fault, kind));
        frame.Push(cpu->Segments[Seg.Cs].Selector);
        frame.Push(returnRip);
        if (fault.HasErrorCode)
        {
            frame.Push(fault.ErrorCode);
        }
    }

    /// <summary>Reads the code segment of a handler and checks that it may be entered.</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="selector">As the gate has it.</param>
    /// <param name="mustBeLong">IA-32e mode: the code must be of 64 bits.</param>
    /// <param name="code">The segment.</param>
    /// <returns>False when a fault was recorded.</returns>
    internal static bool FindHandler(SoftVcpu vcpu, ushort selector, bool mustBeLong, out Descriptor code)
    {
        code = default;
        if (SegmentTables.IsNull(selector))
        {
            return vcpu.Raise(Vector.GeneralProtection, 0);
        }

        if (!SegmentTables.Read(vcpu, selector, Vector.GeneralProtection, out code))
        {
            return false;
        }

        if (!code.IsCode || code.Dpl > vcpu.Cpu->Cpl || (mustBeLong && (!code.IsLong || code.IsBig)))
        {
            return vcpu.Raise(Vector.GeneralProtection, selector & 0xFFFCu);
        }

        return code.IsPresent || vcpu.Raise(Vector.NotPresent, selector & 0xFFFCu);
    }

    /// <summary>The error code of a fault that names an IDT entry.</summary>
    internal static uint GateError(byte vector) => ((uint)vector * 8) + 2;

    /// <summary>True for INT n, INT3 and INTO, which the gate's DPL must allow.</summary>
    internal static bool ChecksGatePrivilege(EventKind kind) =>
        kind is EventKind.SoftwareInterrupt or EventKind.SoftwareException;

    /// <summary>TF, NT, RF and VM are cleared on entry to a handler, IF by an interrupt gate.</summary>
    internal static void ClearFlags(CpuState* cpu, bool interruptGate)
    {
        cpu->SystemFlags &= ~(Rflags.Tf | Rflags.Nt | Rflags.Rf | Rflags.Vm);
        if (interruptGate)
        {
            cpu->InterruptFlag = 0;
        }
    }

    /// <summary>SDM vol. 3A, "Interrupt 8: Double Fault Exception".</summary>
    private static FaultClass ClassOf(byte vector) => vector switch
    {
        Vector.DivideError or Vector.InvalidTss or Vector.NotPresent or Vector.Stack or Vector.GeneralProtection =>
            FaultClass.Contributory,
        Vector.Page => FaultClass.Page,
        Vector.DoubleFault => FaultClass.Double,
        _ => FaultClass.Benign,
    };

    private enum FaultClass
    {
        Benign,
        Contributory,
        Page,
        Double,
    }
}
