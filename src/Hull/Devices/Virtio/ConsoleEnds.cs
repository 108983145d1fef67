using System;
using System.IO;
using System.Net.Sockets;
using System.Threading;
using Hull.Host;

namespace Hull.Devices.Virtio;

/// <summary>What is at the host's end of a console port.</summary>
internal interface IConsoleEnd : IDisposable
{
    /// <summary>What the guest is sent waits until it has the port open: its driver would drop it.</summary>
    bool WaitsForGuest => false;

    /// <summary>The device is there: from now on the port may get input. Once.</summary>
    /// <exception cref="HullException">The end cannot be had.</exception>
    void Connect(ConsolePort port, Action<int, int> resize);

    /// <summary>Takes what the guest writes. One thread at a time; waits a moment for a slow reader.</summary>
    /// <returns>Bytes taken; all of them where nobody listens.</returns>
    int Write(ReadOnlySpan<byte> bytes);
}

/// <summary>Nobody: what the guest writes is dropped.</summary>
internal sealed class NoEnd : IConsoleEnd
{
    /// <inheritdoc/>
    public void Connect(ConsolePort port, Action<int, int> resize)
    {
    }

    /// <inheritdoc/>
    public int Write(ReadOnlySpan<byte> bytes) => bytes.Length;

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}

/// <summary>The user's terminal.</summary>
internal sealed class TerminalEnd(TerminalLink terminal) : IConsoleEnd
{
    /// <inheritdoc/>
    public void Connect(ConsolePort port, Action<int, int> resize)
    {
        terminal.Take(port.Offer, resize);
        port.SetHostOpen(true);
    }

    /// <inheritdoc/>
    public int Write(ReadOnlySpan<byte> bytes)
    {
        terminal.Output(bytes);
        return bytes.Length;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}

/// <summary>A file that gets the output. What a host cannot write is lost, and its user is told.</summary>
internal sealed class FileEnd : IConsoleEnd
{
    private readonly FileStream _file;
    private readonly HostTrouble _trouble;

    /// <summary>Makes or empties the file.</summary>
    /// <exception cref="HullException">It cannot be written.</exception>
    internal FileEnd(string path, Action<string> notice)
    {
        _trouble = new HostTrouble(notice, $"the console port's file {path}");
        try
        {
            _file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, 0);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new HullException($"cannot write the console port's file {path}: {e.Message}");
        }
    }

    /// <inheritdoc/>
    public void Connect(ConsolePort port, Action<int, int> resize) => port.SetHostOpen(true);

    /// <inheritdoc/>
    public int Write(ReadOnlySpan<byte> bytes)
    {
        try
        {
            _file.Write(bytes);
            _trouble.Worked();
        }
        catch (IOException e)
        {
            _trouble.Failed(e.Message);
        }

        return bytes.Length;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}

/// <summary>A Unix socket on which one at a time may talk with the guest; who comes later waits.</summary>
internal sealed class UnixEnd : IConsoleEnd
{
    private const int WaitMs = 50;

    private readonly UnixListener _listener;
    private readonly Thread _thread;
    private ConsolePort? _port;
    private volatile Socket? _client;
    private volatile bool _stopping;

    /// <summary>Listens.</summary>
    /// <exception cref="HullException">It cannot.</exception>
    internal UnixEnd(string path)
    {
        _listener = UnixListener.Open(path, "a console port");
        _thread = new Thread(Serve, 256 << 10) { Name = "hull-console-socket", IsBackground = true };
    }

    /// <inheritdoc/>
    public void Connect(ConsolePort port, Action<int, int> resize)
    {
        _port = port;
        _thread.Start();
    }

    /// <inheritdoc/>
    public int Write(ReadOnlySpan<byte> bytes)
    {
        try
        {
            if (_client is { } client)
            {
                int sent = client.Send(bytes, SocketFlags.None, out SocketError error);
                return error is SocketError.TimedOut or SocketError.WouldBlock ? 0
                    : error == SocketError.Success ? sent : bytes.Length;
            }
        }
        catch (ObjectDisposedException)
        {
            // It went just now.
        }

        return bytes.Length;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stopping = true;
        _listener.Dispose();
        _client?.Dispose();
        if (_port is not null)
        {
            _port.Stop();
            _thread.Join();
        }
    }

    private void Serve()
    {
        byte[] buffer = new byte[4096];
        while (!_stopping && _listener.Accept() is { } client)
        {
            client.SendTimeout = WaitMs;
            _client = client;
            ConsolePort port = _port!; // set before the thread starts
            port.SetHostOpen(true);
            Talk(client, port, buffer);
            _client = null;
            client.Dispose();
            port.SetHostOpen(false);
        }
    }

    private void Talk(Socket client, ConsolePort port, byte[] buffer)
    {
        try
        {
            int count;
            while (!_stopping && (count = client.Receive(buffer, 0, buffer.Length, SocketFlags.None, out SocketError error)) > 0
                && error == SocketError.Success && port.OfferAll(buffer.AsSpan(0, count)))
            {
            }
        }
        catch (ObjectDisposedException)
        {
            // The machine ends.
        }
    }
}
