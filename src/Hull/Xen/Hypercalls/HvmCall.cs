namespace Hull.Xen.Hypercalls;

/// <summary>hvm_op: parameters, the upcall's vector, and what a guest may ask of its memory. Xen, public/hvm/hvm_op.h.</summary>
internal static class HvmCall
{
    private const uint FirstVector = 0x10;

    // HVMMEM_ram_rw and HVMMEM_mmio_dm.
    private const ushort Ram = 0;
    private const ushort Mmio = 2;

    private const uint MostTraceBytes = 28;
    private const uint MostTraceEvent = 0xFFF;

    internal static long Do(in Hypercall call) => call.Word(0) switch
    {
        0 => SetParameter(call),
        1 => GetParameter(call),
        5 or 24 => call[1] == 0 ? 0 : XenError.Invalid, // flush_tlbs, guest_request_vm_event: no argument, and nothing to do
        9 => PagetableDying(call),
        10 => GetTime(call),
        11 => Trace(call),
        15 => GetMemoryType(call),
        23 => SetUpcallVector(call),
        25 => XenError.NotSupported, // altp2m
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

        if (!HvmParameters.IsWithinSegment(request.Index, request.Value))
        {
            call.Domain.ShutDown(ShutdownReason.Crash); // so does Xen
            return XenError.Invalid;
        }

        if (request.Index == HvmParameters.CallbackIrq)
        {
            call.Domain.SharedInfo.Latch(call.Registers.Is64Bit);
        }

        error = call.Domain.Parameters.Set(request.Index, request.Value);
        if (request.Index == HvmParameters.CallbackIrq)
        {
            foreach (DomainVcpu vcpu in call.Domain.Vcpus)
            {
                vcpu.RequestPending();
            }
        }

        return error;
    }

    private static long GetParameter(in Hypercall call)
    {
        long error = TryLoadRequest(call, out ParameterRequest request);
        if (error == 0)
        {
            error = call.Domain.Parameters.Get(request.Index, out request.Value);
        }

        return error != 0 ? error : call.TryStore(1, request) ? 0 : XenError.Fault;
    }

    private static long TryLoadRequest(in Hypercall call, out ParameterRequest request) =>
        !call.TryLoad(1, out request) ? XenError.Fault
        : request.Index >= HvmParameters.Count ? XenError.Invalid
        : call.CheckDomain(request.Domain, XenError.Invalid); // dom0 is no HVM guest

    // There are no shadow page tables that would have to be told.
    private static long PagetableDying(in Hypercall call)
    {
        if (!call.TryLoad(1, out DyingRequest request))
        {
            return XenError.Fault;
        }

        long error = call.CheckDomain(request.Domain, XenError.NotSupported);
        return error != 0 ? error : XenError.Invalid;
    }

    private static long GetTime(in Hypercall call) => call.TryStore(1, call.Domain.SystemTime.NowNs) ? 0 : XenError.Fault;

    // Xen's trace buffer: nobody has started it.
    private static long Trace(in Hypercall call) => !call.TryLoad(1, out TraceRequest request) ? XenError.Fault
        : request.ExtraBytes > MostTraceBytes || request.Event > MostTraceEvent ? XenError.Invalid
        : 0;

    private static long GetMemoryType(in Hypercall call)
    {
        if (!call.TryLoad(1, out TypeRequest request))
        {
            return XenError.Fault;
        }

        long error = call.CheckDomain(request.Domain);
        if (error != 0)
        {
            return error;
        }

        request.Type = call.Domain.Reservation.Has(request.Frame) ? Ram : Mmio;
        return call.TryStore(1, request) ? 0 : XenError.Fault;
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

    private struct DyingRequest
    {
        internal ushort Domain;
        internal ushort Pad1;
        internal uint Pad2;
        internal ulong Address;
    }

    private struct TraceRequest
    {
        internal ushort Event;
        internal ushort ExtraBytes;
        internal uint Extra1;
        internal ulong Extra2;
        internal ulong Extra3;
        internal ulong Extra4;
    }

    private struct TypeRequest
    {
        internal ushort Domain;
        internal ushort Type;
        internal uint Pad;
        internal ulong Frame;
    }
}
