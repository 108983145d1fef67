using Hull.Bus;
using Hull.Platform;

namespace Hull.Devices.Power;

/// <summary>
/// Ports 0xB2 and 0xB3: a command and a status for system management code. Intel ICH9 data sheet, "APM I/O Decode".
/// </summary>
internal sealed class ApmPorts : IByteRegisters
{
    private readonly byte[] _registers = new byte[2];

    /// <summary>Puts the registers on their ports.</summary>
    internal void Map(IoBus bus) => bus.MapPorts(PlatformMap.ApmPort, 2, new BytePorts(this, 2));

    /// <inheritdoc/>
    public byte ReadRegister(int offset) => _registers[offset];

    /// <inheritdoc/>
    public void WriteRegister(int offset, byte value)
    {
        // QUIRK: a command raises no system management interrupt: there is no such mode, and firmware finds no need of it.
        _registers[offset] = value;
    }
}
