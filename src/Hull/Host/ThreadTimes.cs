using System;
using System.Buffers.Text;
using System.IO;
using Microsoft.Win32.SafeHandles;

namespace Hull.Host;

/// <summary>
/// How long threads have run and have waited for a processor, each as it sees itself. proc(5), "/proc/pid/schedstat";
/// clock_gettime(2), CLOCK_THREAD_CPUTIME_ID.
/// </summary>
/// <param name="count">Threads, numbered from 0 by who asks.</param>
internal sealed unsafe class ThreadTimes(int count)
{
    private const int MostText = 64;

    // A thread opens its own file at its first question; null for one whose host does not count.
    private readonly SafeFileHandle?[] _files = new SafeFileHandle?[count];
    private readonly bool[] _asked = new bool[count];

    /// <summary>The calling thread's times, in ns; always the same thread for a number.</summary>
    internal (long RunNs, long WaitNs) ReadOwn(int number)
    {
        if (!_asked[number])
        {
            _asked[number] = true;
            _files[number] = OpenOwn();
        }

        TimeSpec run;

        // SAFETY: the call fills the local that it is given.
        _ = LibcTime.ClockGetTime(LibcTime.ClockThreadCpu, &run);
        return ((run.Seconds * 1_000_000_000) + run.Nanoseconds, _files[number] is { } file ? ReadWait(file) : 0);
    }

    // "ns-run ns-waited slices"
    private static long ReadWait(SafeFileHandle file)
    {
        Span<byte> text = stackalloc byte[MostText];
        try
        {
            text = text[..RandomAccess.Read(file, text, 0)];
        }
        catch (IOException)
        {
            return 0;
        }

        int space = text.IndexOf((byte)' ');
        return Utf8Parser.TryParse(text[(space + 1)..], out long wait, out _) ? wait : 0;
    }

    private static SafeFileHandle? OpenOwn()
    {
        try
        {
            return File.OpenHandle("/proc/thread-self/schedstat");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null; // a kernel without CONFIG_SCHED_INFO
        }
    }
}
