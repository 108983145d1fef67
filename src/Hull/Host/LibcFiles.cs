using System;
using System.IO;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Hull.Host;

/// <summary>What .NET's files lack: holes, data syncs and locks on byte ranges.</summary>
internal static partial class LibcFiles
{
    private const int KeepSize = 1;
    private const int PunchHole = 2;
    private const uint SyncFileRangeWrite = 2;
    private const int SetOpenFileLock = 37;
    private const int GetOpenFileLock = 36;
    private const short ReadLock = 0;
    private const short WriteLock = 1;
    private const short Unlocked = 2;
    private const int Again = 11;
    private const int AccessDenied = 13;
    private const int CurrentFolder = -100;
    private const int NoFollow = 0x100;
    private const int EmptyPath = 0x1000;
    private const uint TypeWanted = 1;
    private const uint ModeWanted = 2;
    private const uint LinksWanted = 4;
    private const uint UserWanted = 8;
    private const uint BlocksWanted = 0x400;
    private const uint GroupWanted = 0x10;
    private const int TypeMask = 0xF000;
    private const int RegularType = 0x8000;
    private const int FifoType = 0x1000;
    private const int SocketType = 0xC000;

    /// <summary>Gives a range of a file back to the host; it reads as zeros. fallocate(2), FALLOC_FL_PUNCH_HOLE.</summary>
    /// <returns>False when the file system cannot.</returns>
    internal static bool TryPunch(SafeFileHandle file, ulong offset, ulong length) =>
        Fallocate(file, KeepSize | PunchHole, (long)offset, (long)length) == 0;

    /// <summary>Returns when the file's bytes, and what is needed to find them, are on the disk. fdatasync(2).</summary>
    /// <exception cref="IOException">They are not.</exception>
    internal static void SyncData(SafeFileHandle file, string name)
    {
        if (Fdatasync(file) != 0)
        {
            throw new IOException($"cannot bring {name} to the disk: {Libc.LastErrorMessage()}");
        }
    }

    /// <summary>Reads from a file into several pieces of memory. preadv(2).</summary>
    /// <returns>Bytes read, fewer than asked for perhaps; 0 at the file's end; negative: see errno.</returns>
    internal static long Read(SafeFileHandle file, ReadOnlySpan<HostRange> pieces, ulong offset)
    {
        long count;
        do
        {
            count = Preadv(file, in MemoryMarshal.GetReference(pieces), pieces.Length, (long)offset);
        }
        while (count < 0 && Marshal.GetLastPInvokeError() == Errno.Interrupted);
        return count;
    }

    /// <summary>Starts to write a range's bytes to the disk; does not wait for them. sync_file_range(2).</summary>
    internal static void StartWriting(SafeFileHandle file, ulong offset, ulong length) =>
        _ = SyncFileRange(file, (long)offset, (long)length, SyncFileRangeWrite);

    /// <summary>Bytes of a file or a block device, of which fstat(2), and so .NET, says 0. lseek(2).</summary>
    /// <exception cref="IOException">It is neither.</exception>
    internal static long Length(SafeFileHandle file)
    {
        long end = Lseek(file, 0, Libc.SeekEnd);
        return end >= 0 ? end : throw new IOException($"no length: {Libc.LastErrorMessage()}");
    }

    /// <summary>The next byte at or behind an offset that is data, or that is in a hole. lseek(2), SEEK_DATA, SEEK_HOLE.</summary>
    /// <returns>Negative when there is none, or the file system does not know.</returns>
    internal static long Seek(SafeFileHandle file, ulong offset, bool hole) =>
        Lseek(file, (long)offset, hole ? Libc.SeekHole : Libc.SeekData);

    /// <summary>Takes a shared lock on one byte, for as long as the file is open. fcntl(2), "Open file description locks".</summary>
    /// <returns>False when somebody holds it alone. A file system without locks gives true.</returns>
    internal static bool TryLockShared(SafeFileHandle file, long at)
    {
        FileLock range = new() { Type = ReadLock, Start = at, Length = 1 };
        return Fcntl(file, SetOpenFileLock, ref range) == 0
            || Marshal.GetLastPInvokeError() is not (Again or AccessDenied);
    }

    /// <summary>Gives up the locks on some bytes, for a process too that was forked meanwhile and has the file still.</summary>
    internal static void Unlock(SafeFileHandle file, long at, long length)
    {
        FileLock range = new() { Type = Unlocked, Start = at, Length = length };
        _ = Fcntl(file, SetOpenFileLock, ref range);
    }

    /// <summary>True when somebody else holds a lock on a byte.</summary>
    internal static bool IsLockedByOthers(SafeFileHandle file, long at)
    {
        FileLock range = new() { Type = WriteLock, Start = at, Length = 1 };
        return Fcntl(file, GetOpenFileLock, ref range) == 0 && range.Type != Unlocked;
    }

    /// <summary>True when a path leads to a regular file: no folder, device, pipe or socket. statx(2).</summary>
    internal static bool IsRegular(string path)
    {
        FileStatus status = default;
        return Statx(CurrentFolder, path, 0, TypeWanted, ref status) == 0 && (status.Mode & TypeMask) == RegularType;
    }

    /// <summary>True when a path leads to a named pipe. statx(2).</summary>
    internal static bool IsFifo(string path)
    {
        FileStatus status = default;
        return Statx(CurrentFolder, path, 0, TypeWanted, ref status) == 0 && (status.Mode & TypeMask) == FifoType;
    }

    /// <summary>The group that a file belongs to; 0 when the host does not say. statx(2).</summary>
    internal static uint GroupOf(string path)
    {
        FileStatus status = default;
        return Statx(CurrentFolder, path, 0, GroupWanted, ref status) == 0 ? status.Gid : 0;
    }

    /// <summary>True when a path leads to a socket. statx(2).</summary>
    internal static bool IsSocket(string path)
    {
        FileStatus status = default;
        return Statx(CurrentFolder, path, 0, TypeWanted, ref status) == 0 && (status.Mode & TypeMask) == SocketType;
    }

    /// <summary>True when an open file has no name any more. statx(2).</summary>
    internal static bool IsRemoved(SafeFileHandle file)
    {
        FileStatus status = default;
        return Statx(file, "", EmptyPath, LinksWanted, ref status) == 0 && status.Links == 0;
    }

    /// <summary>True for a folder of a user's, not behind a link, with just these permissions. statx(2).</summary>
    internal static bool IsFolderOf(string path, uint user, uint permissions)
    {
        FileStatus status = default;
        return Statx(CurrentFolder, path, NoFollow, TypeWanted | ModeWanted | UserWanted, ref status) == 0
            && (status.Mode & TypeMask) == FileKind.Directory && status.Uid == user && (status.Mode & FileKind.Permissions) == permissions;
    }

    /// <summary>Bytes that a file takes on the host's disk; 0 when the host does not say. statx(2).</summary>
    internal static ulong TakenBytes(string path)
    {
        FileStatus status = default;
        return Statx(CurrentFolder, path, 0, BlocksWanted, ref status) == 0 ? status.Blocks * 512 : 0;
    }

    /// <summary>chmod(2).</summary>
    [LibraryImport("libc", EntryPoint = "chmod", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int ChangeMode(string path, uint mode);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, ref FileStatus status);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(SafeFileHandle folder, string path, int flags, uint mask, ref FileStatus status);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Fallocate(SafeFileHandle fd, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "preadv", SetLastError = true)]
    private static partial nint Preadv(SafeFileHandle fd, in HostRange first, int count, long offset);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int Fdatasync(SafeFileHandle fd);

    [LibraryImport("libc", EntryPoint = "sync_file_range", SetLastError = true)]
    private static partial int SyncFileRange(SafeFileHandle fd, long offset, long length, uint flags);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial long Lseek(SafeFileHandle fd, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Fcntl(SafeFileHandle fd, int command, ref FileLock range);

    /// <summary>struct flock of x86-64 Linux.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct FileLock
    {
        internal short Type;
        internal short Whence;
        internal long Start;
        internal long Length;
        internal int Process;
    }

    /// <summary>struct statx; what Hull does not look at is only room.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct FileStatus
    {
        [FieldOffset(16)]
        internal uint Links;

        [FieldOffset(20)]
        internal uint Uid;

        [FieldOffset(24)]
        internal uint Gid;

        [FieldOffset(28)]
        internal ushort Mode;

        [FieldOffset(48)]
        internal ulong Blocks;
    }
}
