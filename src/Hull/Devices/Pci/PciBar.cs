using Hull.Bus;
using Hull.Memory;

namespace Hull.Devices.Pci;

/// <summary>
/// A base address register and the device behind it, mapped on the bus while decoding is on. Called under the
/// function's lock. PCI Local Bus 3.0, "Base Addresses".
/// </summary>
internal sealed class PciBar
{
    private readonly IMmioDevice? _memory;
    private readonly IPortDevice? _ports;
    private ulong _mappedAt;
    private bool _mapped;

    /// <summary>A memory BAR.</summary>
    /// <param name="device">Who answers.</param>
    /// <param name="size">Bytes; a power of two, at least 4 KiB.</param>
    /// <param name="wide">64 bits: takes the next register too.</param>
    /// <param name="prefetchable">Reads have no side effects.</param>
    internal PciBar(IMmioDevice device, ulong size, bool wide = true, bool prefetchable = false)
    {
        _memory = device;
        Size = size;
        IsWide = wide;
        Flags = (wide ? 4u : 0) | (prefetchable ? 8u : 0);
    }

    /// <summary>A port BAR.</summary>
    /// <param name="device">Who answers.</param>
    /// <param name="size">Ports; a power of two, at least 4.</param>
    internal PciBar(IPortDevice device, ulong size)
    {
        _ports = device;
        Size = size;
        Flags = 1;
    }

    /// <summary>Bytes or ports.</summary>
    internal ulong Size { get; }

    /// <summary>Takes two registers.</summary>
    internal bool IsWide { get; }

    /// <summary>Ports, not memory.</summary>
    internal bool IsPorts => _ports is not null;

    /// <summary>The read-only low bits of the register.</summary>
    internal uint Flags { get; }

    /// <summary>
    /// Moves the device to where the register says. A guest's nonsense (an overlap, an address outside) leaves it
    /// unmapped, as nobody would find it there.
    /// </summary>
    internal void Update(IoBus bus, bool decode, ulong address)
    {
        if (_mapped && (!decode || address != _mappedAt))
        {
            Unmap(bus);
        }

        if (!decode || _mapped || address == 0)
        {
            return;
        }

        _mappedAt = address;
        _mapped = _ports is not null
            ? address <= 65_536 - Size && bus.TryMapPorts((ushort)address, (int)Size, _ports)
            : bus.TryMapMmio(new GuestPhysical(address), Size, _memory!); // One of the two is always there.
    }

    private void Unmap(IoBus bus)
    {
        _mapped = false;
        if (_ports is not null)
        {
            bus.UnmapPorts((ushort)_mappedAt, (int)Size);
        }
        else
        {
            bus.UnmapMmio(new GuestPhysical(_mappedAt));
        }
    }
}
