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
            HypercallNumber.MemoryOp => MemoryCall.Do(call),
            HypercallNumber.Multicall => MulticallCall.Do(call),
            HypercallNumber.XenVersion => XenVersionCall.Do(call),
            HypercallNumber.ConsoleIo => ConsoleIoCall.Do(call),
            HypercallNumber.GrantTableOp => GrantCall.Do(call),
            HypercallNumber.VmAssist => VmAssistCall.Do(call),
            HypercallNumber.VcpuOp => VcpuCall.Do(call),
            HypercallNumber.SchedOp => SchedCall.Do(call),
            HypercallNumber.EventChannelOp => EventChannelCall.Do(call),
            HypercallNumber.HvmOp => HvmCall.Do(call),
            _ => XenError.NoSystemCall,
        };
}
