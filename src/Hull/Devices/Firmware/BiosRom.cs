using System;
using System.Buffers.Binary;
using Hull.Bus;
using Hull.Memory;

namespace Hull.Devices.Firmware;

/// <summary>
/// The ROM below 4 GiB as the bus sees it: processors fetch and load from its memory directly, their stores come here and
/// are lost. Its last 128 KiB show below 1 MiB too, see <see cref="ShadowMemory"/>.
/// </summary>
internal sealed class BiosRom : IMmioDevice
{
    /// <summary>Bytes of the ROM's end that a PC decodes below 1 MiB.</summary>
    internal const ulong LegacySize = 0x2_0000;

    private readonly GuestMemory _memory;

    /// <summary>Puts the memory's ROM on the bus.</summary>
    internal BiosRom(GuestMemory memory, IoBus bus)
    {
        _memory = memory;
        bus.MapMmio(new GuestPhysical(memory.Rom.Base), memory.Rom.Size, this);
    }

    /// <inheritdoc/>
    public ulong ReadMmio(ulong offset, int size)
    {
        Span<byte> raw = stackalloc byte[8];
        raw.Clear();
        _memory.Rom.Read(offset, raw[..(int)Math.Min((ulong)size, _memory.Rom.Size - offset)]);
        return BinaryPrimitives.ReadUInt64LittleEndian(raw);
    }

    /// <inheritdoc/>
    public void WriteMmio(ulong offset, int size, ulong value)
    {
    }
}
