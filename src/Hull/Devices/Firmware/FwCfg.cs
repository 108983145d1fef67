using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Text;
using System.Threading;
using Hull.Bus;
using Hull.Memory;
using Hull.Platform;

namespace Hull.Devices.Firmware;

/// <summary>Keys of items with a place of their own. QEMU, "QEMU Firmware Configuration (fw_cfg) Device".</summary>
internal static class FwCfgKey
{
    internal const ushort Signature = 0x00;
    internal const ushort Id = 0x01;
    internal const ushort RamSize = 0x03;
    internal const ushort NoGraphic = 0x04;
    internal const ushort CpuCount = 0x05;
    internal const ushort MaximumCpus = 0x0F;
    internal const ushort CommandLineSize = 0x14;
    internal const ushort CommandLine = 0x15;
    internal const ushort Directory = 0x19;
    internal const ushort FirstFile = 0x20;
}

/// <summary>
/// fw_cfg: named pieces of bytes that firmware and test kernels read, through a selector and a data port or by one
/// request that lies in guest memory. QEMU, "QEMU Firmware Configuration (fw_cfg) Device".
/// </summary>
internal sealed class FwCfg : IPortDevice
{
    private const int Ports = 12;
    private const int DataOffset = 1;
    private const int AddressOffset = 4;
    private const int RequestSize = 16;
    private const int NameRoom = 56;
    private const ushort WriteChannel = 0x4000;
    private const uint Error = 1;
    private const uint Read = 2;
    private const uint Skip = 4;
    private const uint Select = 8;
    private const uint Write = 16;

    private readonly Lock _lock = new();
    private readonly GuestMemory? _memory;
    private readonly Dictionary<ushort, byte[]> _items = [];
    private readonly List<string> _files = [];
    private byte[] _item = [];
    private ulong _at;
    private uint _addressHigh;

    /// <summary>Makes the device with its signature and features.</summary>
    /// <param name="memory">Where requests lie; null: none are taken.</param>
    internal FwCfg(GuestMemory? memory)
    {
        _memory = memory;
        Add(FwCfgKey.Signature, "QEMU"u8);
        Add32(FwCfgKey.Id, memory is null ? 1u : 3u);
        Add(FwCfgKey.Directory, new byte[4]);
    }

    /// <summary>Puts the registers on their ports.</summary>
    internal void Map(IoBus bus) => bus.MapPorts(PlatformMap.FwCfgPort, Ports, this);

    /// <summary>Adds or replaces an item. Before the machine starts.</summary>
    internal void Add(ushort key, ReadOnlySpan<byte> content) => _items[key] = content.ToArray();

    /// <summary>Adds an item of two bytes, little-endian.</summary>
    internal void Add16(ushort key, ushort value) => Add(key, [(byte)value, (byte)(value >> 8)]);

    /// <summary>Adds an item of four bytes, little-endian.</summary>
    internal void Add32(ushort key, uint value)
    {
        Span<byte> raw = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(raw, value);
        Add(key, raw);
    }

    /// <summary>Adds an item of eight bytes, little-endian.</summary>
    internal void Add64(ushort key, ulong value)
    {
        Span<byte> raw = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(raw, value);
        Add(key, raw);
    }

    /// <summary>Adds a file under the next free key, and writes the directory. Before the machine starts.</summary>
    /// <exception cref="ArgumentException">The name has more than 55 characters.</exception>
    internal void AddFile(string name, ReadOnlySpan<byte> content)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(name.Length, NameRoom);
        Add((ushort)(FwCfgKey.FirstFile + _files.Count), content);
        _files.Add(name);
        byte[] directory = new byte[4 + (64 * _files.Count)];
        BinaryPrimitives.WriteInt32BigEndian(directory, _files.Count);
        for (int i = 0; i < _files.Count; i++)
        {
            Span<byte> entry = directory.AsSpan(4 + (64 * i), 64);
            ushort key = (ushort)(FwCfgKey.FirstFile + i);
            BinaryPrimitives.WriteInt32BigEndian(entry, _items[key].Length);
            BinaryPrimitives.WriteUInt16BigEndian(entry[4..], key);
            Encoding.ASCII.GetBytes(_files[i], entry[8..]);
        }

        Add(FwCfgKey.Directory, directory);
    }

    /// <inheritdoc/>
    public uint ReadPort(ushort offset, int size)
    {
        lock (_lock)
        {
            if (offset < AddressOffset)
            {
                return offset <= DataOffset && size == 1 ? Next() : 0u;
            }

            // "QEMU CFG" where the address is written says that requests are taken.
            Span<byte> signature = stackalloc byte[12];
            if (_memory is not null)
            {
                "QEMU CFG"u8.CopyTo(signature);
            }

            return BinaryPrimitives.ReadUInt32LittleEndian(signature[(offset - AddressOffset)..]) & Mask(size);
        }
    }

    /// <inheritdoc/>
    public void WritePort(ushort offset, int size, uint value)
    {
        ulong request;
        lock (_lock)
        {
            switch (offset, size)
            {
                case (0, 2):
                    Choose((ushort)value);
                    return;
                case (AddressOffset, 4):
                    _addressHigh = BinaryPrimitives.ReverseEndianness(value);
                    return;
                case (AddressOffset + 4, 4):
                    request = ((ulong)_addressHigh << 32) | BinaryPrimitives.ReverseEndianness(value);
                    _addressHigh = 0;
                    break;
                default:
                    return; // the data port takes no writes
            }

            Serve(new GuestPhysical(request));
        }
    }

    private static uint Mask(int size) => size == 4 ? uint.MaxValue : (1u << (size * 8)) - 1;

    private void Choose(ushort key)
    {
        _item = _items.GetValueOrDefault((ushort)(key & ~WriteChannel), []);
        _at = 0;
    }

    private byte Next() => _at < (ulong)_item.Length ? _item[_at++] : (byte)0;

    // A request: control, length and address, big-endian. The control word becomes 0, or 1 for an error.
    private void Serve(GuestPhysical at)
    {
        Span<byte> raw = stackalloc byte[RequestSize];
        if (_memory is null || !_memory.TryRead(at, raw))
        {
            return;
        }

        uint control = BinaryPrimitives.ReadUInt32BigEndian(raw);
        uint length = BinaryPrimitives.ReadUInt32BigEndian(raw[4..]);
        GuestPhysical target = new(BinaryPrimitives.ReadUInt64BigEndian(raw[8..]));
        if ((control & Select) != 0)
        {
            Choose((ushort)(control >> 16));
        }

        bool done = (control & Read) != 0 ? Copy(target, length) : (control & Write) == 0;
        if (done && (control & (Read | Skip)) != 0)
        {
            _at += length;
        }

        BinaryPrimitives.WriteUInt32BigEndian(raw, done ? 0 : Error);
        _memory.TryWrite(at, raw[..4]);
    }

    // What lies beyond the item's end reads as zeros.
    private bool Copy(GuestPhysical to, uint length)
    {
        ulong left = _at < (ulong)_item.Length ? (ulong)_item.Length - _at : 0;
        int real = (int)Math.Min(left, length);
        return _memory!.Contains(to, length) &&
            (real == 0 || _memory.TryWrite(to, _item.AsSpan((int)_at, real))) &&
            (real == length || _memory.TryClear(to + (ulong)real, length - (ulong)real));
    }
}
