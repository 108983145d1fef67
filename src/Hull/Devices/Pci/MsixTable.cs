using System;
using System.Threading;
using Hull.Bus;

namespace Hull.Devices.Pci;

/// <summary>
/// The MSI-X table and pending bits of a function: a 4 KiB-aligned memory region (for a BAR or part of one) with the
/// table at 0 and the pending bits at <see cref="PendingOffset"/>. PCI Local Bus 3.0, "MSI-X Capability and Table
/// Structures".
/// </summary>
internal sealed class MsixTable : IMmioDevice
{
    /// <summary>Where the pending bits are in the region.</summary>
    internal const int PendingOffset = 0x800;

    /// <summary>Bytes of the region.</summary>
    internal const int RegionSize = 0x1000;

    /// <summary>The most vectors that fit.</summary>
    internal const int MaximumVectors = PendingOffset / EntrySize;

    /// <summary>The capability's identity.</summary>
    internal const byte CapabilityId = 0x11;

    /// <summary>The capability's length.</summary>
    internal const int CapabilityLength = 12;

    private const int EntrySize = 16;
    private const uint Masked = 1;

    private readonly Lock _lock = new();
    private readonly IMsiSink[] _sinks;
    private readonly uint[] _table;
    private readonly ulong[] _pending = new ulong[MaximumVectors / 64];
    private bool _enabled;
    private bool _functionMasked;

    /// <summary>Makes the table with all vectors masked.</summary>
    internal MsixTable(int vectors, IMsiSink sink)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(vectors, MaximumVectors);
        Vectors = vectors;
        _table = new uint[vectors * 4];
        _sinks = new IMsiSink[vectors];
        for (int i = 0; i < vectors; i++)
        {
            _sinks[i] = (sink as IMsiLines)?.OpenLine() ?? sink;
        }

        Reset();
    }

    /// <summary>Entries in the table.</summary>
    internal int Vectors { get; }

    /// <summary>MSI-X is on: INTx is not to be used. Any thread.</summary>
    internal bool IsEnabled => Volatile.Read(ref _enabled);

    /// <summary>
    /// Adds the capability to a function.
    /// </summary>
    /// <param name="function">The function.</param>
    /// <param name="bar">The BAR in which the region lies.</param>
    /// <param name="regionOffset">Where in the BAR.</param>
    /// <returns>The capability's offset; the function calls <see cref="SetControl"/> when +2 is written.</returns>
    internal int AddCapability(PciFunction function, int bar, uint regionOffset)
    {
        int at = function.AddCapability(CapabilityId, CapabilityLength);
        function.SetConfig(at + 2, (uint)(Vectors - 1), 2);
        function.SetWritable(at + 2, 0xC000, 2);
        function.SetConfig(at + 4, regionOffset | (uint)bar, 4);
        function.SetConfig(at + 8, (regionOffset + PendingOffset) | (uint)bar, 4);
        return at;
    }

    /// <summary>Goes to the state after power-on.</summary>
    internal void Reset()
    {
        lock (_lock)
        {
            Array.Clear(_table);
            for (int i = 0; i < Vectors; i++)
            {
                _table[(i * 4) + 3] = Masked;
            }

            Array.Clear(_pending);
            _enabled = false;
            _functionMasked = false;
        }
    }

    /// <summary>The function is out of its slot for good: its vectors' lines end.</summary>
    internal void Close()
    {
        foreach (IMsiSink sink in _sinks)
        {
            (sink as IMsiLine)?.Dispose();
        }
    }

    /// <summary>The message control word was written.</summary>
    internal void SetControl(ushort control)
    {
        lock (_lock)
        {
            Volatile.Write(ref _enabled, (control & 0x8000) != 0);
            _functionMasked = (control & 0x4000) != 0;
        }

        for (int i = 0; i < Vectors; i++)
        {
            Flush(i);
        }
    }

    /// <summary>Raises a vector: a message now, or when it is unmasked. Any thread; the caller holds no lock.</summary>
    internal void Notify(int vector)
    {
        if ((uint)vector >= (uint)Vectors)
        {
            return;
        }

        lock (_lock)
        {
            if (!_enabled)
            {
                return;
            }

            _pending[vector >> 6] |= 1UL << vector;
        }

        Flush(vector);
    }

    /// <inheritdoc/>
    public ulong ReadMmio(ulong offset, int size)
    {
        ulong value = ReadWord(offset & ~3UL);
        if (size == 8)
        {
            return value | (ReadWord((offset & ~3UL) + 4) << 32);
        }

        value >>= (int)(offset & 3) * 8;
        return value & ((1UL << (size * 8)) - 1);
    }

    /// <inheritdoc/>
    public void WriteMmio(ulong offset, int size, ulong value)
    {
        // Only whole words may be written; the rest is undefined and ignored.
        if ((offset & 3) != 0 || size < 4)
        {
            return;
        }

        WriteWord(offset, (uint)value);
        if (size == 8)
        {
            WriteWord(offset + 4, (uint)(value >> 32));
        }
    }

    private ulong ReadWord(ulong offset)
    {
        lock (_lock)
        {
            if (offset < (ulong)_table.Length * 4)
            {
                return _table[offset / 4];
            }

            ulong bit = offset - PendingOffset;
            return offset >= PendingOffset && bit < (ulong)_pending.Length * 8
                ? (uint)(_pending[bit / 8] >> (int)(bit % 8 * 8))
                : 0;
        }
    }

    private void WriteWord(ulong offset, uint value)
    {
        if (offset >= (ulong)_table.Length * 4)
        {
            return;
        }

        lock (_lock)
        {
            _table[offset / 4] = value;
        }

        Flush((int)(offset / EntrySize));
    }

    private void Flush(int vector)
    {
        MsiMessage message;
        lock (_lock)
        {
            ref ulong word = ref _pending[vector >> 6];
            int at = vector * 4;
            bool open = _enabled && !_functionMasked && (_table[at + 3] & Masked) == 0;
            if (!open || (word >> vector & 1) == 0)
            {
                return;
            }

            word &= ~(1UL << vector);
            message = new MsiMessage(_table[at] | ((ulong)_table[at + 1] << 32), _table[at + 2]);
        }

        _sinks[vector].Send(message);
    }
}
