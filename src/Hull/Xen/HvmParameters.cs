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

    private const ulong TypeVector = 2;
    private const uint Vm86Segment = 15;
    private const uint AcpiPorts = 19;
    private const uint GenerationIdAddress = 34;
    private const uint SecondViews = 35;
    private const uint FipWidth = 36;
    private const uint Vm86SizedSegment = 37;

    // A task state segment's 104 bytes at the least, 128 when only its address is given.
    private const uint LeastSegment = 104;
    private const ulong UsualSegment = 128UL << 32;

    private readonly ulong[] _values = new ulong[Count];

    /// <summary>A parameter; the index is below <see cref="Count"/>.</summary>
    internal ulong this[uint index]
    {
        get => _values[index];
        set => _values[index] = value;
    }

    /// <summary>HVM_PARAM_CALLBACK_IRQ: the vector of vCPUs without one of their own, past their local APICs; 0: none.</summary>
    internal byte CallbackVector => _values[CallbackIrq] >> 56 == TypeVector ? (byte)_values[CallbackIrq] : (byte)0;

    /// <summary>HVMOP_get_param.</summary>
    /// <returns>0, or an error.</returns>
    internal long Get(uint index, out ulong value)
    {
        value = index == Vm86Segment ? (uint)_values[Vm86SizedSegment] : _values[index];
        return IsGone(index) ? XenError.Invalid
            : IsGuestWritable(index) || index is StoreFrame or ConsoleFrame or AcpiPorts or SecondViews ? 0
            : XenError.NotPermitted;
    }

    /// <summary>HVMOP_set_param.</summary>
    /// <returns>0, or an error.</returns>
    internal long Set(uint index, ulong value)
    {
        if (IsGone(index) || (index == FipWidth && value is not (0 or 4 or 8)))
        {
            return XenError.Invalid;
        }

        if (!IsGuestWritable(index))
        {
            return index == AcpiPorts ? XenError.NoDevice : XenError.NotPermitted; // ports of a device model's
        }

        bool isAddress = index == Vm86Segment;
        _values[isAddress ? Vm86SizedSegment : index] = isAddress ? value | UsualSegment : value;
        return 0;
    }

    /// <summary>False for a task state segment that is too short or beyond 4 GiB, with which Xen ends a guest.</summary>
    internal static bool IsWithinSegment(uint index, ulong value) => index switch
    {
        Vm86Segment => value <= uint.MaxValue,
        Vm86SizedSegment => value >> 32 >= LeastSegment,
        _ => true,
    };

    private static bool IsGuestWritable(uint index) => index
        is CallbackIrq or StoreEventChannel or ConsoleEventChannel or Vm86Segment or Vm86SizedSegment or GenerationIdAddress
        or FipWidth;

    // Numbers that Xen has used once.
    private static bool IsGone(uint index) => index is 4 or 13 or (>= 20 and <= 26) or 30;
}
