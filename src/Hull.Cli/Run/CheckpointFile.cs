using System;
using System.Globalization;
using System.IO;
using Hull.Host;

namespace Hull.Cli.Run;

/// <summary>
/// The file of `--checkpoints`: a line for each, with instructions, virtual time, RIP and the hashes of registers and
/// RAM. Two runs of the same guest give the same file.
/// </summary>
internal sealed class CheckpointFile : IDisposable
{
    private readonly StreamWriter _file;

    private CheckpointFile(string path)
    {
        try
        {
            _file = new StreamWriter(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new HullException($"cannot write checkpoints to '{path}': {e.Message}");
        }

        Spec = new CheckpointSpec { Reached = Write };
    }

    /// <summary>When to look.</summary>
    internal CheckpointSpec Spec { get; private set; }

    /// <summary>Reads FILE[,from=NS][,every=NS][,until=NS][,ram=no] and opens the file.</summary>
    /// <exception cref="HullException">The words are wrong, or the file cannot be written.</exception>
    internal static CheckpointFile Open(string words)
    {
        string[] parts = words.Split(',');
        CheckpointFile file = new(parts[0]);
        foreach (string part in parts[1..])
        {
            file.Spec = part.Split('=') switch
            {
                ["from", var ns] => file.Spec with { FromNs = ParseNs(ns) },
                ["every", var ns] => file.Spec with { PeriodNs = ParseNs(ns) },
                ["until", var ns] => file.Spec with { UntilNs = ParseNs(ns) },
                ["ram", "no"] => file.Spec with { HashMemory = false },
                _ => throw Wrong(part),
            };
        }

        return file;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private static long ParseNs(string text) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long ns) ? ns : throw Wrong(text);

    private static HullException Wrong(string part) =>
        new($"--checkpoints: '{part}' is not from=NS, every=NS, until=NS or ram=no");

    private void Write(Checkpoint point) => _file.WriteLine(string.Create(
        CultureInfo.InvariantCulture,
        $"{point.Instructions} {point.Ns} {point.Rip:x16} {point.Registers:x16} {point.Memory:x16}"));
}
