namespace Hull.Xen.Hypercalls;

/// <summary>hvm_op: parameters, and the upcall's vector. Xen, public/hvm/hvm_op.h.</summary>
internal static class HvmCall
{
    private const ushort Self = 0x7FF0;
    private const uint FirstVector = 0x10;

    internal static long Do(in Hypercall call) => call.Word(0) switch
    {
        0 => SetParameter(call),
        1 => GetParameter(call),
        23 => SetUpcallVector(call),
        _ => XenError.NoSystemCall,
    };

    private static long SetUpcallVector(in Hypercall call)
    {
        if (!call.TryLoad(1, out VectorRequest request))
        {
            return XenError.Fault;
        }

        if (request.Vector < FirstVector)
        {
            return XenError.Invalid;
        }

        if (request.Vcpu >= (uint)call.Domain.Vcpus.Count)
        {
            return XenError.NoEntry;
        }

        // What became pending before there was a vector is told now.
        call.Domain.Vcpus[(int)request.Vcpu].UpcallVector = request.Vector;
        call.Domain.RequestUpcall((int)request.Vcpu);
        return 0;
    }

    private static long SetParameter(in Hypercall call)
    {
        long error = TryLoadRequest(call, out ParameterRequest request);
        if (error != 0)
        {
            return error;
        }

        if (!HvmParameters.IsGuestWritable(request.Index))
        {
            return XenError.NotPermitted;
        }

        call.Domain.Parameters[request.Index] = request.Value;
        return 0;
    }

    private static long GetParameter(in Hypercall call)
    {
        long error = TryLoadRequest(call, out ParameterRequest request);
        if (error != 0)
        {
            return error;
        }

        request.Value = call.Domain.Parameters[request.Index];
        return call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    private static long TryLoadRequest(in Hypercall call, out ParameterRequest request)
    {
        if (!call.TryLoad(1, out request))
        {
            return XenError.Fault;
        }

        return request.Index >= HvmParameters.Count ? XenError.Invalid
            : request.Domain != Self && request.Domain != call.Domain.Id ? XenError.NoSuchDomain
            : 0;
    }

    private struct ParameterRequest
    {
        internal ushort Domain;
        internal ushort Pad;
        internal uint Index;
        internal ulong Value;
    }

    private struct VectorRequest
    {
        internal uint Vcpu;
        internal byte Vector;
        internal byte Pad1;
        internal ushort Pad2;
    }
}
