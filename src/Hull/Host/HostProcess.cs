namespace Hull.Host;

/// <summary>What .NET's processes lack.</summary>
public static class HostProcess
{
    private const int TerminateSignal = 15;

    /// <summary>Asks a process to end, and its group if it leads one, so that they can put away what they have. kill(2), SIGTERM.</summary>
    public static void Terminate(int id)
    {
        _ = LibcNet.Kill(id, TerminateSignal);
        _ = LibcNet.Kill(-id, TerminateSignal);
    }
}
