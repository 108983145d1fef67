using System;
using System.Buffers.Binary;
using System.Threading;
using Hull.Bus;
using Hull.Memory;

namespace Hull.Devices.Firmware;

/// <summary>
/// The memory from 0xC0000 to 1 MiB, which a chipset hides behind the ROM section by section: reads and writes of a section
/// go to memory or to the ROM, each as its attributes say. What a processor may read is what lies in RAM: where that is the
/// ROM, a copy of it does, and the memory behind is kept here. Stores that RAM must not see come here over the bus.
/// Intel 3 Series Express Chipset data sheet, "PAM - Programmable Attribute Map".
/// </summary>
internal sealed class ShadowMemory : IMmioDevice
{
    /// <summary>Sections of 16 KiB.</summary>
    internal const int Sections = (int)(ShadowArea.Size / ShadowArea.Section);

    private const int SectionSize = (int)ShadowArea.Section;
    private const uint All = (1u << Sections) - 1;
    private readonly Lock _lock = new();
    private readonly GuestMemory _memory;
    private readonly byte[] _hidden = new byte[ShadowArea.Size];
    private uint _readable = All;
    private uint _writable = All;

    /// <summary>Makes the area with all memory open, and puts it on the bus.</summary>
    internal ShadowMemory(GuestMemory memory, IoBus bus)
    {
        _memory = memory;
        bus.MapMmio(new GuestPhysical(ShadowArea.Base), ShadowArea.Size, this);
    }

    /// <summary>Says which sections go to memory: a bit for each, from 0xC0000 on. A vCPU's thread, or before any runs.</summary>
    internal void SetAttributes(uint readable, uint writable)
    {
        lock (_lock)
        {
            uint changed = readable ^ _readable;

            // First of all no vCPU may store where the content changes.
            _memory.Shadow.Protect(All & ~(readable & writable & _readable & _writable));
            for (int section = 0; section < Sections; section++)
            {
                if ((changed & (1u << section)) != 0)
                {
                    Swap(section, showMemory: (readable & (1u << section)) != 0);
                }
            }

            _readable = readable;
            _writable = writable;
            _memory.Shadow.Protect(All & ~(readable & writable));
        }
    }

    /// <inheritdoc/>
    public ulong ReadMmio(ulong offset, int size)
    {
        Span<byte> raw = stackalloc byte[8];
        raw.Clear();
        _memory.TryRead(new GuestPhysical(ShadowArea.Base + offset), raw[..size]);
        return BinaryPrimitives.ReadUInt64LittleEndian(raw);
    }

    /// <inheritdoc/>
    public void WriteMmio(ulong offset, int size, ulong value)
    {
        Span<byte> raw = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(raw, value);
        lock (_lock)
        {
            uint section = 1u << (int)(offset / ShadowArea.Section);
            if ((_writable & section) == 0)
            {
                return;
            }

            if ((_readable & section) != 0)
            {
                _memory.TryWrite(new GuestPhysical(ShadowArea.Base + offset), raw[..size]);
            }
            else
            {
                raw[..size].CopyTo(_hidden.AsSpan((int)offset));
            }
        }
    }

    private void Swap(int section, bool showMemory)
    {
        Span<byte> hidden = _hidden.AsSpan(section * SectionSize, SectionSize);
        GuestPhysical at = new(ShadowArea.Base + ((ulong)section * ShadowArea.Section));
        if (showMemory)
        {
            _memory.TryWrite(at, hidden);
            return;
        }

        _memory.TryRead(at, hidden);
        byte[] rom = new byte[SectionSize];
        Array.Fill(rom, (byte)0xFF);
        ulong fromEnd = ShadowArea.Base + ShadowArea.Size - at.Value;
        if (fromEnd <= Math.Min(_memory.Rom.Size, BiosRom.LegacySize))
        {
            _memory.Rom.Read(_memory.Rom.Size - fromEnd, rom);
        }

        _memory.TryWrite(at, rom);
    }
}
