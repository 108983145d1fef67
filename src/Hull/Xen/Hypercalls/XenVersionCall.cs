using System;
using System.Runtime.InteropServices;
using System.Text;

namespace Hull.Xen.Hypercalls;

/// <summary>xen_version: what Xen it is. Xen, public/version.h.</summary>
internal static class XenVersionCall
{
    private const uint WritablePageTables = 1 << 0;
    private const uint AutoTranslated = 1 << 2;
    private const uint CallbackVector = 1 << 8;
    private const uint SafePvClock = 1 << 9;
    private const uint VirtualNodes = 1 << 13;
    private const uint NotDirectMapped = 1 << 16;
    private const uint PageSize = 4096;

    internal static long Do(in Hypercall call) => call.Word(0) switch
    {
        0 => (XenVersion.Major << 16) | XenVersion.Minor,
        1 => Text(call, XenVersion.Extra, 16),
        2 => Compilation(call),
        3 => Text(call, XenVersion.Capabilities, 1024),
        4 => Text(call, "", 64),
        5 => Start(call),
        6 => Features(call),
        7 => call[1] == 0 ? PageSize : XenError.Invalid, // it has no argument
        8 => Text(call, "", 16),
        9 => Text(call, "<denied>", "<denied>".Length + 1), // Xen's own command line is nobody's business
        10 => XenError.NotPermitted,
        _ => XenError.NoSystemCall,
    };

    // A field of fixed length, filled with zeros.
    private static long Text(in Hypercall call, string text, int length)
    {
        Span<byte> field = stackalloc byte[length];
        field.Clear();
        Encoding.ASCII.GetBytes(text, field[..^1]);
        return call.TryStore(1, field) ? 0 : XenError.Fault;
    }

    // Compiler, who, where and when.
    private static long Compilation(in Hypercall call)
    {
        Span<byte> fields = stackalloc byte[64 + 16 + 32 + 32];
        fields.Clear();
        Encoding.ASCII.GetBytes(RuntimeInformation.FrameworkDescription, fields[..63]);
        return call.TryStore(1, fields) ? 0 : XenError.Fault;
    }

    // Where Xen's own part of a PV guest's memory begins; a 32-bit guest is told 0.
    private static long Start(in Hypercall call)
    {
        ulong start = call.Registers.Is64Bit ? 0xFFFF_8000_0000_0000 : 0;
        return call.TryStore(1, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in start))[..call.WordBytes]) ? 0 : XenError.Fault;
    }

    private static long Features(in Hypercall call)
    {
        if (!call.TryLoad(1, out FeatureInfo info))
        {
            return XenError.Fault;
        }

        if (info.Index != 0)
        {
            return XenError.Invalid;
        }

        info.Bits = WritablePageTables | AutoTranslated | CallbackVector | SafePvClock | VirtualNodes | NotDirectMapped;
        return call.TryStore(1, info) ? 0 : XenError.Fault;
    }

    private struct FeatureInfo
    {
        internal uint Index;
        internal uint Bits;
    }
}
