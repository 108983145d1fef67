using System;
using System.Text;
using Hull.Host;

namespace Hull.Cli.Run;

/// <summary>Where the lines of `--trace` go: standard error, or a file.</summary>
internal sealed class TraceOutput : IDisposable
{
    private const string Hypercalls = "hypercalls";

    private readonly ConsoleLog? _file;
    private readonly OutputPump _error;

    private TraceOutput(ConsoleLog? file, OutputPump error)
    {
        _file = file;
        _error = error;
    }

    /// <summary>Reads hypercalls[,file=FILE] and opens the file.</summary>
    /// <exception cref="HullException">The words are wrong, or the file cannot be written.</exception>
    internal static TraceOutput Open(string words, OutputPump error)
    {
        string[] parts = words.Split(',', 2);
        string? file = parts.Length == 1 ? null
            : parts[1].StartsWith("file=", StringComparison.Ordinal) && parts[1].Length > 5 ? parts[1][5..]
            : throw Wrong(words);
        return parts[0] == Hypercalls ? new TraceOutput(file is null ? null : new ConsoleLog(file), error) : throw Wrong(words);
    }

    /// <summary>Takes a line. On vCPUs' threads, one at a time.</summary>
    internal void Write(string line)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(line + '\n');
        if (_file is null)
        {
            _error.Write(bytes);
        }
        else
        {
            _file.Write(bytes);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file?.Dispose();

    private static HullException Wrong(string words) => new($"--trace '{words}': give hypercalls or hypercalls,file=FILE");
}
