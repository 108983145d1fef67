using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Text;

namespace Hull.Boot.Acpi;

/// <summary>
/// Builds ACPI machine language: each method gives the bytes of one term, made of the bytes of its parts.
/// ACPI 6.4, "ACPI Machine Language (AML) Specification".
/// </summary>
internal static class Aml
{
    /// <summary>DefScope: adds objects to a place in the namespace.</summary>
    internal static byte[] Scope(string path, params byte[][] terms) =>
        WithLength([0x10], Join(Path(path), Join(terms)));

    /// <summary>DefDevice: a device and its objects.</summary>
    internal static byte[] Device(string name, params byte[][] terms) =>
        WithLength([0x5B, 0x82], Join(Path(name), Join(terms)));

    /// <summary>DefName: a named constant.</summary>
    internal static byte[] Name(string name, byte[] value) => Join([0x08], Path(name), value);

    /// <summary>DefPackage: an array of at most 255 elements.</summary>
    internal static byte[] Package(params byte[][] elements) =>
        WithLength([0x12], Join([(byte)elements.Length], Join(elements)));

    /// <summary>DefBuffer with its content.</summary>
    internal static byte[] Buffer(byte[] content) => WithLength([0x11], Join(Integer((ulong)content.Length), content));

    /// <summary>An integer in its shortest encoding.</summary>
    internal static byte[] Integer(ulong value)
    {
        if (value <= 1)
        {
            return [(byte)value];
        }

        byte[] raw = new byte[9];
        BinaryPrimitives.WriteUInt64LittleEndian(raw.AsSpan(1), value);
        (raw[0], int size) = value switch
        {
            <= byte.MaxValue => ((byte)0x0A, 1),
            <= ushort.MaxValue => ((byte)0x0B, 2),
            <= uint.MaxValue => ((byte)0x0C, 4),
            _ => ((byte)0x0E, 8),
        };
        return raw[..(size + 1)];
    }

    /// <summary>A compressed EISA identity, such as "PNP0A08". ACPI 6.4, "EISAID Macro".</summary>
    internal static byte[] EisaId(string id)
    {
        uint packed = (uint)(((id[0] - '@') << 26) | ((id[1] - '@') << 21) | ((id[2] - '@') << 16)) |
            Convert.ToUInt16(id[3..], 16);
        byte[] raw = new byte[5];
        raw[0] = 0x0C;
        BinaryPrimitives.WriteUInt32BigEndian(raw.AsSpan(1), packed);
        return raw;
    }

    /// <summary>
    /// A path: a root prefix, then four-letter segments with dots between; short names are padded.
    /// </summary>
    internal static byte[] Path(string path)
    {
        List<byte> raw = [];
        string rest = path;
        if (rest.StartsWith('\\'))
        {
            raw.Add((byte)'\\');
            rest = rest[1..];
        }

        string[] segments = rest.Split('.');
        if (segments.Length == 2)
        {
            raw.Add(0x2E);
        }
        else if (segments.Length > 2)
        {
            raw.AddRange([0x2F, (byte)segments.Length]);
        }

        foreach (string segment in segments)
        {
            raw.AddRange(Encoding.ASCII.GetBytes(segment.PadRight(4, '_')));
        }

        return [.. raw];
    }

    /// <summary>The parts, one after the other.</summary>
    internal static byte[] Join(params byte[][] parts)
    {
        int length = 0;
        foreach (byte[] part in parts)
        {
            length += part.Length;
        }

        byte[] all = new byte[length];
        int at = 0;
        foreach (byte[] part in parts)
        {
            part.CopyTo(all, at);
            at += part.Length;
        }

        return all;
    }

    /// <summary>
    /// Opcode, PkgLength, body. PkgLength counts itself: one byte up to 63, else two to four.
    /// </summary>
    private static byte[] WithLength(byte[] opcode, byte[] body)
    {
        if (body.Length + 1 < 0x40)
        {
            return Join(opcode, [(byte)(body.Length + 1)], body);
        }

        int extra = body.Length + 2 < 0x1000 ? 1 : body.Length + 3 < 0x10_0000 ? 2 : 3;
        int total = body.Length + 1 + extra;
        byte[] length = new byte[1 + extra];
        length[0] = (byte)((extra << 6) | (total & 0xF));
        for (int i = 0; i < extra; i++)
        {
            length[i + 1] = (byte)(total >> (4 + (8 * i)));
        }

        return Join(opcode, length, body);
    }
}
