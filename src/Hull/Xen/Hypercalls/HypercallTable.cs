namespace Hull.Xen.Hypercalls;

/// <summary>Which hypercalls a domain has. Under the domain's lock.</summary>
internal static class HypercallTable
{
    /// <summary>Does one call.</summary>
    /// <returns>Its result; errors are negative.</returns>
    internal static long Call(in Hypercall call, ulong number)
    {
        if (call.Domain.Tracer is not HypercallTracer tracer)
        {
            return Do(call, number);
        }

        string description = HypercallTracer.Describe(call, number);
        long result = Do(call, number);
        tracer.Done(call, number, description, result);
        return result;
    }

    private static long Do(in Hypercall call, ulong number) => number > uint.MaxValue
        ? XenError.NoSystemCall
        : (HypercallNumber)number switch
        {
            HypercallNumber.PlatformOp => PrivilegedCalls.Platform(call),
            HypercallNumber.MemoryOp => MemoryCall.Do(call),
            HypercallNumber.Multicall => MulticallCall.Do(call),
            HypercallNumber.SetTimerOp => VcpuCall.SetTimerOp(call),
            HypercallNumber.XenVersion => XenVersionCall.Do(call),
            HypercallNumber.ConsoleIo => XenError.NotPermitted, // Xen's own console is dom0's
            HypercallNumber.GrantTableOp => GrantCall.Do(call),
            HypercallNumber.VmAssist => VmAssistCall.Do(call),
            HypercallNumber.VcpuOp => VcpuCall.Do(call),
            HypercallNumber.MmuextOp => PrivilegedCalls.Mmuext(call),
            HypercallNumber.SchedOp => SchedCall.Do(call),
            HypercallNumber.EventChannelOp => EventChannelCall.Do(call),
            HypercallNumber.HvmOp => HvmCall.Do(call),
            HypercallNumber.Sysctl => PrivilegedCalls.Sysctl(call),
            HypercallNumber.Domctl or HypercallNumber.PagingDomctl => PrivilegedCalls.Domctl(call),
            HypercallNumber.XenpmuOp => XenError.NotSupported, // no performance counters for guests
            HypercallNumber.DmOp => PrivilegedCalls.DeviceModel(call),
            HypercallNumber.HypfsOp => XenError.NotPermitted,
            _ => XenError.NoSystemCall,
        };
}
