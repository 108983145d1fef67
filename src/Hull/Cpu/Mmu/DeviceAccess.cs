using System;
using Hull.Bus;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// Accesses of a vCPU to what is no RAM: in pieces that a device takes, to the machine's bus or to the vCPU's own local APIC.
/// </summary>
internal readonly unsafe struct DeviceAccess(IoBus bus, ILocalApic apic)
{
    /// <summary>Reads any number of bytes from a guest-physical address.</summary>
    internal void Read(ulong at, Span<byte> destination)
    {
        while (destination.Length > 0)
        {
            int size = Piece(at, destination.Length);
            ulong value = ReadOne(at, size);

            // SAFETY: at most the eight bytes of the local variable.
            new ReadOnlySpan<byte>(&value, size).CopyTo(destination);
            destination = destination[size..];
            at += (uint)size;
        }
    }

    /// <summary>Writes any number of bytes to a guest-physical address.</summary>
    internal void Write(ulong at, ReadOnlySpan<byte> source)
    {
        while (source.Length > 0)
        {
            int size = Piece(at, source.Length);
            ulong value = 0;

            // SAFETY: at most the eight bytes of the local variable.
            source[..size].CopyTo(new Span<byte>(&value, size));
            WriteOne(at, size, value);
            source = source[size..];
            at += (uint)size;
        }
    }

    /// <summary>The largest naturally aligned access of 1, 2, 4 or 8 bytes that starts here.</summary>
    private static int Piece(ulong at, int left)
    {
        int size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        while ((at & (uint)(size - 1)) != 0)
        {
            size >>= 1;
        }

        return size;
    }

    private ulong ReadOne(ulong at, int size)
    {
        if ((at & ~0xFFFUL) != apic.MmioPage)
        {
            return bus.ReadMmio(new GuestPhysical(at), size);
        }

        // QUIRK: parts of a local APIC register may be read; the 12 bytes between registers read as zero.
        uint offset = (uint)at & 0xFFF;
        return (offset & 12) != 0 ? 0 : (ulong)apic.ReadMmio(offset & 0xFF0) >> (int)(8 * (offset & 3));
    }

    private void WriteOne(ulong at, int size, ulong value)
    {
        if ((at & ~0xFFFUL) != apic.MmioPage)
        {
            bus.WriteMmio(new GuestPhysical(at), size, value);
        }
        else if (size >= 4 && (at & 15) == 0)
        {
            // QUIRK: a local APIC register takes whole 32-bit stores only; anything else is dropped.
            apic.WriteMmio((uint)at & 0xFF0, (uint)value);
        }
    }
}
