using Hull.Memory;

namespace Hull.Xen.Grants;

/// <summary>A part of a page.</summary>
internal readonly record struct GrantedPart(int Offset, int Length)
{
    /// <summary>True when bytes are inside it.</summary>
    internal bool Holds(int offset, int length) => offset >= Offset && offset + length <= Offset + Length;
}

/// <summary>An entry of a grant table, of either version. Xen, public/grant_table.h, "grant_entry_header".</summary>
/// <param name="Word">Flags in the lower half, the domain that may use the page in the upper.</param>
/// <param name="Frame">The page.</param>
/// <param name="Use">What is done with it now: <see cref="Reading"/>, <see cref="Writing"/>.</param>
/// <param name="Part">Of a part of a page: its offset in the lower half, its bytes in the upper. Version 2.</param>
internal readonly record struct GrantEntry(uint Word, ulong Frame, uint Use, uint Part = 0)
{
    internal const uint Reading = 1 << 3;
    internal const uint Writing = 1 << 4;
    internal const uint UseMask = Reading | Writing;

    private const uint TypeMask = 3;
    private const uint PermitAccess = 1;
    private const uint ReadOnly = 1 << 2;
    private const uint SubPage = 1 << 8;

    /// <summary>True when it grants the use of a whole page.</summary>
    internal bool IsAccess => (Word & (TypeMask | SubPage)) == PermitAccess;

    /// <summary>True when it grants the use of a page, or of a part of one, which may only be copied.</summary>
    internal bool IsCopyable => (Word & TypeMask) == PermitAccess;

    /// <summary>What may be used of the page.</summary>
    internal GrantedPart Granted => (Word & SubPage) == 0
        ? new GrantedPart(0, GuestMemory.PageSize)
        : new GrantedPart((ushort)Part, (int)(Part >> 16));

    /// <summary>The page is not to be written.</summary>
    internal bool IsReadOnly => (Word & ReadOnly) != 0;

    /// <summary>The domain that may use it.</summary>
    internal int Domain => (int)(Word >> 16);
}
