using System;
using System.Buffers.Binary;
using Hull.Host;

namespace Hull.Boot;

/// <summary>
/// The setup header of a bzImage. Linux, "The Linux/x86 Boot Protocol", "The Real-Mode Kernel Header";
/// offsets are from the start of the file and the same in struct boot_params. What an older protocol does not have
/// reads as that document says for it: there the bytes are code.
/// </summary>
internal sealed class SetupHeader
{
    /// <summary>Bytes of the file's head that hold the header.</summary>
    internal const int HeadSize = 0x400;

    /// <summary>Where the header begins.</summary>
    internal const int Start = 0x1F1;

    private const int BootFlagAt = 0x1FE;
    private const int MagicAt = 0x202;
    private const int Minimum = 0x202; // the command line by its address: Linux 2.4
    private const byte LoadedHigh = 1;
    private const ulong HighLoadAddress = 0x10_0000;
    private const uint Magic = 0x5372_6448; // "HdrS"
    private const ushort LongEntry = 1;
    private const ushort CanBeAbove4G = 2;

    private readonly byte[] _head;
    private readonly ushort _loadFlags;

    private SetupHeader(byte[] head)
    {
        _head = head;
        _loadFlags = Version >= 0x20C ? U16(0x236) : (ushort)0;
    }

    /// <summary>The header's bytes, from <see cref="Start"/>, as long as the kernel says it is.</summary>
    internal ReadOnlySpan<byte> Bytes => _head.AsSpan(Start, Math.Min(0x202 + _head[0x201], 0x290) - Start);

    /// <summary>Protocol version, 0x20C for 2.12.</summary>
    internal ushort Version => U16(0x206);

    /// <summary>Where the protected-mode part begins in the file.</summary>
    internal long ProtectedModeOffset => (_head[Start] == 0 ? 5 : _head[Start] + 1) * 512L;

    /// <summary>True when it has a 64-bit entry; else it is entered in 32-bit code.</summary>
    internal bool Is64 => (_loadFlags & LongEntry) != 0;

    /// <summary>Where in the protected-mode part its 32-bit code begins.</summary>
    internal long Entry32Offset => U32(0x214) - (long)HighLoadAddress;

    /// <summary>True when RAM disk and parameters may be above 4 GiB.</summary>
    internal bool AllowsHighData => (_loadFlags & CanBeAbove4G) != 0;

    /// <summary>The highest address that the RAM disk's last byte may have.</summary>
    internal uint InitrdMax => Version >= 0x203 ? U32(0x22C) : 0x37FF_FFFF;

    /// <summary>Longest command line, without its zero.</summary>
    internal uint CommandLineLimit => Version >= 0x206 ? U32(0x238) : 255;

    /// <summary>The packed kernel, from <see cref="ProtectedModeOffset"/>.</summary>
    internal uint PayloadOffset => U32(0x248);

    /// <summary>Bytes of the packed kernel with the size that follows it; 0: it does not say.</summary>
    internal uint PayloadLength => Version >= 0x208 ? U32(0x24C) : 0;

    /// <summary>Where the protected-mode part goes: where the kernel prefers to be, if it can be moved there.</summary>
    internal ulong LoadAddress => Version >= 0x20A && _head[0x234] != 0
        ? BinaryPrimitives.ReadUInt64LittleEndian(_head.AsSpan(0x258))
        : HighLoadAddress;

    /// <summary>Memory that the kernel needs from its address on before it reads the map; 0: it does not say.</summary>
    internal uint InitSize => Version >= 0x20A ? U32(0x260) : 0;

    /// <summary>True when the file is a Linux image of any age.</summary>
    internal static bool HasMagic(ReadOnlySpan<byte> head) =>
        head.Length >= MagicAt + 4 &&
        BinaryPrimitives.ReadUInt16LittleEndian(head[BootFlagAt..]) == 0xAA55 &&
        BinaryPrimitives.ReadUInt32LittleEndian(head[MagicAt..]) == Magic;

    /// <summary>Reads and checks the header of a file.</summary>
    /// <exception cref="HullException">Not a bzImage, or one that only a BIOS can start.</exception>
    internal static SetupHeader Read(BootBlobReader file)
    {
        byte[] head = new byte[HeadSize];
        int got = file.Read(0, head);
        return Parse(head.AsSpan(0, got), file.Name);
    }

    /// <summary>Checks the header.</summary>
    /// <param name="head">The first <see cref="HeadSize"/> bytes of the file.</param>
    /// <param name="name">What messages call the file.</param>
    /// <exception cref="HullException">Not a bzImage, or one that only a BIOS can start.</exception>
    private static SetupHeader Parse(ReadOnlySpan<byte> head, string name)
    {
        if (!HasMagic(head) || head.Length < HeadSize)
        {
            throw new HullException($"{name} is not a bzImage, or is truncated: give arch/x86/boot/bzImage of a build");
        }

        SetupHeader header = new(head[..HeadSize].ToArray());
        if (header.Version < Minimum)
        {
            throw new HullException(
                $"{name} speaks boot protocol {header.Version >> 8}.{header.Version & 0xFF:00}; Hull needs 2.02 or " +
                "newer (Linux 2.4): boot it through firmware (--firmware bios)");
        }

        bool isHigh = (header._head[0x211] & LoadedHigh) != 0;
        if (!header.Is64 && (!isHigh || header.Entry32Offset < 0))
        {
            throw new HullException(
                $"{name} starts in real mode only, and asks a BIOS: boot it from a disk (--disk F --firmware bios)");
        }

        return header;
    }

    private ushort U16(int at) => BinaryPrimitives.ReadUInt16LittleEndian(_head.AsSpan(at));

    private uint U32(int at) => BinaryPrimitives.ReadUInt32LittleEndian(_head.AsSpan(at));
}
