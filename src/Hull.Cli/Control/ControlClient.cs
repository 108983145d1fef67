using System;
using System.IO;
using System.Net.Sockets;
using System.Text.Json;
using Hull.Host;

namespace Hull.Cli.Control;

/// <summary>Asks a running guest.</summary>
internal static class ControlClient
{
    /// <summary>True when a guest of that name runs.</summary>
    internal static bool IsRunning(string name)
    {
        using Socket? socket = UnixListener.TryConnect(GuestFolder.SocketOf(name));
        return socket is not null;
    }

    /// <summary>Asks, and waits for the answer.</summary>
    /// <exception cref="HullException">No such guest runs, or it says why it does not.</exception>
    internal static ControlAnswer Ask(string name, ControlRequest request) =>
        TryAsk(name, request) ?? throw new HullException($"no guest named {name} runs (see: hull ps; give one a name with --name)");

    /// <summary>As <see cref="Ask"/>; null when no such guest runs.</summary>
    /// <exception cref="HullException">It says why it does not.</exception>
    internal static ControlAnswer? TryAsk(string name, ControlRequest request)
    {
        using Socket? socket = UnixListener.TryConnect(GuestFolder.SocketOf(name));
        if (socket is null)
        {
            return null;
        }

        try
        {
            socket.Blocking = true;
            byte[] line = JsonSerializer.SerializeToUtf8Bytes(request, LineJson.Default.ControlRequest);
            socket.Send([.. line, (byte)'\n']);
            using NetworkStream stream = new(socket);
            using StreamReader reader = new(stream);
            ControlAnswer? answer = reader.ReadLine() is string text
                ? JsonSerializer.Deserialize(text, LineJson.Default.ControlAnswer)
                : null;
            return answer is null ? throw new HullException($"the guest {name} ended before it answered")
                : answer.Error is string error ? throw new HullException(error)
                : answer;
        }
        catch (Exception e) when (e is SocketException or IOException or JsonException)
        {
            throw new HullException($"the guest {name} does not answer: {e.Message}");
        }
    }
}
