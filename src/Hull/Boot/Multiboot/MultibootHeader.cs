using System;
using System.Buffers.Binary;

namespace Hull.Boot.Multiboot;

/// <summary>
/// Where a kernel says that its parts go, for files that are no ELF. Guest-physical. Multiboot 0.6.96, "The address
/// fields of Multiboot header"; Multiboot 2, "The address tag of Multiboot2 header".
/// </summary>
/// <param name="Header">Where the header itself will lie.</param>
/// <param name="Load">Where the text begins.</param>
/// <param name="LoadEnd">End (exclusive) of the data; 0: the file's end.</param>
/// <param name="BssEnd">End (exclusive) of the uninitialised data; 0: there are none.</param>
internal readonly record struct MultibootAddresses(uint Header, uint Load, uint LoadEnd, uint BssEnd);

/// <summary>
/// The header by which a kernel asks for Multiboot 1 (Multiboot Specification 0.6.96, "The layout of Multiboot
/// header") or Multiboot 2 (Multiboot2 Specification 2.0, "The layout of Multiboot2 header").
/// </summary>
internal sealed record MultibootHeader
{
    /// <summary>Bytes of the file's head in which a header may lie; Multiboot 1 uses the first 8 KiB of them.</summary>
    internal const int SearchSize = 32 << 10;

    private const int SearchSize1 = 8 << 10;
    private const uint Magic1 = 0x1BAD_B002;
    private const uint Magic2 = 0xE852_50D6;
    private const uint WantsVideo = 1 << 2;
    private const uint HasAddresses = 1 << 16;

    // Page alignment, memory information and the video mode; the rest of the low half must be understood and is not.
    private const uint KnownRequirements = 7;
    private const string VideoNotice = "the kernel asks for a video mode; there is no display, so it gets none";

    /// <summary>1 or 2.</summary>
    internal required int Version { get; init; }

    /// <summary>Where the header is in the (unpacked) file.</summary>
    internal required int Offset { get; init; }

    /// <summary>Where the parts go; null: the ELF headers say it.</summary>
    internal MultibootAddresses? Addresses { get; init; }

    /// <summary>Where the kernel starts, guest-physical; null: the ELF header says it.</summary>
    internal uint? Entry { get; init; }

    /// <summary>What the kernel asks for and does not get, for the user; null: nothing.</summary>
    internal string? Notice { get; init; }

    /// <summary>Why no loader can do what the header demands; null: it can be done.</summary>
    internal string? Refusal { get; init; }

    /// <summary>Looks for a header, of Multiboot 1 first.</summary>
    /// <param name="head">The first bytes of the unpacked file, <see cref="SearchSize"/> if it has so many.</param>
    internal static MultibootHeader? Find(ReadOnlySpan<byte> head)
    {
        for (int at = 0; at + 12 <= Math.Min(head.Length, SearchSize1); at += 4)
        {
            uint flags = U32(head, at + 4);
            if (U32(head, at) == Magic1 && Magic1 + flags + U32(head, at + 8) == 0)
            {
                return Parse1(head, at, flags);
            }
        }

        for (int at = 0; at + 16 <= Math.Min(head.Length, SearchSize); at += 8)
        {
            uint length = U32(head, at + 8);
            if (U32(head, at) == Magic2 && Magic2 + U32(head, at + 4) + length + U32(head, at + 12) == 0)
            {
                return Parse2(head, at, length);
            }
        }

        return null;
    }

    private static MultibootHeader Parse1(ReadOnlySpan<byte> head, int at, uint flags)
    {
        MultibootHeader header = new() { Version = 1, Offset = at };
        uint unknown = flags & 0xFFFF & ~KnownRequirements;
        if (unknown != 0)
        {
            return header with { Refusal = $"its Multiboot header demands what is not known (flags 0x{unknown:x})" };
        }

        header = (flags & WantsVideo) == 0 ? header : header with { Notice = VideoNotice };
        if ((flags & HasAddresses) == 0)
        {
            return header;
        }

        return at + 32 > Math.Min(head.Length, SearchSize1)
            ? header with { Refusal = "its Multiboot header is cut off: the file is damaged" }
            : header with
            {
                Addresses = new(U32(head, at + 12), U32(head, at + 16), U32(head, at + 20), U32(head, at + 24)),
                Entry = U32(head, at + 28),
            };
    }

    private static MultibootHeader Parse2(ReadOnlySpan<byte> head, int at, uint length)
    {
        MultibootHeader header = new() { Version = 2, Offset = at };
        if (U32(head, at + 4) != 0)
        {
            return header with { Refusal = "its Multiboot 2 header is for another architecture than i386" };
        }

        if (length < 16 || length > (uint)(head.Length - at))
        {
            return header with { Refusal = "its Multiboot 2 header is cut off: the file is damaged" };
        }

        ReadOnlySpan<byte> tags = head.Slice(at + 16, (int)length - 16);
        while (tags.Length >= 8)
        {
            ushort type = BinaryPrimitives.ReadUInt16LittleEndian(tags);
            uint size = U32(tags, 4);
            if (type == 0)
            {
                return header;
            }

            if (size < 8 || size > (uint)tags.Length)
            {
                break;
            }

            bool optional = (tags[2] & 1) != 0;
            header = ReadTag(header, type, optional, tags[..(int)size]);
            tags = tags[Math.Min(tags.Length, ((int)size + 7) & ~7)..];
        }

        return header with { Refusal = "the tags of its Multiboot 2 header do not end: the file is damaged" };
    }

    private static MultibootHeader ReadTag(MultibootHeader header, ushort type, bool optional, ReadOnlySpan<byte> tag)
    {
        switch (type)
        {
            case 2 when tag.Length >= 24: // address
                return header with { Addresses = new(U32(tag, 8), U32(tag, 12), U32(tag, 16), U32(tag, 20)) };
            case 3 when tag.Length >= 12: // entry address
                return header with { Entry = U32(tag, 8) };
            case 5: // framebuffer
                return header with { Notice = VideoNotice };
            case 1 or 4 or 6 or 7 or 8 or 9 or 10:
                // Requests (a kernel looks for what it got), console, module alignment, EFI, relocation (it is loaded
                // where it is linked): nothing to do.
                return header;
            default:
                return optional || header.Refusal is not null
                    ? header
                    : header with { Refusal = $"its Multiboot 2 header demands what is not known (tag {type})" };
        }
    }

    private static uint U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);
}
