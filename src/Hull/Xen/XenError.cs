namespace Hull.Xen;

/// <summary>Xen's error numbers; a hypercall returns them negated. Xen, public/errno.h.</summary>
internal static class XenError
{
    internal const long NotPermitted = -1;
    internal const long NoEntry = -2;
    internal const long NoSuchDomain = -3;
    internal const long NoSuchAddress = -6;
    internal const long TooMuch = -7;
    internal const long AccessDenied = -13;
    internal const long Fault = -14;
    internal const long Busy = -16;
    internal const long Exists = -17;
    internal const long NoDevice = -19;
    internal const long Invalid = -22;
    internal const long NoSpace = -28;
    internal const long OutOfDomain = -33;
    internal const long NoSystemCall = -38;
    internal const long NoData = -61;
    internal const long IllegalSequence = -84;
    internal const long NotSupported = -95;
}
