namespace Hull;

/// <summary>How a machine's life ended.</summary>
public enum MachineEndReason
{
    /// <summary>The guest switched the power off.</summary>
    PoweredOff,

    /// <summary>The host stopped the machine.</summary>
    Stopped,

    /// <summary>The guest reset the machine, and the specification says not to start it again.</summary>
    Reset,

    /// <summary>A triple fault that was no reboot.</summary>
    TripleFault,

    /// <summary>The kernel said that it panicked.</summary>
    Panicked,

    /// <summary>The guest told Xen that it crashed, or Xen ended it.</summary>
    Crashed,

    /// <summary>The last vCPU halted with interrupts off.</summary>
    Halted,

    /// <summary>The guest wrote to its exit port: <see cref="MachineEnd.ExitValue"/>.</summary>
    Exited,

    /// <summary>The engine or a device model could not go on.</summary>
    Failed,
}

/// <summary>The end of a machine.</summary>
/// <param name="Reason">How it ended.</param>
/// <param name="Message">One line for the user.</param>
/// <param name="Rip">Where the first vCPU stood, if it is known and of interest.</param>
/// <param name="LastLines">The last lines of the first serial port, oldest first.</param>
public sealed record MachineEnd(MachineEndReason Reason, string Message, ulong? Rip, string[] LastLines)
{
    /// <summary>What the guest wrote to its exit port; null unless it did.</summary>
    public uint? ExitValue { get; init; }

    /// <summary>True when the guest died of itself: panic, crash, triple fault, a halt for ever.</summary>
    public bool GuestDied =>
        Reason is MachineEndReason.TripleFault or MachineEndReason.Panicked or MachineEndReason.Crashed or MachineEndReason.Halted;
}
