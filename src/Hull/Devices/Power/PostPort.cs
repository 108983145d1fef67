namespace Hull.Devices.Power;

/// <summary>Port 0x80: firmware writes progress codes there, and everyone writes to wait a microsecond.</summary>
internal sealed class PostPort : IByteRegisters
{
    /// <summary>The last code written.</summary>
    internal byte Code { get; private set; }

    /// <inheritdoc/>
    public byte ReadRegister(int offset) => Code;

    /// <inheritdoc/>
    public void WriteRegister(int offset, byte value) => Code = value;
}
