using System;
using System.Runtime.InteropServices;

namespace Hull.Xen.Hypercalls;

/// <summary>
/// Hypercalls for a domain that has privileges over others. A guest has none; what it is told depends on how far Xen has looked at the
/// arguments by then. The numbers are real Xen 4.17's (tests/xen/probe).
/// </summary>
internal static class PrivilegedCalls
{
    private const int PlatformSize = 136;
    private const int SysctlSize = 136;
    private const int DomctlSize = 144;
    private const uint PlatformVersion = 0x0300_0000;
    private const uint ControlVersion = 0x15;
    private const uint MostBuffers = 3;

    internal static long Platform(in Hypercall call) => Versioned(call, PlatformSize, PlatformVersion);

    internal static long Sysctl(in Hypercall call) => Versioned(call, SysctlSize, ControlVersion);

    internal static long Domctl(in Hypercall call) => Versioned(call, DomctlSize, ControlVersion);

    /// <summary>mmuext_op: page tables are the guest's own affair. Nothing at all to do is no error to a 32-bit caller.</summary>
    internal static long Mmuext(in Hypercall call) =>
        call.Registers.Is64Bit || call.Word(1) != 0 ? XenError.NotPermitted : 0;

    /// <summary>dm_op: what device models ask for, with a list of buffers.</summary>
    internal static long DeviceModel(in Hypercall call)
    {
        uint count = call.Word(1);
        if (count is 0 or > MostBuffers)
        {
            return count == 0 ? XenError.NoData : XenError.TooMuch;
        }

        // A buffer is a pointer and a length, each as long as a word.
        Span<byte> buffers = stackalloc byte[(int)MostBuffers * 2 * sizeof(ulong)];
        ushort domain = (ushort)call.Word(0);
        return !call.TryLoad(2, buffers[..((int)count * 2 * call.WordBytes)]) ? XenError.Fault
            : domain == call.Domain.Id ? XenError.NotPermitted
            : domain == DomainNumber.Control ? XenError.Invalid // it is no HVM guest
            : XenError.NoSuchDomain;
    }

    // The command's version stands in its second word.
    private static long Versioned(in Hypercall call, int size, uint version)
    {
        Span<byte> structure = stackalloc byte[DomctlSize];
        return !call.TryLoad(0, structure[..size]) ? XenError.Fault
            : MemoryMarshal.Read<uint>(structure[sizeof(uint)..]) == version ? XenError.NotPermitted
            : XenError.AccessDenied;
    }
}
