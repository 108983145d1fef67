using Hull.Bus;
using Hull.Devices.Serial;
using Hull.Platform;

namespace Hull.Devices.Firmware;

/// <summary>
/// The port where SeaBIOS and OVMF write their log, if a read of it says that somebody listens. SeaBIOS, "Debugging".
/// </summary>
internal sealed class DebugConsole(ISerialOutput output) : IByteRegisters
{
    private const byte IsHere = 0xE9;

    /// <summary>Puts the port on the bus.</summary>
    internal void Map(IoBus bus) => bus.MapPorts(PlatformMap.DebugConsolePort, 1, new BytePorts(this, 1));

    /// <inheritdoc/>
    public byte ReadRegister(int offset) => IsHere;

    /// <inheritdoc/>
    public void WriteRegister(int offset, byte value) => output.Put(value);
}
