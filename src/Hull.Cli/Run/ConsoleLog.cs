using System;
using System.IO;
using Hull.Host;

namespace Hull.Cli.Run;

/// <summary>The file that gets a guest's console text, when a command has the terminal.</summary>
internal sealed class ConsoleLog : IDisposable
{
    private readonly string _path;
    private readonly FileStream _file;
    private bool _fails;

    /// <summary>Makes the file.</summary>
    /// <exception cref="HullException">It cannot be written.</exception>
    internal ConsoleLog(string path)
    {
        _path = path;
        try
        {
            _file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 1 << 14);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new HullException($"cannot write the log {path}: {e.Message}", e);
        }
    }

    /// <summary>Takes bytes. On vCPUs' threads, one at a time; what a full disk has no room for is lost.</summary>
    internal void Write(ReadOnlySpan<byte> bytes)
    {
        try
        {
            _file.Write(bytes);
            if (bytes.IndexOf((byte)'\n') >= 0)
            {
                _file.Flush();
                Tell(null);
            }
        }
        catch (IOException e)
        {
            Tell(e.Message);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        try
        {
            _file.Dispose();
        }
        catch (IOException e)
        {
            Tell(e.Message);
        }
    }

    private void Tell(string? reason)
    {
        if (_fails != reason is not null)
        {
            _fails = !_fails;
            Notice.Write(reason is null ? $"the log {_path} works again" : $"the log {_path} fails: {reason}");
        }
    }
}
