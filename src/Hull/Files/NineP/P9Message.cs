using System;
using System.Buffers.Binary;

namespace Hull.Files.NineP;

/// <summary>Requests of 9P2000.L; the answer's number is one higher. Linux, include/net/9p/9p.h.</summary>
internal enum P9Type : byte
{
    Error = 6,
    StatFs = 8,
    Open = 12,
    Create = 14,
    SymLink = 16,
    MkNod = 18,
    Rename = 20,
    ReadLink = 22,
    GetAttr = 24,
    SetAttr = 26,
    XAttrWalk = 30,
    XAttrCreate = 32,
    ReadDir = 40,
    FSync = 50,
    Lock = 52,
    GetLock = 54,
    Link = 70,
    MkDir = 72,
    RenameAt = 74,
    UnlinkAt = 76,
    Version = 100,
    Attach = 104,
    Flush = 108,
    Walk = 110,
    Read = 116,
    Write = 118,
    Clunk = 120,
    Remove = 122,
}

/// <summary>Takes a message apart. What is not there reads as zeros, and <see cref="IsShort"/> says so at the end.</summary>
internal ref struct P9Reader(ReadOnlySpan<byte> bytes)
{
    private ReadOnlySpan<byte> _bytes = bytes;

    /// <summary>More was read than there is.</summary>
    internal bool IsShort { get; private set; }

    internal byte Byte() => Bytes(1) is [byte value] ? value : (byte)0;

    internal ushort Word() => Bytes(2) is { Length: 2 } part ? BinaryPrimitives.ReadUInt16LittleEndian(part) : (ushort)0;

    internal uint Double() => Bytes(4) is { Length: 4 } part ? BinaryPrimitives.ReadUInt32LittleEndian(part) : 0;

    internal ulong Quad() => Bytes(8) is { Length: 8 } part ? BinaryPrimitives.ReadUInt64LittleEndian(part) : 0;

    /// <summary>A string: its length, then its bytes.</summary>
    internal ReadOnlySpan<byte> String() => Bytes(Word());

    internal ReadOnlySpan<byte> Bytes(uint count)
    {
        if (count > _bytes.Length)
        {
            IsShort = true;
            return default;
        }

        ReadOnlySpan<byte> part = _bytes[..(int)count];
        _bytes = _bytes[(int)count..];
        return part;
    }
}

/// <summary>Puts an answer's body together. What does not fit is left out, and <see cref="IsFull"/> says so.</summary>
internal ref struct P9Writer(Span<byte> room)
{
    private readonly Span<byte> _room = room;

    /// <summary>Bytes of the body.</summary>
    internal int Length { get; private set; }

    /// <summary>Something did not fit.</summary>
    internal bool IsFull { get; private set; }

    /// <summary>What is not used yet.</summary>
    internal readonly Span<byte> Rest => _room[Length..];

    internal void Byte(byte value) => Take(1)[0] = value;

    internal void Word(int value) => BinaryPrimitives.WriteUInt16LittleEndian(Take(2), (ushort)value);

    internal void Double(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Take(4), value);

    internal void Quad(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Take(8), value);

    internal void String(scoped ReadOnlySpan<byte> value)
    {
        Word(value.Length);
        value.CopyTo(Take(value.Length));
    }

    /// <summary>A qid: kind, version, number.</summary>
    internal void Qid(P9Qid qid)
    {
        Byte(qid.Kind);
        Double(qid.Version);
        Quad(qid.Path);
    }

    /// <summary>Bytes were written to <see cref="Rest"/>.</summary>
    internal void Advance(int count) => Length += count;

    private Span<byte> Take(int count)
    {
        if (count > Rest.Length)
        {
            IsFull = true;
            return new byte[count];
        }

        Span<byte> part = Rest[..count];
        Length += count;
        return part;
    }
}

/// <summary>What the server calls a file: its kind, a version that changes with it, and its number.</summary>
internal readonly record struct P9Qid(byte Kind, uint Version, ulong Path)
{
    internal const int Bytes = 13;
    internal const byte Folder = 0x80;
    internal const byte Link = 2;
}
