namespace Hull.Xen;

/// <summary>The values that HVMOP_get_param and HVMOP_set_param move. Xen, public/hvm/params.h.</summary>
internal sealed class HvmParameters
{
    internal const uint CallbackIrq = 0;
    internal const uint StoreFrame = 1;
    internal const uint StoreEventChannel = 2;
    internal const uint ConsoleFrame = 17;
    internal const uint ConsoleEventChannel = 18;

    /// <summary>Parameters that there are, HVM_NR_PARAMS.</summary>
    internal const uint Count = 39;

    private readonly ulong[] _values = new ulong[Count];

    /// <summary>A parameter; the index is below <see cref="Count"/>.</summary>
    internal ulong this[uint index]
    {
        get => _values[index];
        set => _values[index] = value;
    }

    /// <summary>True for those that a guest may set itself.</summary>
    internal static bool IsGuestWritable(uint index) => index is CallbackIrq or 4 or 30 or 33;
}
