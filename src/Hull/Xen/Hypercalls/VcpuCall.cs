using System;

namespace Hull.Xen.Hypercalls;

/// <summary>vcpu_op: a vCPU's shared areas and its timer. Xen, public/vcpu.h.</summary>
internal static class VcpuCall
{
    private const uint InFutureOnly = 1;

    internal static long Do(in Hypercall call)
    {
        if (call[1] >= (ulong)call.Domain.Vcpus.Count)
        {
            return XenError.NoEntry;
        }

        DomainVcpu vcpu = call.Domain.Vcpus[(int)call[1]];
        return call.Word(0) switch
        {
            1 => Up(vcpu),
            2 => Down(call, vcpu),
            3 => vcpu.IsDown ? 0 : 1,
            4 => Runstate(call, vcpu, 2),
            5 => RegisterRunstate(call, vcpu),
            7 => 0, // there is no periodic timer to stop
            8 => SetTimer(call, vcpu),
            9 => StopTimer(vcpu),
            10 => RegisterInfo(call, vcpu),
            13 => RegisterTime(call, vcpu),
            _ => XenError.NoSystemCall,
        };
    }

    private static long Up(DomainVcpu vcpu)
    {
        vcpu.IsDown = false;
        return vcpu.Info is null ? XenError.Invalid : 0;
    }

    // QUIRK: VCPUOP_down is noted, and the vCPU runs on. Guests use it around a change of another vCPU's areas after a resume, while
    // that one waits for them; they switch a vCPU off by HLT.
    private static long Down(in Hypercall call, DomainVcpu vcpu)
    {
        vcpu.IsDown = true;
        foreach (DomainVcpu other in call.Domain.Vcpus)
        {
            if (!other.IsDown)
            {
                return 0;
            }
        }

        call.Domain.ShutDown(ShutdownReason.PowerOff);
        return 0;
    }

    private static long RegisterInfo(in Hypercall call, DomainVcpu vcpu) => call.TryLoad(2, out InfoRequest request)
        ? vcpu.RegisterInfo(request.Frame, request.Offset)
        : XenError.Fault;

    // The area's address is in the argument's structure.
    private static long RegisterRunstate(in Hypercall call, DomainVcpu vcpu)
    {
        if (!call.TryLoadWord(2, 0, out ulong area))
        {
            return XenError.Fault;
        }

        ObserveOwn(call, vcpu);
        vcpu.Runstate.Register(area, call.Registers);
        return 0;
    }

    // Another's is as it was when it called last.
    private static void ObserveOwn(in Hypercall call, DomainVcpu vcpu)
    {
        if (vcpu == call.Vcpu)
        {
            vcpu.Runstate.Observe();
        }
    }

    // The TSC is stable: what is written once stays right.
    private static long RegisterTime(in Hypercall call, DomainVcpu vcpu)
    {
        if (!call.TryLoad(2, out ulong area))
        {
            return XenError.Fault;
        }

        Span<byte> time = stackalloc byte[DomainVcpu.TimeLength];
        vcpu.FillTime(time);
        return area == 0 || call.Registers.TryStore(area, time) ? 0 : XenError.Fault;
    }

    private static long Runstate(in Hypercall call, DomainVcpu vcpu, int argument)
    {
        ObserveOwn(call, vcpu);
        Span<byte> runstate = stackalloc byte[Xen.Runstate.Length];
        return call.TryStore(argument, vcpu.Runstate.Fill(runstate, call.Registers.Is64Bit)) ? 0 : XenError.Fault;
    }

    private static long SetTimer(in Hypercall call, DomainVcpu vcpu)
    {
        if (vcpu != call.Vcpu)
        {
            return XenError.Invalid;
        }

        if (!call.TryLoad(2, out TimerRequest request))
        {
            return XenError.Fault;
        }

        if ((request.Flags & InFutureOnly) != 0 && request.DeadlineNs < (ulong)call.Domain.Clock.NowNs)
        {
            return XenError.TimeOver;
        }

        vcpu.SetTimer((long)Math.Min(request.DeadlineNs, long.MaxValue));
        return 0;
    }

    private static long StopTimer(DomainVcpu vcpu)
    {
        vcpu.StopTimer();
        return 0;
    }

    private struct InfoRequest
    {
        internal ulong Frame;
        internal uint Offset;
        internal uint Pad;
    }

    private struct TimerRequest
    {
        internal ulong DeadlineNs;
        internal uint Flags;
        internal uint Pad;
    }
}
