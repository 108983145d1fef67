using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;

namespace Hull.Memory;

/// <summary>Told when somebody other than translated code writes bytes from which code was translated.</summary>
internal interface ICodeWatcher
{
    /// <summary>Bytes of RAM changed. Called on the writer's thread, after the write.</summary>
    /// <param name="offset">Offset in RAM (see <see cref="GuestMemory.OffsetOf"/>).</param>
    /// <param name="length">Bytes.</param>
    void CodeWritten(ulong offset, ulong length);
}

/// <summary>
/// What is known of each page of RAM: a word of 64 bits a page, one for each grain of 64 bytes, set where code was
/// translated from it. Every store that does not come from a vCPU's own code goes through <see cref="Written"/>, and can be logged.
/// </summary>
internal sealed unsafe class PageTracker : IDisposable
{
    private readonly ulong* _codeGrains;
    private readonly ulong _pages;
    private ICodeWatcher? _watcher;
    private ulong[]? _log;

    internal PageTracker(ulong pages)
    {
        _pages = pages;
        _codeGrains = (ulong*)NativeMemory.AllocZeroed((nuint)pages, sizeof(ulong));
    }

    /// <summary>The grains of the page that hold translated code; indexed by page of RAM, not by guest frame.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ref ulong CodeGrains(ulong page)
    {
        if (page >= _pages)
        {
            ThrowPage();
        }

        return ref _codeGrains[page];
    }

    /// <summary>Names the engine that wants to know of writes to code.</summary>
    internal void Watch(ICodeWatcher watcher) => _watcher = watcher;

    /// <summary>Starts or ends the log of pages that others than vCPUs write; it starts empty.</summary>
    internal void LogWrites(bool on) => Volatile.Write(ref _log, on ? new ulong[(_pages + 63) / 64] : null);

    /// <summary>Fetches and clears the log. Any thread.</summary>
    /// <param name="pages">Gets a bit a written page, by offset in the mapping; other bits stay.</param>
    internal void CollectWrites(Span<ulong> pages)
    {
        ulong[] log = Volatile.Read(ref _log) ?? [];
        for (int word = 0; word < Math.Min(log.Length, pages.Length); word++)
        {
            pages[word] |= Volatile.Read(ref log[word]) == 0 ? 0 : Interlocked.Exchange(ref log[word], 0);
        }
    }

    /// <summary>A device, a loader or an assist wrote [offset, offset+length) of RAM.</summary>
    internal void Written(ulong offset, ulong length)
    {
        if (length == 0)
        {
            return;
        }

        if (Volatile.Read(ref _log) is ulong[] log)
        {
            Log(log, offset, length);
        }

        if (_watcher is null)
        {
            return;
        }

        // The write is in memory before the marks are read: a translator marks first and reads the bytes then.
        Interlocked.MemoryBarrier();
        ulong last = (offset + length - 1) / GuestMemory.PageSize;
        for (ulong page = offset / GuestMemory.PageSize; page <= last; page++)
        {
            if (Volatile.Read(ref _codeGrains[page]) != 0)
            {
                _watcher.CodeWritten(offset, length);
                return;
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => NativeMemory.Free(_codeGrains);

    // The bytes are there before the bit is: who takes the bit sees them, and who took it too early finds another.
    private static void Log(ulong[] log, ulong offset, ulong length)
    {
        ulong last = (offset + length - 1) / GuestMemory.PageSize;
        for (ulong page = offset / GuestMemory.PageSize; page <= last; page++)
        {
            ulong bit = 1UL << (int)(page % 64);
            Interlocked.Or(ref log[page / 64], bit);
        }
    }

    private static void ThrowPage() => throw new ArgumentOutOfRangeException("page");
}
