using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>A growing array in native memory, so that large tables cost the garbage collector nothing.</summary>
internal sealed unsafe class NativeList<T> : IDisposable
    where T : unmanaged
{
    private T* _items;
    private int _capacity;

    internal NativeList(int capacity)
    {
        _capacity = capacity;
        _items = (T*)NativeMemory.Alloc((nuint)capacity, (nuint)sizeof(T));
    }

    /// <summary>Items in use.</summary>
    internal int Count { get; private set; }

    /// <summary>An item. The reference is good until the next <see cref="Add"/>.</summary>
    internal ref T this[int index]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            if ((uint)index >= (uint)Count)
            {
                ThrowIndex();
            }

            return ref _items[index];
        }
    }

    /// <summary>Appends an item and returns its index.</summary>
    internal int Add(in T item)
    {
        if (Count == _capacity)
        {
            _capacity *= 2;
            _items = (T*)NativeMemory.Realloc(_items, (nuint)_capacity * (nuint)sizeof(T));
        }

        _items[Count] = item;
        return Count++;
    }

    /// <summary>Drops all items; keeps the memory.</summary>
    internal void Clear() => Count = 0;

    /// <inheritdoc/>
    public void Dispose()
    {
        NativeMemory.Free(_items);
        _items = null;
        Count = 0;
        _capacity = 0;
    }

    private static void ThrowIndex() => throw new ArgumentOutOfRangeException("index");
}
