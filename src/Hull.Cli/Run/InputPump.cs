using System;
using System.Threading;
using Hull.Host;

namespace Hull.Cli.Run;

/// <summary>Carries standard input to a guest's port, byte by byte as it comes, on a thread of its own.</summary>
internal sealed class InputPump
{
    private const int Room = 4096;

    private readonly Func<ReadOnlySpan<byte>, int> _send;
    private readonly EscapeFilter? _filter;
    private readonly Action<EscapeAction> _escaped;

    /// <summary>Makes the pump; <paramref name="send"/> says how many bytes it took. The escape key counts only on a terminal.</summary>
    internal InputPump(Func<ReadOnlySpan<byte>, int> send, bool onTerminal, Action<EscapeAction> escaped)
    {
        _send = send;
        _filter = onTerminal ? new EscapeFilter() : null;
        _escaped = escaped;
    }

    internal void Start() => new Thread(Run) { Name = "hull-stdin", IsBackground = true }.Start();

    /// <summary>Sends all bytes to a serial port, at the guest's pace.</summary>
    internal static void Send(Machine machine, int port, ReadOnlySpan<byte> bytes) =>
        Send(part => machine.SendSerial(port, part), bytes);

    private static void Send(Func<ReadOnlySpan<byte>, int> send, ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            int sent = send(bytes);
            bytes = bytes[sent..];
            if (bytes.Length > 0)
            {
                Thread.Sleep(1);
            }
        }
    }

    private void Run()
    {
        byte[] typed = new byte[Room];
        byte[] forGuest = new byte[Room + 2];
        int length;
        while ((length = StandardStream.Input.Read(typed)) > 0)
        {
            if (_filter is null)
            {
                Send(_send, typed.AsSpan(0, length));
                continue;
            }

            Span<byte> rest = typed.AsSpan(0, length);
            while (rest.Length > 0)
            {
                EscapeAction action = _filter.Filter(rest, forGuest, out int kept, out int used);
                Send(_send, forGuest.AsSpan(0, kept));
                rest = rest[used..];
                if (action != EscapeAction.None)
                {
                    _escaped(action);
                }
            }
        }
    }
}
