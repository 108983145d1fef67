using System;
using System.IO;
using System.Net.Sockets;
using System.Text.Json;
using System.Threading;
using Hull.Host;

namespace Hull.Cli.Control;

/// <summary>
/// Answers what other processes of the same user ask of this guest: one line, one answer, on a thread for each.
/// </summary>
internal sealed class ControlServer : IDisposable
{
    private const int LongestLine = 64 << 10;
    private const int MostAtOnce = 8;
    private const int PatienceMs = 5_000;

    private readonly string _name;
    private readonly UnixListener _listener;
    private readonly Func<ControlRequest, ControlAnswer> _answer;
    private readonly Thread _thread;
    private int _atOnce;

    private ControlServer(string name, UnixListener listener, Func<ControlRequest, ControlAnswer> answer)
    {
        _name = name;
        _listener = listener;
        _answer = answer;
        _thread = new Thread(Run, 256 << 10) { Name = "hull-control", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Listens for a guest.</summary>
    /// <param name="name">The guest's name.</param>
    /// <param name="answer">Does what is asked; a <see cref="HullException"/> is the answer too.</param>
    /// <exception cref="HullException">A guest of that name runs, or the socket cannot be made.</exception>
    internal static ControlServer Start(string name, Func<ControlRequest, ControlAnswer> answer)
    {
        string path = GuestFolder.Make(name);
        if (ControlClient.IsRunning(name))
        {
            throw new HullException($"a guest named {name} runs already: give another --name, or: hull stop {name}");
        }

        return new ControlServer(name, UnixListener.Open(path, "hull's other verbs"), answer);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _listener.Dispose();
        _thread.Join();
        GuestFolder.Remove(_name);
    }

    private void Run()
    {
        while (_listener.Accept() is { } client)
        {
            if (Interlocked.Increment(ref _atOnce) > MostAtOnce)
            {
                Interlocked.Decrement(ref _atOnce);
                client.Dispose();
                continue;
            }

            new Thread(() => Serve(client), 256 << 10) { Name = "hull-control", IsBackground = true }.Start();
        }
    }

    private void Serve(Socket client)
    {
        try
        {
            client.ReceiveTimeout = PatienceMs;
            client.SendTimeout = PatienceMs;
            byte[] line = new byte[LongestLine];
            int length = ReadLine(client, line);
            byte[] answer = JsonSerializer.SerializeToUtf8Bytes(Answer(line.AsSpan(0, length)), LineJson.Default.ControlAnswer);
            client.Send([.. answer, (byte)'\n']);
        }
        catch (Exception e) when (e is SocketException or IOException or ObjectDisposedException)
        {
            // Whoever asked is gone.
        }
#pragma warning disable CA1031 // thread root: the guest lives on, whoever asked gets no answer
        catch (Exception e)
#pragma warning restore CA1031
        {
            Notice.Write($"internal error in the answer to another verb: {e.GetType().Name}: {e.Message}");
        }
        finally
        {
            client.Dispose();
            Interlocked.Decrement(ref _atOnce);
        }
    }

    private static int ReadLine(Socket client, byte[] line)
    {
        int length = 0;
        while (length < line.Length)
        {
            int count = client.Receive(line, length, line.Length - length, SocketFlags.None);
            int end = line.AsSpan(length, count).IndexOf((byte)'\n');
            length += end < 0 ? count : end;
            if (count == 0 || end >= 0)
            {
                break;
            }
        }

        return length;
    }

    private ControlAnswer Answer(ReadOnlySpan<byte> line)
    {
        try
        {
            ControlRequest? request = JsonSerializer.Deserialize(line, LineJson.Default.ControlRequest);
            return request is null ? new ControlAnswer { Error = "no request" } : _answer(request);
        }
        catch (Exception e) when (e is JsonException or HullException)
        {
            return new ControlAnswer { Error = e.Message };
        }
    }
}
