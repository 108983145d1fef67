using System.Runtime.InteropServices;
using System.Threading;

namespace Hull.Host;

/// <summary>
/// The host files that are in a guest's memory. Where such a file is cut, or the host's disk is full, an access is a SIGBUS; the
/// process's handler (<c>Cpu.HostSignals</c>) looks here, puts a page of zeros in the lost one's place, and counts it. The
/// table is outside the collector's heap, as machine code reads it. mmap(2), "SIGBUS".
/// </summary>
internal static unsafe class MappedFiles
{
    /// <summary>Lines of the table.</summary>
    internal const int Lines = 64;

    /// <summary>Bytes of a line: start, length, pages lost.</summary>
    internal const int LineBytes = 24;

    private static readonly Lock Gate = new();

    /// <summary>The table, for the life of the process.</summary>
    internal static Line* Table { get; } = (Line*)NativeMemory.AllocZeroed(Lines, LineBytes);

    /// <summary>Adds the mapping of a file.</summary>
    /// <returns>Its number here.</returns>
    /// <exception cref="HullException">There are too many.</exception>
    internal static int Add(byte* start, ulong length)
    {
        lock (Gate)
        {
            for (int i = 0; i < Lines; i++)
            {
                if (Table[i].Length == 0)
                {
                    Table[i].Start = (ulong)start;
                    Table[i].Lost = 0;
                    Volatile.Write(ref Table[i].Length, length);
                    return i;
                }
            }
        }

        throw new HullException($"more than {Lines} files in guests' memory");
    }

    /// <summary>Pages of a file that are zeros now because the host had them no more, or had no room for them.</summary>
    internal static ulong LostPages(int number) => Volatile.Read(ref Table[number].Lost);

    /// <summary>Removes a mapping.</summary>
    internal static void Remove(int number) => Volatile.Write(ref Table[number].Length, 0);

    /// <summary>A line of the table.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Line
    {
        internal ulong Start;
        internal ulong Length;
        internal ulong Lost;
    }
}
