namespace Hull.Engine;

/// <summary>What keeps interrupts away from the next instruction. SDM vol. 3A, "Masking Exceptions and Interrupts When Switching Stacks".</summary>
public enum InterruptShadow : byte
{
    /// <summary>Nothing does.</summary>
    None = 0,

    /// <summary>STI was the last instruction.</summary>
    Sti = 1,

    /// <summary>MOV SS or POP SS was: debug exceptions wait too.</summary>
    MovSs = 2,
}

/// <summary>Where an event that is being delivered comes from.</summary>
public enum InFlightKind
{
    /// <summary>An exception; RIP is the one to save.</summary>
    Exception,

    /// <summary>An interrupt that was acknowledged: no controller has it any more.</summary>
    External,

    /// <summary>A non-maskable interrupt.</summary>
    Nmi,
}

/// <summary>
/// An event that the vCPU has accepted and whose handler has not begun: the first thing that happens when it runs on. What
/// an instruction raises itself (INT n, INT3, INTO) is never one: RIP is at that instruction, and it runs again.
/// </summary>
/// <param name="Kind">Where it comes from.</param>
/// <param name="Vector">The entry of the IDT.</param>
/// <param name="ErrorCode">What is pushed with it; null: nothing.</param>
public readonly record struct InFlightEvent(InFlightKind Kind, byte Vector, uint? ErrorCode = null);
