using Hull.Memory;

namespace Hull.Xen;

/// <summary>
/// Pages that are no RAM of the guest's: the rings of console and store, at the places where Xen's toolstack puts them, and the
/// grant table's, which the guest places. They are spare pages of <see cref="GuestMemory"/>.
/// </summary>
internal static class SpecialPages
{
    /// <summary>Spare pages of a domain.</summary>
    internal const int SpareCount = SharedInfo + 1;

    /// <summary>The most frames of a grant table, as of Xen's toolstack.</summary>
    internal const int MostGrantFrames = 64;

    /// <summary>The spare page of the grant table's first frame.</summary>
    internal const int FirstGrantFrame = 2;

    /// <summary>The most frames of the words that say how entries of version 2 are used: two bytes for an entry of 16.</summary>
    internal const int MostStatusFrames = MostGrantFrames / 8;

    /// <summary>The spare page of the first of them.</summary>
    internal const int FirstStatusFrame = FirstGrantFrame + MostGrantFrames;

    /// <summary>The spare page that shared_info gets where it is not to lie in RAM.</summary>
    internal const int SharedInfo = FirstStatusFrame + MostStatusFrames;

    /// <summary>The guest's frame of the store's ring.</summary>
    internal const ulong StoreFrame = 0xF_EFFC;

    /// <summary>The guest's frame of the console's ring.</summary>
    internal const ulong ConsoleFrame = 0xF_EFFF;

    /// <summary>Puts the rings into a new domain.</summary>
    internal static void Place(Domain domain)
    {
        domain.Memory.Spare.TryPlace(StoreFrame * GuestMemory.PageSize, 0);
        domain.Memory.Spare.TryPlace(ConsoleFrame * GuestMemory.PageSize, 1);
    }
}
