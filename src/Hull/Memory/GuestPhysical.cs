namespace Hull.Memory;

/// <summary>A guest-physical address, in bytes.</summary>
public readonly record struct GuestPhysical(ulong Value)
{
    /// <summary>The frame number: the address divided by 4 KiB.</summary>
    public ulong Frame => Value >> 12;

    /// <summary>The address <paramref name="bytes"/> further on; wraps at 2^64, which no caller may rely on.</summary>
    public static GuestPhysical operator +(GuestPhysical at, ulong bytes) => new(at.Value + bytes);

    /// <summary>Adds a distance in bytes; the named form of the operator.</summary>
    public GuestPhysical Add(ulong bytes) => this + bytes;

    /// <inheritdoc/>
    public override string ToString() => $"0x{Value:x}";
}

/// <summary>A guest-linear address (after segmentation, before paging), in bytes.</summary>
public readonly record struct GuestLinear(ulong Value)
{
    /// <inheritdoc/>
    public override string ToString() => $"0x{Value:x}";
}
