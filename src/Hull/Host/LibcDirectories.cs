using System;
using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>
/// The libc calls on files by directory and name, which .NET has only by path. A name is bytes with a zero behind them.
/// All return -1 on failure, errno in the P/Invoke error.
/// </summary>
internal static partial class LibcDirectories
{
    internal const int ReadOnly = 0;
    internal const int WriteOnly = 1;
    internal const int ReadWrite = 2;
    internal const int AccessMode = 3;
    internal const int Create = 0x40;
    internal const int Exclusive = 0x80;
    internal const int NoTerminal = 0x100;
    internal const int Truncate = 0x200;
    internal const int Append = 0x400;
    internal const int NonBlocking = 0x800;
    internal const int DataSync = 0x1000;
    internal const int Directory = 0x1_0000;
    internal const int NoFollow = 0x2_0000;
    internal const int CloseOnExec = 0x8_0000;
    internal const int Sync = 0x10_1000;
    internal const int PathOnly = 0x20_0000;

    /// <summary>"The current directory" in place of a directory's descriptor.</summary>
    internal const int CurrentDirectory = -100;

    internal const int LinkItself = 0x100;
    internal const int RemoveDirectory = 0x200;
    internal const int FollowLink = 0x400;
    internal const int NoAutomount = 0x800;
    internal const int EmptyPath = 0x1000;

    /// <summary>statx: the basic fields and the time of birth.</summary>
    internal const uint StatusMask = 0xFFF;

    /// <summary>utimensat: the current time, in place of nanoseconds.</summary>
    internal const long TimeNow = (1 << 30) - 1;

    /// <summary>utimensat: leave it, in place of nanoseconds.</summary>
    internal const long TimeOmit = (1 << 30) - 2;

    /// <summary>fallocate(2).</summary>
    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    internal static partial int Fallocate(int fd, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true)]
    internal static partial int OpenAt(int directory, ReadOnlySpan<byte> name, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true)]
    internal static partial int Statx(int directory, ReadOnlySpan<byte> name, int flags, uint mask, out FileStatus status);

    [LibraryImport("libc", EntryPoint = "readlinkat", SetLastError = true)]
    internal static partial nint ReadLinkAt(int directory, ReadOnlySpan<byte> name, Span<byte> buffer, nuint size);

    [LibraryImport("libc", EntryPoint = "symlinkat", SetLastError = true)]
    internal static partial int SymLinkAt(ReadOnlySpan<byte> target, int directory, ReadOnlySpan<byte> name);

    [LibraryImport("libc", EntryPoint = "mkdirat", SetLastError = true)]
    internal static partial int MkdirAt(int directory, ReadOnlySpan<byte> name, uint mode);

    [LibraryImport("libc", EntryPoint = "mknodat", SetLastError = true)]
    internal static partial int MkNodAt(int directory, ReadOnlySpan<byte> name, uint mode, ulong device);

    [LibraryImport("libc", EntryPoint = "unlinkat", SetLastError = true)]
    internal static partial int UnlinkAt(int directory, ReadOnlySpan<byte> name, int flags);

    [LibraryImport("libc", EntryPoint = "renameat2", SetLastError = true)]
    internal static partial int RenameAt(
        int oldDirectory, ReadOnlySpan<byte> oldName, int newDirectory, ReadOnlySpan<byte> newName, uint flags);

    [LibraryImport("libc", EntryPoint = "linkat", SetLastError = true)]
    internal static partial int LinkAt(
        int oldDirectory, ReadOnlySpan<byte> oldName, int newDirectory, ReadOnlySpan<byte> newName, int flags);

    [LibraryImport("libc", EntryPoint = "fchownat", SetLastError = true)]
    internal static partial int ChownAt(int directory, ReadOnlySpan<byte> name, uint uid, uint gid, int flags);

    [LibraryImport("libc", EntryPoint = "fchmodat", SetLastError = true)]
    internal static partial int ChmodAt(int directory, ReadOnlySpan<byte> name, uint mode, int flags);

    /// <summary>utimensat(2): seconds and nanoseconds of the access, then of the change.</summary>
    [LibraryImport("libc", EntryPoint = "utimensat", SetLastError = true)]
    internal static partial int SetTimesAt(int directory, ReadOnlySpan<byte> name, ReadOnlySpan<long> times, int flags);

    /// <summary>fstatfs(2): 15 words: type, block size, blocks, free, available, files, free, id, name length, fragment...</summary>
    [LibraryImport("libc", EntryPoint = "fstatfs", SetLastError = true)]
    internal static partial int FileSystemStatus(int fd, Span<long> status);

    [LibraryImport("libc", EntryPoint = "getdents64", SetLastError = true)]
    internal static partial nint GetEntries(int fd, Span<byte> buffer, nuint size);

    [LibraryImport("libc", EntryPoint = "pread64", SetLastError = true)]
    internal static partial nint ReadAt(int fd, Span<byte> buffer, nuint count, long offset);

    [LibraryImport("libc", EntryPoint = "pwrite64", SetLastError = true)]
    internal static partial nint WriteAt(int fd, ReadOnlySpan<byte> buffer, nuint count, long offset);

    [LibraryImport("libc", EntryPoint = "copy_file_range", SetLastError = true)]
    internal static partial nint CopyRange(int from, ref long fromOffset, int to, ref long toOffset, nuint length, uint flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    internal static partial int SyncFile(int fd);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    internal static partial int SyncData(int fd);

    [LibraryImport("libc", EntryPoint = "syncfs", SetLastError = true)]
    internal static partial int SyncFileSystem(int fd);

    [LibraryImport("libc", EntryPoint = "getxattr", SetLastError = true)]
    internal static partial nint GetAttribute(ReadOnlySpan<byte> path, ReadOnlySpan<byte> name, Span<byte> value, nuint size);

    [LibraryImport("libc", EntryPoint = "setxattr", SetLastError = true)]
    internal static partial int SetAttribute(
        ReadOnlySpan<byte> path, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value, nuint size, int flags);

    [LibraryImport("libc", EntryPoint = "listxattr", SetLastError = true)]
    internal static partial nint ListAttributes(ReadOnlySpan<byte> path, Span<byte> names, nuint size);

    [LibraryImport("libc", EntryPoint = "removexattr", SetLastError = true)]
    internal static partial int RemoveAttribute(ReadOnlySpan<byte> path, ReadOnlySpan<byte> name);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    internal static partial uint EffectiveUser();

    [LibraryImport("libc", EntryPoint = "getegid")]
    internal static partial uint EffectiveGroup();

    /// <summary>getrlimit(2): the soft limit, then the hard one.</summary>
    [LibraryImport("libc", EntryPoint = "getrlimit", SetLastError = true)]
    internal static partial int GetLimit(int resource, Span<ulong> limits);

    /// <summary>getrlimit: the number of open files.</summary>
    internal const int OpenFilesLimit = 7;
}
