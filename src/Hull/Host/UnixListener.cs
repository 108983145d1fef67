using System;
using System.IO;
using System.Net.Sockets;

namespace Hull.Host;

/// <summary>
/// A Unix socket of Hull's that others of the host connect to. Only its user may; its file goes when it is closed.
/// </summary>
public sealed class UnixListener : IDisposable
{
    private const int Backlog = 16;
    private const uint OwnerOnly = 0x180;                       // 0600
    private readonly Socket _socket;
    private readonly string _path;

    private UnixListener(Socket socket, string path)
    {
        _socket = socket;
        _path = path;
    }

    /// <summary>The descriptor, to be polled.</summary>
    internal int Descriptor => (int)_socket.Handle;

    /// <summary>Makes the socket; one that a process left behind, and on which nobody listens, is replaced.</summary>
    /// <param name="path">Where.</param>
    /// <param name="purpose">For the message: "the console port".</param>
    /// <exception cref="HullException">It cannot be made there; with the reason.</exception>
    public static UnixListener Open(string path, string purpose)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            if (IsAbandoned(path))
            {
                File.Delete(path);
            }

            socket.Bind(new UnixDomainSocketEndPoint(path));

            // Nobody can connect before Listen.
            if (LibcFiles.ChangeMode(path, OwnerOnly) != 0)
            {
                throw new IOException(Libc.LastErrorMessage());
            }

            socket.Listen(Backlog);
            return new UnixListener(socket, path);
        }
        catch (Exception e) when (e is SocketException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            socket.Dispose();
            throw new HullException($"cannot listen on {path} for {purpose}: {e.Message}");
        }
    }

    /// <summary>Waits for somebody.</summary>
    /// <returns>Null when the listener is closed, or nobody waits and the descriptor does not block.</returns>
    public Socket? Accept()
    {
        try
        {
            return _socket.Accept();
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            return null;
        }
    }

    /// <summary>Connects to somebody else's socket; does not wait where it is busy.</summary>
    /// <returns>Null when nobody takes the connection.</returns>
    public static Socket? TryConnect(string path)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Blocking = false;
            socket.Connect(new UnixDomainSocketEndPoint(path));
            return socket;
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            socket.Dispose();
            return null;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _socket.Dispose();
        try
        {
            File.Delete(_path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The folder is gone, or not ours any more: nothing is left to tidy.
        }
    }

    private static bool IsAbandoned(string path)
    {
        if (!LibcFiles.IsSocket(path))
        {
            return false;
        }

        using Socket? other = TryConnect(path);
        return other is null;
    }
}
