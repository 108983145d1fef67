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
/// translated from it. Every store that does not come from a translated block goes through <see cref="Written"/>.
/// </summary>
internal sealed unsafe class PageTracker : IDisposable
{
    private readonly ulong* _codeGrains;
    private readonly ulong _pages;
    private ICodeWatcher? _watcher;

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

    /// <summary>A device, a loader or an assist wrote [offset, offset+length) of RAM.</summary>
    internal void Written(ulong offset, ulong length)
    {
        if (_watcher is null || length == 0)
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

    private static void ThrowPage() => throw new ArgumentOutOfRangeException("page");
}
