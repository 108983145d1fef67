using System.Runtime.InteropServices;

namespace Hull.Files.Fuse;

/// <summary>What a request asks for. Linux, include/uapi/linux/fuse.h.</summary>
internal enum FuseOpcode : uint
{
    Lookup = 1,
    Forget = 2,
    GetAttr = 3,
    SetAttr = 4,
    ReadLink = 5,
    SymLink = 6,
    MkNod = 8,
    MkDir = 9,
    Unlink = 10,
    RmDir = 11,
    Rename = 12,
    Link = 13,
    Open = 14,
    Read = 15,
    Write = 16,
    StatFs = 17,
    Release = 18,
    FSync = 20,
    SetXAttr = 21,
    GetXAttr = 22,
    ListXAttr = 23,
    RemoveXAttr = 24,
    Init = 26,
    OpenDir = 27,
    ReadDir = 28,
    ReleaseDir = 29,
    FSyncDir = 30,
    Create = 35,
    Interrupt = 36,
    Destroy = 38,
    BatchForget = 42,
    FAllocate = 43,
    ReadDirPlus = 44,
    Rename2 = 45,
    LSeek = 46,
    CopyFileRange = 47,
    SyncFs = 50,
}

/// <summary>What both sides can do, as far as Hull does it.</summary>
internal static class FuseInit
{
    internal const uint Major = 7;
    internal const uint Minor = 36;
    internal const uint AsyncRead = 1 << 0;
    internal const uint AtomicTruncate = 1 << 3;
    internal const uint BigWrites = 1 << 5;
    internal const uint AutoInvalidate = 1 << 12;
    internal const uint DoReadDirPlus = 1 << 13;
    internal const uint ReadDirPlusAuto = 1 << 14;
    internal const uint ParallelFolders = 1 << 18;
    internal const uint MaxPages = 1 << 22;
    internal const uint CacheSymLinks = 1 << 23;
    internal const uint KillPrivilegesV2 = 1 << 28;

    internal const uint Offered = AsyncRead | AtomicTruncate | BigWrites | AutoInvalidate | DoReadDirPlus | ReadDirPlusAuto
        | ParallelFolders | MaxPages | CacheSymLinks | KillPrivilegesV2;
}

/// <summary>struct fuse_in_header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseInHeader(
    uint Length, FuseOpcode Opcode, ulong Unique, ulong Node, uint Uid, uint Gid, uint Pid, uint Extension);

/// <summary>struct fuse_out_header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseOutHeader(uint Length, int Error, ulong Unique);

/// <summary>struct fuse_attr.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseAttr(
    ulong Inode, ulong Size, ulong Blocks, ulong Accessed, ulong Modified, ulong Changed, uint AccessedNs, uint ModifiedNs,
    uint ChangedNs, uint Mode, uint Links, uint Uid, uint Gid, uint Device, uint BlockSize, uint Flags);

/// <summary>struct fuse_attr_out.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseAttrOut(ulong ValidSeconds, uint ValidNs, uint Dummy, FuseAttr Attr);

/// <summary>struct fuse_entry_out. Node 0: the name is known not to be there.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseEntryOut(
    ulong Node, ulong Generation, ulong EntrySeconds, ulong AttrSeconds, uint EntryNs, uint AttrNs, FuseAttr Attr);

/// <summary>struct fuse_init_in, its first form.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseInitIn(uint Major, uint Minor, uint ReadAhead, uint Flags);

/// <summary>struct fuse_init_out.</summary>
[StructLayout(LayoutKind.Sequential, Size = 64)]
internal readonly record struct FuseInitOut(
    uint Major, uint Minor, uint ReadAhead, uint Flags, ushort Background, ushort Congestion, uint MaxWrite,
    uint TimeGranularity, ushort MaxPages, ushort MapAlignment);

/// <summary>struct fuse_setattr_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseSetAttrIn(
    uint Valid, uint Padding, ulong Handle, ulong Size, ulong LockOwner, ulong Accessed, ulong Modified, ulong Changed,
    uint AccessedNs, uint ModifiedNs, uint ChangedNs, uint Mode, uint Unused4, uint Uid, uint Gid, uint Unused5);

/// <summary>struct fuse_mknod_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseMkNodIn(uint Mode, uint Device, uint Umask, uint Padding);

/// <summary>struct fuse_create_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseCreateIn(uint Flags, uint Mode, uint Umask, uint OpenFlags);

/// <summary>struct fuse_open_out.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseOpenOut(ulong Handle, uint OpenFlags, uint Padding);

/// <summary>struct fuse_read_in, fuse_write_in: the same fields.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseTransferIn(
    ulong Handle, ulong Offset, uint Size, uint TransferFlags, ulong LockOwner, uint Flags, uint Padding);

/// <summary>struct fuse_kstatfs.</summary>
[StructLayout(LayoutKind.Sequential, Size = 80)]
internal readonly record struct FuseStatFs(
    ulong Blocks, ulong Free, ulong Available, ulong Files, ulong FreeFiles, uint BlockSize, uint NameLength, uint FragmentSize);

/// <summary>struct fuse_fallocate_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseAllocateIn(ulong Handle, ulong Offset, ulong Length, uint Mode, uint Padding);

/// <summary>struct fuse_lseek_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseSeekIn(ulong Handle, ulong Offset, uint Whence, uint Padding);

/// <summary>struct fuse_copy_file_range_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseCopyIn(
    ulong Handle, ulong Offset, ulong Node, ulong TargetHandle, ulong TargetOffset, ulong Length, ulong Flags);

/// <summary>struct fuse_dirent, less the name.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseEntry(ulong Inode, ulong Offset, uint NameLength, uint Kind);

/// <summary>Two words of 32 bits: what many requests and answers are.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FusePair(uint First, uint Second);

/// <summary>Two words of 64 bits: struct fuse_forget_one.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FuseForget(ulong Node, ulong Lookups);
