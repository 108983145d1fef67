namespace Hull.Xen.Grants;

/// <summary>An entry of a grant table, of either version. Xen, public/grant_table.h, "grant_entry_header".</summary>
/// <param name="Word">Flags in the lower half, the domain that may use the page in the upper.</param>
/// <param name="Frame">The page.</param>
/// <param name="Use">What is done with it now: <see cref="Reading"/>, <see cref="Writing"/>.</param>
internal readonly record struct GrantEntry(uint Word, ulong Frame, uint Use)
{
    internal const uint Reading = 1 << 3;
    internal const uint Writing = 1 << 4;
    internal const uint UseMask = Reading | Writing;

    private const uint TypeMask = 3;
    private const uint PermitAccess = 1;
    private const uint ReadOnly = 1 << 2;
    private const uint SubPage = 1 << 8;

    /// <summary>True when it grants the use of a whole page; parts of pages and others' grants (version 2) are not taken.</summary>
    internal bool IsAccess => (Word & (TypeMask | SubPage)) == PermitAccess;

    /// <summary>The page is not to be written.</summary>
    internal bool IsReadOnly => (Word & ReadOnly) != 0;

    /// <summary>The domain that may use it.</summary>
    internal int Domain => (int)(Word >> 16);
}
