namespace Hull.Devices.Serial;

/// <summary>
/// Where a serial port's bytes go. Called on a vCPU's thread for each byte: cheap; it may block when the reader is slow,
/// which holds the guest back and loses nothing.
/// </summary>
public interface ISerialOutput
{
    /// <summary>Takes one byte.</summary>
    void Put(byte value);
}

/// <summary>A serial port with nothing connected: bytes vanish.</summary>
internal sealed class NoSerialOutput : ISerialOutput
{
    internal static NoSerialOutput Instance { get; } = new();

    /// <inheritdoc/>
    public void Put(byte value)
    {
        // Nobody listens.
    }
}
