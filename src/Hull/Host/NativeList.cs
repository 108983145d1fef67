using System;
using System.Runtime.CompilerServices;
using System.Threading;

namespace Hull.Host;

/// <summary>
/// A list in reserved address space. Items never move, so other threads may read those that were there when they looked,
/// without a lock; adding and clearing need one. The host gives pages as they are touched.
/// </summary>
internal sealed unsafe class NativeList<T> : IDisposable
    where T : unmanaged
{
    private readonly nuint _bytes;
    private T* _items;
    private int _count;

    /// <summary>Reserves room for <paramref name="capacity"/> items.</summary>
    /// <exception cref="HullException">The host gives no address space.</exception>
    internal NativeList(int capacity)
    {
        Capacity = capacity;
        _bytes = (nuint)capacity * (nuint)sizeof(T);
        _items = (T*)Libc.MapOrThrow(
            _bytes,
            Libc.ProtRead | Libc.ProtWrite,
            Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve,
            -1,
            "the engine's tables");
    }

    /// <summary>Items that fit.</summary>
    internal int Capacity { get; }

    /// <summary>Items in use.</summary>
    internal int Count => _count;

    /// <summary>An item. The reference is good until the list is disposed of.</summary>
    internal ref T this[int index]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            if ((uint)index >= (uint)_count)
            {
                ThrowIndex();
            }

            return ref _items[index];
        }
    }

    /// <summary>Appends an item and returns its index.</summary>
    /// <exception cref="InvalidOperationException">The list is full: its user was to look first.</exception>
    internal int Add(in T item)
    {
        int index = _count;
        if (index == Capacity)
        {
            ThrowFull();
        }

        // Whoever sees the new count sees the item.
        _items[index] = item;
        Volatile.Write(ref _count, index + 1);
        return index;
    }

    /// <summary>Drops all items; keeps the memory.</summary>
    internal void Clear() => _count = 0;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_items != null)
        {
            _count = 0;
            _ = Libc.Munmap(_items, _bytes);
            _items = null;
        }
    }

    private static void ThrowIndex() => throw new ArgumentOutOfRangeException("index");

    private static void ThrowFull() => throw new InvalidOperationException("the engine's table is full");
}
