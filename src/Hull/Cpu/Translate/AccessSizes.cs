namespace Hull.Cpu.Translate;

/// <summary>The sizes of memory operands that have thunks of their own.</summary>
internal static class AccessSizes
{
    /// <summary>How many there are.</summary>
    internal const int Count = 8;

    /// <summary>Those before this one are looked up in the inline TLB.</summary>
    internal const int LookedUp = 6;

    /// <summary>The index of a size in bytes.</summary>
    internal static int IndexOf(int size) => size switch
    {
        1 => 0,
        2 => 1,
        4 => 2,
        8 => 3,
        16 => 4,
        32 => 5,
        10 => 6,
        _ => 7,
    };

    /// <summary>The size at an index. The last stands for sizes that always take the careful path when they may cross a page.</summary>
    internal static int At(int index) => index switch { 0 => 1, 1 => 2, 2 => 4, 3 => 8, 4 => 16, 5 => 32, 6 => 10, _ => 64 };
}
