using Hull.Host;

namespace Hull.Files;

/// <summary>
/// Whose the files are. Hull as root can give them to anybody: owners pass through. Any other user's files belong to the
/// guest's root, so that tools that ask whose a tree is are content, and a change of owner does nothing.
/// </summary>
internal readonly struct FileOwners(uint user, uint group)
{
    /// <summary>"Leave it", for chown.</summary>
    internal const uint Same = uint.MaxValue;

    /// <summary>True when owners pass through.</summary>
    internal bool PassThrough => user == 0;

    /// <summary>The owners for the process that this is.</summary>
    internal static FileOwners OfThisProcess() => new(LibcDirectories.EffectiveUser(), LibcDirectories.EffectiveGroup());

    internal uint GuestUser(uint uid) => uid == user ? 0 : uid;

    internal uint GuestGroup(uint gid) => PassThrough || gid != group ? gid : 0;
}
