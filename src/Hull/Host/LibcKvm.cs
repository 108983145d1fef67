using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>The libc calls for /dev/kvm, and signals to a thread of this process.</summary>
internal static unsafe partial class LibcKvm
{
    internal const int SaRestart = 0x1000_0000;

    /// <summary>ioctl(2) with a pointer.</summary>
    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Ioctl(int fd, nuint request, void* argument);

    /// <summary>ioctl(2) with a number, or none.</summary>
    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Ioctl(int fd, nuint request, nuint argument);

    /// <summary>gettid(2).</summary>
    [LibraryImport("libc", EntryPoint = "gettid")]
    internal static partial int GetThreadId();

    /// <summary>tgkill(2).</summary>
    [LibraryImport("libc", EntryPoint = "tgkill", SetLastError = true)]
    internal static partial int SignalThread(int process, int thread, int signal);
}
