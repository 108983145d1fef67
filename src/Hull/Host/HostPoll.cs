using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>Several threads that wait for one event descriptor, of which one wakes each time. epoll(7).</summary>
internal static unsafe partial class HostPoll
{
    private const int CloseOnExec = 0x8_0000;
    private const int Add = 1;
    private const uint In = 1;
    private const uint EdgeTriggered = 1u << 31;

    /// <summary>Makes what <see cref="WaitForEdge"/> waits at.</summary>
    /// <returns>Its descriptor; negative, with errno, when there is none left.</returns>
    internal static int CreateEdgeTriggered(int descriptor)
    {
        int poll = EpollCreate(CloseOnExec);
        EpollEvent wanted = new() { Events = In | EdgeTriggered };
        if (poll >= 0 && EpollControl(poll, Add, descriptor, &wanted) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            _ = Libc.Close(poll);
            Marshal.SetLastPInvokeError(error);
            return -1;
        }

        return poll;
    }

    /// <summary>Waits until the descriptor is written to; what was written meanwhile counts as one.</summary>
    internal static void WaitForEdge(int poll)
    {
        EpollEvent got;
        while (EpollWait(poll, &got, 1, -1) < 0 && Marshal.GetLastPInvokeError() == Errno.Interrupted)
        {
        }
    }

    [LibraryImport("libc", EntryPoint = "epoll_create1", SetLastError = true)]
    private static partial int EpollCreate(int flags);

    [LibraryImport("libc", EntryPoint = "epoll_ctl", SetLastError = true)]
    private static partial int EpollControl(int poll, int operation, int fd, EpollEvent* wanted);

    [LibraryImport("libc", EntryPoint = "epoll_wait", SetLastError = true)]
    private static partial int EpollWait(int poll, EpollEvent* events, int most, int timeoutMs);

    /// <summary>struct epoll_event, packed on x86-64.</summary>
    [StructLayout(LayoutKind.Sequential, Pack = 1)]
    private struct EpollEvent
    {
        internal uint Events;
        internal ulong Data;
    }
}
