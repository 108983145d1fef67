using System;
using System.Buffers.Binary;
using System.Text;

namespace Hull.Boot.Acpi;

/// <summary>
/// One table while it is built: the standard header, then fields in order. ACPI 6.4, "System Description
/// Table Header".
/// </summary>
internal sealed class AcpiTable
{
    /// <summary>Bytes of the header.</summary>
    internal const int HeaderSize = 36;

    private byte[] _bytes = new byte[256];
    private int _length = HeaderSize;

    /// <summary>Starts a table.</summary>
    internal AcpiTable(string signature, byte revision)
    {
        Encoding.ASCII.GetBytes(signature, _bytes);
        _bytes[8] = revision;
        "HULL  HULLPC  "u8.CopyTo(_bytes.AsSpan(10));
        BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(24), 1);
        "HULL"u8.CopyTo(_bytes.AsSpan(28));
        BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(32), 1);
    }

    /// <summary>Appends bytes.</summary>
    internal AcpiTable Add(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(Grow(bytes.Length));
        return this;
    }

    /// <summary>Appends one byte.</summary>
    internal AcpiTable Add8(int value)
    {
        Grow(1)[0] = (byte)value;
        return this;
    }

    /// <summary>Appends 16 bits.</summary>
    internal AcpiTable Add16(int value)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(Grow(2), (ushort)value);
        return this;
    }

    /// <summary>Appends 32 bits.</summary>
    internal AcpiTable Add32(uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(Grow(4), value);
        return this;
    }

    /// <summary>Appends 64 bits.</summary>
    internal AcpiTable Add64(ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(Grow(8), value);
        return this;
    }

    /// <summary>
    /// Appends a generic address of I/O ports. ACPI 6.4, "Generic Address Structure (GAS)".
    /// </summary>
    internal AcpiTable AddIo(ushort port, int bits, int accessSize) =>
        Add8(1).Add8(bits).Add8(0).Add8(accessSize).Add64(port);

    /// <summary>Appends a generic address that says "none".</summary>
    internal AcpiTable AddNoAddress() => Add(new byte[12]);

    /// <summary>The finished table, with length and check sum.</summary>
    internal byte[] Finish()
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(4), (uint)_length);
        _bytes[9] = 0;
        _bytes[9] = CheckSum(_bytes.AsSpan(0, _length));
        return _bytes[.._length];
    }

    /// <summary>The byte that makes the sum of all zero.</summary>
    internal static byte CheckSum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte one in bytes)
        {
            sum += one;
        }

        return (byte)-sum;
    }

    private Span<byte> Grow(int length)
    {
        if (_length + length > _bytes.Length)
        {
            Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, _length + length));
        }

        _length += length;
        return _bytes.AsSpan(_length - length, length);
    }
}
