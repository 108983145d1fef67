using System;
using System.Runtime.CompilerServices;

namespace Hull.Cpu.Assist;

/// <summary>
/// What string instructions do to elements in host memory. <see cref="StringRuns"/> has made sure that a run lies inside one host
/// page for each operand.
/// </summary>
internal static unsafe class StringElements
{
    /// <summary>
    /// Copies element by element as the CPU would see it: where the destination starts inside the part of the source that
    /// is still to be read, the pattern repeats.
    /// </summary>
    internal static void Copy(byte* destination, byte* source, uint bytes, in StringContext context)
    {
        // SAFETY: both runs lie inside one host page each; RunLength has made sure of that.
        bool repeats = context.Backward
            ? destination < source && destination + bytes > source
            : destination > source && destination < source + bytes;
        if (!repeats)
        {
            Buffer.MemoryCopy(source, destination, bytes, bytes);
            return;
        }

        uint distance = (uint)Math.Abs(destination - source);
        if (context.Backward || distance < (uint)context.Size)
        {
            CopyElements(destination, source, bytes, context);
            return;
        }

        for (uint done = 0; done < bytes;)
        {
            uint piece = Math.Min(distance, bytes - done);
            Buffer.MemoryCopy(source + done, destination + done, piece, piece);
            done += piece;
        }
    }

    private static void CopyElements(byte* destination, byte* source, uint bytes, in StringContext context)
    {
        uint size = (uint)context.Size;
        for (uint done = 0; done < bytes; done += size)
        {
            uint at = context.Backward ? bytes - size - done : done;
            // SAFETY: at + size is at most bytes, the run that the caller checked.
            Write(destination + at, context.Size, Read(source + at, context.Size));
        }
    }

    /// <summary>Writes one value again and again.</summary>
    internal static void Fill(byte* at, int count, int size, ulong value)
    {
        // SAFETY: count * size bytes from here lie inside one host page; RunLength has made sure of that.
        switch (size)
        {
            case 1:
                new Span<byte>(at, count).Fill((byte)value);
                break;
            case 2:
                new Span<ushort>(at, count).Fill((ushort)value);
                break;
            case 4:
                new Span<uint>(at, count).Fill((uint)value);
                break;
            default:
                new Span<ulong>(at, count).Fill(value);
                break;
        }
    }

    /// <summary>Reads one element.</summary>
    // SAFETY of both: the callers keep the element inside a checked host page.
    internal static ulong Read(byte* at, int size) => size switch
    {
        1 => *at,
        2 => Unsafe.ReadUnaligned<ushort>(at),
        4 => Unsafe.ReadUnaligned<uint>(at),
        _ => Unsafe.ReadUnaligned<ulong>(at),
    };

    private static void Write(byte* at, int size, ulong value)
    {
        switch (size)
        {
            case 1:
                *at = (byte)value;
                break;
            case 2:
                Unsafe.WriteUnaligned(at, (ushort)value);
                break;
            case 4:
                Unsafe.WriteUnaligned(at, (uint)value);
                break;
            default:
                Unsafe.WriteUnaligned(at, value);
                break;
        }
    }

    /// <summary>Elements that certainly do not stop a forward scan; the one behind them is looked at as usual.</summary>
    internal static ulong SkipScanned(in StringContext context, byte* host, int run, ulong value)
    {
        // SAFETY: RunLength keeps all elements of the run inside the page that FindHost gave.
        return context.Backward ? 0 : context.Size switch
        {
            1 => Skip(new ReadOnlySpan<byte>(host, run), (byte)value, context),
            2 => Skip(new ReadOnlySpan<ushort>(host, run), (ushort)value, context),
            4 => Skip(new ReadOnlySpan<uint>(host, run), (uint)value, context),
            _ => Skip(new ReadOnlySpan<ulong>(host, run), value, context),
        };
    }

    private static ulong Skip<T>(ReadOnlySpan<T> elements, T value, in StringContext context)
        where T : unmanaged, IEquatable<T>
    {
        int found = context.StopsWhenEqual ? elements.IndexOf(value)
            : context.StopsWhenDifferent ? elements.IndexOfAnyExcept(value) : 0;
        return (ulong)(found < 0 ? elements.Length - 1 : found);
    }

    /// <summary>Elements that are equal at the start of a forward REPE CMPS, short of the last.</summary>
    internal static ulong SkipEqual(in StringContext context, byte* left, byte* right, int run)
    {
        if (context.Backward || !context.StopsWhenDifferent)
        {
            return 0;
        }

        // SAFETY: RunLength keeps all elements of the run inside the pages that FindHost gave.
        int bytes = run * context.Size;
        int equal = new ReadOnlySpan<byte>(left, bytes).CommonPrefixLength(new ReadOnlySpan<byte>(right, bytes));
        return (ulong)Math.Min(equal / context.Size, run - 1);
    }
}
