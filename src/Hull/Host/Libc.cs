using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>The libc calls that Hull makes itself; everything else goes through the .NET libraries.</summary>
internal static unsafe partial class Libc
{
    internal const int ProtNone = 0;
    internal const int ProtRead = 1;
    internal const int ProtWrite = 2;
    internal const int ProtExec = 4;
    internal const int MapShared = 1;
    internal const int MapPrivate = 2;
    internal const int MapFixed = 0x10;
    internal const int MapAnonymous = 0x20;
    internal const int MapNoReserve = 0x4000;
    internal const int MapPopulate = 0x8000;

    /// <summary>mmap(2). Returns (void*)-1 on failure, errno in the P/Invoke error.</summary>
    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    internal static partial void* Mmap(void* address, nuint length, int protection, int flags, int fd, long offset);

    /// <summary>munmap(2).</summary>
    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    internal static partial int Munmap(void* address, nuint length);

    /// <summary>mprotect(2).</summary>
    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    internal static partial int Mprotect(void* address, nuint length, int protection);

    /// <summary>madvise(2).</summary>
    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    internal static partial int Madvise(void* address, nuint length, int advice);

    /// <summary>madvise: the pages of a shared mapping and of the file behind it are freed.</summary>
    internal const int AdviceRemove = 9;

    /// <summary>memfd_create(2).</summary>
    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int MemfdCreate(string name, uint flags);

    /// <summary>ftruncate(2).</summary>
    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    internal static partial int Ftruncate(int fd, long length);

    /// <summary>close(2).</summary>
    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    internal static partial int Close(int fd);

    /// <summary>lseek(2): here to find which parts of a memory file exist.</summary>
    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    internal static partial long Lseek(int fd, long offset, int whence);

    internal const int SeekEnd = 2;
    internal const int SeekData = 3;
    internal const int SeekHole = 4;

    internal const int SigIll = 4;
    internal const int SigBus = 7;
    internal const int SigFpe = 8;
    internal const int SigSegv = 11;
    internal const int SaSigInfo = 4;

    /// <summary>sigaction(2) as glibc has it.</summary>
    [LibraryImport("libc", EntryPoint = "sigaction", SetLastError = true)]
    internal static partial int SigAction(int signal, SignalAction* action, SignalAction* old);

    /// <summary>struct sigaction of x86-64 glibc.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct SignalAction
    {
        internal nint Handler;
        internal fixed ulong Mask[16];
        internal int Flags;
        internal nint Restorer;
    }

    /// <summary>Maps memory or says why not.</summary>
    /// <exception cref="HullException">The kernel refused; the message names the purpose and errno.</exception>
    internal static void* MapOrThrow(nuint length, int protection, int flags, int fd, string purpose)
    {
        void* at = Mmap(null, length, protection, flags, fd, 0);
        if (at == (void*)-1)
        {
            throw new HullException($"cannot map {length >> 20} MiB for {purpose}: {LastErrorMessage()}");
        }

        return at;
    }

    /// <summary>The text of errno of the last P/Invoke on this thread.</summary>
    internal static string LastErrorMessage() => Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError());
}
