using System;
using System.Buffers.Binary;
using Hull.Host;

namespace Hull.Boot;

/// <summary>
/// The setup header of a bzImage. Linux, "The Linux/x86 Boot Protocol", "The Real-Mode Kernel Header";
/// offsets are from the start of the file and the same in struct boot_params.
/// </summary>
internal sealed class SetupHeader
{
    /// <summary>Bytes of the file's head that hold the header.</summary>
    internal const int HeadSize = 0x400;

    /// <summary>Where the header begins.</summary>
    internal const int Start = 0x1F1;

    private const int BootFlagAt = 0x1FE;
    private const int MagicAt = 0x202;
    private const int Minimum = 0x20C;
    private const uint Magic = 0x5372_6448; // "HdrS"
    private const ushort LongEntry = 1;
    private const ushort CanBeAbove4G = 2;

    private readonly byte[] _head;
    private readonly ushort _loadFlags;

    private SetupHeader(byte[] head)
    {
        _head = head;
        _loadFlags = U16(0x236);
    }

    /// <summary>The header's bytes, from <see cref="Start"/>, as long as the kernel says it is.</summary>
    internal ReadOnlySpan<byte> Bytes => _head.AsSpan(Start, Math.Min(0x202 + _head[0x201], 0x290) - Start);

    /// <summary>Protocol version, 0x20C for 2.12.</summary>
    internal ushort Version => U16(0x206);

    /// <summary>Where the protected-mode part begins in the file.</summary>
    internal long ProtectedModeOffset => (_head[Start] == 0 ? 5 : _head[Start] + 1) * 512L;

    /// <summary>True when it runs at any aligned address.</summary>
    internal bool IsRelocatable => _head[0x234] != 0;

    /// <summary>True for a kernel that starts in 64-bit code; false for a 32-bit one.</summary>
    internal bool Has64BitEntry => (_loadFlags & LongEntry) != 0;

    /// <summary>True when RAM disk and parameters may be above 4 GiB.</summary>
    internal bool AllowsHighData => (_loadFlags & CanBeAbove4G) != 0;

    /// <summary>The highest address that the RAM disk's last byte may have.</summary>
    internal uint InitrdMax => U32(0x22C);

    /// <summary>Longest command line, without its zero.</summary>
    internal uint CommandLineLimit => U32(0x238);

    /// <summary>The packed kernel, from <see cref="ProtectedModeOffset"/>.</summary>
    internal uint PayloadOffset => U32(0x248);

    /// <summary>Bytes of the packed kernel with the size that follows it.</summary>
    internal uint PayloadLength => U32(0x24C);

    /// <summary>Where the kernel prefers to be.</summary>
    internal ulong PreferredAddress => BinaryPrimitives.ReadUInt64LittleEndian(_head.AsSpan(0x258));

    /// <summary>Memory that the kernel needs from its address on before it reads the map.</summary>
    internal uint InitSize => U32(0x260);

    /// <summary>True when the file is a Linux image of any age.</summary>
    internal static bool HasMagic(ReadOnlySpan<byte> head) =>
        head.Length >= MagicAt + 4 &&
        BinaryPrimitives.ReadUInt16LittleEndian(head[BootFlagAt..]) == 0xAA55 &&
        BinaryPrimitives.ReadUInt32LittleEndian(head[MagicAt..]) == Magic;

    /// <summary>Reads and checks the header.</summary>
    /// <param name="head">The first <see cref="HeadSize"/> bytes of the file.</param>
    /// <param name="name">What messages call the file.</param>
    /// <exception cref="HullException">Not a bzImage, or one that is too old.</exception>
    internal static SetupHeader Parse(ReadOnlySpan<byte> head, string name)
    {
        if (!HasMagic(head) || head.Length < HeadSize)
        {
            throw new HullException($"{name} is not a bzImage, or is truncated: give arch/x86/boot/bzImage of a build");
        }

        SetupHeader header = new(head[..HeadSize].ToArray());
        if (header.Version < Minimum)
        {
            throw new HullException(
                $"{name} speaks boot protocol {header.Version >> 8}.{header.Version & 0xFF:00}; Hull needs 2.12 or " +
                "newer (Linux 3.8): boot it through firmware (--firmware bios)");
        }

        return header;
    }

    private ushort U16(int at) => BinaryPrimitives.ReadUInt16LittleEndian(_head.AsSpan(at));

    private uint U32(int at) => BinaryPrimitives.ReadUInt32LittleEndian(_head.AsSpan(at));
}
