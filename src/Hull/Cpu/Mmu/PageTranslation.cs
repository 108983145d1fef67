namespace Hull.Cpu.Mmu;

/// <summary>A linear page, translated.</summary>
internal unsafe struct PageTranslation
{
    /// <summary>The guest-physical page.</summary>
    internal ulong PhysicalPage;

    /// <summary>The host page; null when it is not RAM.</summary>
    internal byte* Host;

    /// <summary>A store at the same privilege would succeed without any further walk (the D bit is set).</summary>
    internal bool Writable;

    /// <summary>A user page (U/S set in every level).</summary>
    internal bool User;

    /// <summary>A global translation.</summary>
    internal bool Global;

    /// <summary>The size of the page as the tables have it, as a power of two.</summary>
    internal int PageBits;
}
