using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>struct statx: what a file is. statx(2).</summary>
[StructLayout(LayoutKind.Sequential, Size = 256)]
internal readonly struct FileStatus
{
    internal readonly uint Mask;
    internal readonly uint BlockSize;
    internal readonly ulong Attributes;
    internal readonly uint Links;
    internal readonly uint Uid;
    internal readonly uint Gid;

    /// <summary>The kind of file and its permissions.</summary>
    internal readonly ushort Mode;
    internal readonly ushort Padding;
    internal readonly ulong Inode;
    internal readonly ulong Size;

    /// <summary>In 512 bytes.</summary>
    internal readonly ulong Blocks;
    internal readonly ulong AttributesMask;
    internal readonly FileTime Accessed;
    internal readonly FileTime Born;
    internal readonly FileTime Changed;
    internal readonly FileTime Modified;
    internal readonly uint SpecialMajor;
    internal readonly uint SpecialMinor;
    internal readonly uint DeviceMajor;
    internal readonly uint DeviceMinor;

    /// <summary>The device that the file is on.</summary>
    internal ulong Device => ((ulong)DeviceMajor << 32) | DeviceMinor;

    /// <summary>The bits of the mode that say what kind of file it is: see <see cref="FileKind"/>.</summary>
    internal uint Kind => Mode & FileKind.Mask;
}

/// <summary>struct statx_timestamp.</summary>
[StructLayout(LayoutKind.Sequential, Size = 16)]
internal readonly struct FileTime
{
    internal readonly long Seconds;
    internal readonly uint Nanoseconds;
}

/// <summary>The kinds of files, as in a mode. inode(7).</summary>
internal static class FileKind
{
    internal const uint Mask = 0xF000;
    internal const uint Fifo = 0x1000;
    internal const uint Directory = 0x4000;
    internal const uint Regular = 0x8000;
    internal const uint Link = 0xA000;
    internal const uint Socket = 0xC000;

    /// <summary>Permissions, set-user-ID, set-group-ID and the sticky bit.</summary>
    internal const uint Permissions = 0xFFF;
    internal const uint SetUser = 0x800;
    internal const uint SetGroup = 0x400;
    internal const uint GroupExecute = 8;
}
