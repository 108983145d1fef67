using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Host;
using Hull.Memory;

namespace Hull.Bus;

/// <summary>A device behind I/O ports. Called on a vCPU's thread.</summary>
public interface IPortDevice
{
    /// <summary>IN of 1, 2 or 4 bytes; <paramref name="offset"/> counts from the start of the registered range.</summary>
    uint ReadPort(ushort offset, int size);

    /// <summary>OUT of 1, 2 or 4 bytes.</summary>
    void WritePort(ushort offset, int size, uint value);
}

/// <summary>A device behind guest-physical addresses that are not RAM. Called on a vCPU's thread.</summary>
public interface IMmioDevice
{
    /// <summary>A load of 1, 2, 4 or 8 bytes; <paramref name="offset"/> counts from the start of the range.</summary>
    ulong ReadMmio(ulong offset, int size);

    /// <summary>A store of 1, 2, 4 or 8 bytes.</summary>
    void WriteMmio(ulong offset, int size, ulong value);
}

/// <summary>
/// Port and MMIO dispatch, the one door from both engines to the devices. Nothing there reads as all ones and
/// swallows writes, as on a PC. Ranges may come and go while vCPUs run (PCI BARs); readers take no lock.
/// </summary>
public sealed class IoBus
{
    private readonly Lock _lock = new();
    private readonly PortRange?[] _ports = new PortRange?[65536];
    private MmioRange[] _mmio = [];

    /// <summary>The engine that takes doorbells over; null: none does. Set before devices come.</summary>
    internal IDoorbells? Doorbells { get; set; }

    /// <summary>Registers a device on ports [first, first+count).</summary>
    /// <exception cref="HullException">Another device has one of them.</exception>
    public void MapPorts(ushort first, int count, IPortDevice device)
    {
        if (!TryMapPorts(first, count, device))
        {
            throw new HullException($"two devices want an I/O port in 0x{first:x}-0x{first + count - 1:x}");
        }
    }

    /// <summary>Registers a device on ports that the guest chose (a PCI BAR).</summary>
    /// <returns>False, with nothing changed, when a port is taken or the range does not fit.</returns>
    public bool TryMapPorts(ushort first, int count, IPortDevice device)
    {
        if (count <= 0 || count > 65536 - first)
        {
            return false;
        }

        PortRange range = new(first, device);
        lock (_lock)
        {
            if (_ports.AsSpan(first, count).ContainsAnyExcept((PortRange?)null))
            {
                return false;
            }

            _ports.AsSpan(first, count).Fill(range);
            return true;
        }
    }

    /// <summary>Removes whatever is on ports [first, first+count).</summary>
    public void UnmapPorts(ushort first, int count)
    {
        lock (_lock)
        {
            _ports.AsSpan(first, count).Clear();
        }
    }

    /// <summary>Registers a device on guest-physical [first, first+length).</summary>
    /// <exception cref="HullException">The range overlaps another device's.</exception>
    public void MapMmio(GuestPhysical first, ulong length, IMmioDevice device)
    {
        if (!TryMapMmio(first, length, device))
        {
            throw new HullException($"two devices want guest-physical {first}");
        }
    }

    /// <summary>Registers a device on an address that the guest chose (a PCI BAR).</summary>
    /// <returns>False, with nothing changed, when the range overlaps another device's or wraps.</returns>
    public bool TryMapMmio(GuestPhysical first, ulong length, IMmioDevice device)
    {
        if (length == 0 || first.Value > ulong.MaxValue - length)
        {
            return false;
        }

        lock (_lock)
        {
            List<MmioRange> ranges = [.. _mmio];
            foreach (MmioRange other in ranges)
            {
                if (first.Value < other.First + other.Length && other.First < first.Value + length)
                {
                    return false;
                }
            }

            ranges.Add(new MmioRange(first.Value, length, device));
            ranges.Sort(static (a, b) => a.First.CompareTo(b.First));
            Volatile.Write(ref _mmio, [.. ranges]);
        }

        (device as IDoorbellDevice)?.Doorbells.Moved(Doorbells, first.Value);
        return true;
    }

    /// <summary>Removes the device that starts at <paramref name="first"/>.</summary>
    public void UnmapMmio(GuestPhysical first)
    {
        MmioRange? gone;
        lock (_lock)
        {
            gone = Array.Find(_mmio, range => range.First == first.Value);
            Volatile.Write(ref _mmio, Array.FindAll(_mmio, range => range.First != first.Value));
        }

        (gone?.Device as IDoorbellDevice)?.Doorbells.Moved(null, 0);
    }

    /// <summary>IN: <paramref name="size"/> is 1, 2 or 4.</summary>
    public uint ReadPort(ushort port, int size)
    {
        PortRange? range = Volatile.Read(ref _ports[port]);
        if (range is null)
        {
            return size == 4 ? uint.MaxValue : (1u << (size * 8)) - 1;
        }

        return range.Device.ReadPort((ushort)(port - range.First), size);
    }

    /// <summary>OUT: <paramref name="size"/> is 1, 2 or 4.</summary>
    public void WritePort(ushort port, int size, uint value)
    {
        PortRange? range = Volatile.Read(ref _ports[port]);
        range?.Device.WritePort((ushort)(port - range.First), size, value);
    }

    /// <summary>A load from an address that is not RAM; <paramref name="size"/> is 1, 2, 4 or 8.</summary>
    public ulong ReadMmio(GuestPhysical at, int size)
    {
        MmioRange? range = Find(at.Value);
        if (range is null)
        {
            return size == 8 ? ulong.MaxValue : (1UL << (size * 8)) - 1;
        }

        return range.Device.ReadMmio(at.Value - range.First, size);
    }

    /// <summary>A store to an address that is not RAM; <paramref name="size"/> is 1, 2, 4 or 8.</summary>
    public void WriteMmio(GuestPhysical at, int size, ulong value)
    {
        MmioRange? range = Find(at.Value);
        range?.Device.WriteMmio(at.Value - range.First, size, value);
    }

    private MmioRange? Find(ulong at)
    {
        MmioRange[] ranges = Volatile.Read(ref _mmio);
        int low = 0;
        int high = ranges.Length - 1;
        while (low <= high)
        {
            int middle = (low + high) >> 1;
            MmioRange range = ranges[middle];
            if (at < range.First)
            {
                high = middle - 1;
            }
            else if (at - range.First >= range.Length)
            {
                low = middle + 1;
            }
            else
            {
                return range;
            }
        }

        return null;
    }

    private sealed record PortRange(ushort First, IPortDevice Device);

    private sealed record MmioRange(ulong First, ulong Length, IMmioDevice Device);
}
