namespace Hull.Xen;

/// <summary>Xen's error numbers; a hypercall returns them negated. Xen, public/errno.h.</summary>
internal static class XenError
{
    internal const long NotPermitted = -1;
    internal const long NoEntry = -2;
    internal const long NoSuchDomain = -3;
    internal const long Fault = -14;
    internal const long Exists = -17;
    internal const long Invalid = -22;
    internal const long NoSpace = -28;
    internal const long NoSystemCall = -38;
    internal const long TimeOver = -62;
    internal const long NotSupported = -95;
}
