using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hull.Files.Fuse;

/// <summary>
/// Where an answer's body goes: the room that the guest gave, and how much of it is used. What does not fit is left out
/// and noticed.
/// </summary>
internal ref struct FuseAnswer(Span<byte> room)
{
    private readonly Span<byte> _room = room;

    /// <summary>Bytes of the body.</summary>
    internal int Length { get; private set; }

    /// <summary>What is not used yet.</summary>
    internal readonly Span<byte> Rest => _room[Length..];

    /// <summary>True when a struct still fits.</summary>
    internal readonly bool HasRoomFor<T>()
        where T : unmanaged => Rest.Length >= Unsafe.SizeOf<T>();

    /// <summary>Adds a struct, if it fits.</summary>
    internal void Put<T>(in T value)
        where T : unmanaged
    {
        if (MemoryMarshal.TryWrite(Rest, value))
        {
            Length += Unsafe.SizeOf<T>();
        }
    }

    /// <summary>Bytes were written to <see cref="Rest"/>.</summary>
    internal void Advance(int count) => Length += count;
}
