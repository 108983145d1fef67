using System;

namespace Hull.Cpu.Mmu;

/// <summary>What an access wants. Bits as in the page-fault error code: write 1, user 2, fetch 4 are derived from it.</summary>
[Flags]
internal enum Access : uint
{
    /// <summary>A data load at the current privilege level.</summary>
    Load = 0,

    /// <summary>A data store (or a read-modify-write) at the current privilege level.</summary>
    Store = 1,

    /// <summary>An instruction fetch.</summary>
    Fetch = 2,

    /// <summary>An implicit supervisor access: descriptor tables, TSS, IDT, interrupt frames to an inner stack.</summary>
    System = 4,

    /// <summary>Through SS: an address that is not canonical raises #SS instead of #GP.</summary>
    Stack = 8,
}
