namespace Hull.Cli.Run;

/// <summary>How a run ended, for the user.</summary>
/// <param name="Status">The exit status.</param>
/// <param name="Message">A line for standard error; null says nothing.</param>
/// <param name="End">The machine's end with its last lines, when those are worth showing.</param>
internal sealed record RunOutcome(int Status, string? Message = null, MachineEnd? End = null);
