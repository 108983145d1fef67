using System;
using Hull.Host;

namespace Hull.Devices;

/// <summary>Takes bytes that somebody sends.</summary>
/// <returns>Bytes taken; the rest is to be sent again later.</returns>
internal delegate int ByteTaker(ReadOnlySpan<byte> bytes);

/// <summary>The user's terminal, for the one device of a machine that asks for it.</summary>
internal sealed class TerminalLink(Action<ReadOnlySpan<byte>> output)
{
    private ByteTaker _send = static _ => 0;
    private Action<int, int> _resize = static (_, _) => { };
    private bool _isTaken;

    /// <summary>Gets what the guest writes; may wait for a slow reader.</summary>
    internal Action<ReadOnlySpan<byte>> Output { get; } = output;

    /// <summary>A device takes the terminal. Before the machine runs.</summary>
    /// <param name="send">Gets what is typed.</param>
    /// <param name="resize">Gets rows and columns.</param>
    /// <exception cref="HullException">Another device has it.</exception>
    internal void Take(ByteTaker send, Action<int, int> resize)
    {
        if (_isTaken)
        {
            throw new HullException("two console ports want the terminal: give one of them unix:PATH or file:PATH");
        }

        _isTaken = true;
        _send = send;
        _resize = resize;
    }

    /// <summary>Sends what was typed.</summary>
    /// <returns>Bytes taken.</returns>
    internal int Send(ReadOnlySpan<byte> bytes) => _send(bytes);

    /// <summary>The terminal has another size.</summary>
    internal void Resize(int rows, int columns) => _resize(rows, columns);
}
