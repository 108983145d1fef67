using System;
using Hull.Bus;
using Hull.Host;

namespace Hull.Devices.Test;

/// <summary>
/// Four ports by which a test kernel ends the machine and says how it went: QEMU's isa-debug-exit with iosize=4.
/// </summary>
internal sealed class ExitPort : IPortDevice
{
    private const int Ports = 4;

    private readonly Action<uint> _exited;

    private ExitPort(Action<uint> exited) => _exited = exited;

    /// <summary>Puts it on the bus, after all other devices.</summary>
    /// <param name="bus">The ports.</param>
    /// <param name="first">The first of the four.</param>
    /// <param name="exited">Told the value that the guest wrote. Called on the vCPU's thread.</param>
    /// <exception cref="HullException">Another device has one of the ports.</exception>
    internal static void Map(IoBus bus, ushort first, Action<uint> exited)
    {
        if (!bus.TryMapPorts(first, Ports, new ExitPort(exited)))
        {
            throw new HullException(
                $"--exit-port 0x{first:x}: a device has a port in 0x{first:x}-0x{first + Ports - 1:x} already: choose another (0xf4)");
        }
    }

    /// <inheritdoc/>
    public uint ReadPort(ushort offset, int size) => 0;

    /// <inheritdoc/>
    public void WritePort(ushort offset, int size, uint value) => _exited(value);
}
