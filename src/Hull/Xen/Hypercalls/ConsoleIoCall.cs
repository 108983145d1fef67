namespace Hull.Xen.Hypercalls;

/// <summary>
/// console_io: Xen's own console. A guest without privilege may write to it in a debug build only; Hull answers as a release.
/// Xen, public/xen.h, "CONSOLEIO_*".
/// </summary>
internal static class ConsoleIoCall
{
    internal static long Do(in Hypercall call)
    {
        _ = call;
        return XenError.NotPermitted;
    }
}
