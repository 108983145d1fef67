namespace Hull.Cli;

/// <summary>Exit statuses of the command besides a guest command's own, 0-123.</summary>
internal static class ExitStatus
{
    /// <summary>All went well.</summary>
    internal const int Success = 0;

    /// <summary>The guest died (panic, triple fault) in a run without a command of its own.</summary>
    internal const int GuestDied = 7;

    /// <summary>The time limit was reached.</summary>
    internal const int TimedOut = 124;

    /// <summary>Hull, its arguments or its files are at fault; or the guest died before its command ended.</summary>
    internal const int Hull = 125;

    /// <summary>The guest wrote a value to its exit port: as QEMU's isa-debug-exit, so never 0.</summary>
    internal static int Exited(uint value) => (int)(((value << 1) | 1) & 0xFF);

    /// <summary>Ended by a signal on the host.</summary>
    internal static int Signal(int number) => 128 + number;
}
