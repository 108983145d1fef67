using Hull.Host;

namespace Hull.Files.Fuse;

/// <summary>What FUSE says about a file, from what the host says.</summary>
internal sealed class FuseAttrs(FileTree tree, uint validSeconds)
{
    internal FuseAttrOut AttrOut(in FileStatus status) => new(validSeconds, 0, 0, Attr(status));

    internal FuseEntryOut Entry(FileNode node, in FileStatus status) =>
        new(node.Id, 0, validSeconds, validSeconds, 0, 0, Attr(status));

    /// <summary>Nothing has this name, and that holds for a while too.</summary>
    internal FuseEntryOut Absent() => new(0, 0, validSeconds, 0, 0, 0, default);

    private FuseAttr Attr(in FileStatus status) => new(
        tree.GuestInode(status),
        status.Size,
        status.Blocks,
        (ulong)status.Accessed.Seconds,
        (ulong)status.Modified.Seconds,
        (ulong)status.Changed.Seconds,
        status.Accessed.Nanoseconds,
        status.Modified.Nanoseconds,
        status.Changed.Nanoseconds,
        status.Mode,
        status.Links,
        tree.Owners.GuestUser(status.Uid),
        tree.Owners.GuestGroup(status.Gid),
        DeviceNumber(status.SpecialMajor, status.SpecialMinor),
        status.BlockSize,
        0);

    // As the kernel packs one in 32 bits.
    private static uint DeviceNumber(uint major, uint minor) => (minor & 0xFF) | (major << 8) | ((minor & ~0xFFu) << 12);
}
