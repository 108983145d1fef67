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

    /// <summary>Local0: a method's first variable.</summary>
    internal static byte[] Local0 => [0x60];

    /// <summary>Local1: a method's second variable.</summary>
    internal static byte[] Local1 => [0x61];

    /// <summary>DefMethod: up to seven arguments; one thread at a time.</summary>
    internal static byte[] Method(string name, int arguments, params byte[][] terms) =>
        WithLength([0x14], Join(Path(name), [(byte)(arguments | 8)], Join(terms)));

    /// <summary>DefOpRegion in I/O ports.</summary>
    internal static byte[] PortRegion(string name, ushort first, int count) =>
        Join([0x5B, 0x80], Path(name), [0x01], Integer(first), Integer((ulong)count));

    /// <summary>DefField: names for the 32-bit registers of a region, one after the other; each access is of all 32 bits.</summary>
    internal static byte[] DwordFields(string region, params string[] names)
    {
        const byte dwordAccess = 3;
        const byte writeAsZeros = 2 << 5;
        const byte bits = 32;
        byte[] fields = [];
        foreach (string name in names)
        {
            fields = Join(fields, Path(name), [bits]);
        }

        return WithLength([0x5B, 0x81], Join(Path(region), [dwordAccess | writeAsZeros], fields));
    }

    /// <summary>DefStore.</summary>
    internal static byte[] Store(byte[] value, byte[] target) => Join([0x70], value, target);

    /// <summary>DefAnd, with its value only.</summary>
    internal static byte[] And(byte[] left, byte[] right) => Join([0x7B], left, right, [0]);

    /// <summary>DefIfElse without an else.</summary>
    internal static byte[] If(byte[] condition, params byte[][] terms) => WithLength([0xA0], Join(condition, Join(terms)));

    /// <summary>DefNotify: tells the system of something about a device. ACPI 6.4, "Device Object Notifications".</summary>
    internal static byte[] Notify(string device, int value) => Join([0x86], Path(device), Integer((ulong)value));

    /// <summary>A string of ASCII.</summary>
    internal static byte[] Text(string text) => [0x0D, .. Encoding.ASCII.GetBytes(text), 0];

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
