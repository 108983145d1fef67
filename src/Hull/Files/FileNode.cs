using Hull.Host;

namespace Hull.Files;

/// <summary>What tells a file from all others: number, device, and the time of birth, for numbers are used again.</summary>
internal readonly record struct NodeKey(ulong Device, ulong Inode, long BornSeconds, uint BornNs, uint Kind)
{
    internal static NodeKey Of(in FileStatus status) =>
        new(status.Device, status.Inode, status.Born.Seconds, status.Born.Nanoseconds, status.Kind);
}

/// <summary>
/// A file of the tree that the guest knows. It is found again by its folder and name, and is itself only while its key is
/// the same: what somebody else put in its place is not it. Its state belongs to <see cref="NodeTable"/> and
/// <see cref="DescriptorCache"/>, under their locks.
/// </summary>
internal sealed class FileNode(ulong id, NodeKey key, FileNode? parent, byte[] name)
{
    /// <summary>The number that the guest has for it; never given twice.</summary>
    internal ulong Id => id;

    /// <summary>What it is; of the root another one when another folder has taken its place.</summary>
    internal NodeKey Key { get; set; } = key;

    internal bool IsDirectory => Key.Kind == FileKind.Directory;

    /// <summary>
    /// The top of one of the host's own file systems (proc, sysfs...) inside the tree: an empty directory for the guest, as
    /// their files are ways into the host's processes.
    /// </summary>
    internal bool IsHollow { get; init; }

    /// <summary>The folder and the name where it was seen last.</summary>
    internal NodePlace Place { get; set; } = new(parent, name);

    /// <summary>How often the guest was told of it, less what it forgot. Under the table's lock.</summary>
    internal ulong Lookups { get; set; }

    /// <summary>Its O_PATH descriptor, if one is kept. Under the cache's lock.</summary>
    internal HostDescriptor? Descriptor { get; set; }

    /// <summary>Used since the cache looked last. Under the cache's lock.</summary>
    internal bool IsRecent { get; set; }

    /// <summary>Without a name any more: it is only to be had through its descriptor. Under the cache's lock.</summary>
    internal bool IsNameless { get; set; }

    /// <summary>The guest knows it no more. Under the cache's lock.</summary>
    internal bool IsForgotten { get; set; }
}

/// <summary>A name in a folder. One object, so that both change at once.</summary>
internal sealed record NodePlace(FileNode? Parent, byte[] Name);
