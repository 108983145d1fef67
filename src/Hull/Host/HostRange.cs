using System;
using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>
/// A piece of this process's memory outside the collector's heap, as preadv(2) takes it: struct iovec. Who made it keeps the
/// memory mapped for as long as anybody has it.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly unsafe struct HostRange
{
    private readonly byte* _at;
    private readonly nint _length;

    internal HostRange(byte* at, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        _at = at;
        _length = length;
    }

    /// <summary>Bytes.</summary>
    internal int Length => (int)_length;

    /// <summary>The bytes themselves.</summary>
    // SAFETY: whoever made the range has the memory mapped, as the type's comment says.
    internal Span<byte> Bytes => new(_at, (int)_length);

    /// <summary>What is left behind the first bytes.</summary>
    internal HostRange From(int offset)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)offset, (uint)_length);
        return new HostRange(_at + offset, (int)_length - offset);
    }

    /// <summary>Joins a range with the one behind it in memory.</summary>
    /// <returns>False when they do not adjoin, or are too long together.</returns>
    internal bool TryJoin(HostRange next, out HostRange both)
    {
        bool adjoins = _at + _length == next._at && _length + next._length <= int.MaxValue;
        both = adjoins ? new HostRange(_at, (int)(_length + next._length)) : default;
        return adjoins;
    }
}
