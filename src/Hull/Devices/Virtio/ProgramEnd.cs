using System;
using Hull.Host;

namespace Hull.Devices.Virtio;

/// <summary>
/// The program that made the machine, at the host's end of a port: what the guest writes goes to a function of its, and what it
/// sends waits until the guest has the port open. Any thread.
/// </summary>
/// <param name="output">Gets what the guest writes, on a thread of the port's; may wait for a slow reader.</param>
internal sealed class ProgramEnd(Action<ReadOnlySpan<byte>> output) : IConsoleEnd
{
    private ConsolePort? _port;

    /// <inheritdoc/>
    public bool WaitsForGuest => true;

    /// <inheritdoc/>
    public void Connect(ConsolePort port, Action<int, int> resize)
    {
        _port = _port is null ? port : throw new HullException($"two console ports are named '{port.Name}': give one another name");
        port.SetHostOpen(true);
    }

    /// <inheritdoc/>
    public int Write(ReadOnlySpan<byte> bytes)
    {
        output(bytes);
        return bytes.Length;
    }

    /// <summary>Sends bytes to the guest.</summary>
    /// <returns>Bytes taken; the rest is to be sent again later. -1: no device has the port.</returns>
    internal int Send(ReadOnlySpan<byte> bytes) => _port?.Offer(bytes) ?? -1;

    /// <summary>Waits a moment for room for more.</summary>
    internal void WaitForRoom(TimeSpan wait) => _port?.WaitForRoom(wait);

    /// <summary>No more bytes come: the guest reads to the end.</summary>
    internal void EndInput() => _port?.EndInput();

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
