using System;

namespace Hull.Xen.Hypercalls;

/// <summary>vcpu_op: a vCPU's shared areas and its timer. Xen, public/vcpu.h.</summary>
internal static class VcpuCall
{
    private const long LeastPeriodNs = 1_000_000;

    // struct vcpu_hvm_context.
    private const int ContextSize = 128;

    // A deadline so far ahead is a mistake of an old Linux; Xen fires soon.
    private const long FarthestNs = 1L << 50;
    private const long SoonNs = 100_000_000;

    internal static long Do(in Hypercall call)
    {
        if (call[1] >= (ulong)call.Domain.Vcpus.Count)
        {
            return XenError.NoEntry;
        }

        DomainVcpu vcpu = call.Domain.Vcpus[(int)call[1]];
        return call.Word(0) switch
        {
            0 => Initialise(call, vcpu),
            1 => Up(vcpu),
            2 => Down(call, vcpu),
            3 => vcpu.IsDown || call.Domain.IsOffline(vcpu.Index) ? 0 : 1,
            4 => GetRunstate(call, vcpu),
            5 => RegisterRunstate(call, vcpu),
            6 => SetPeriodicTimer(call, vcpu),
            7 => StopPeriodicTimer(vcpu),
            8 => SetTimer(call, vcpu),
            9 => StopTimer(call, vcpu),
            10 => RegisterInfo(call, vcpu),
            11 => SendNmi(call, vcpu),
            12 => XenError.Invalid, // physical numbers are for guests that may know them
            13 => RegisterTime(call, vcpu),
            _ => XenError.NoSystemCall,
        };
    }

    /// <summary>set_timer_op, the older form of a vCPU's single-shot timer: the deadline itself, in two halves from 32-bit code.</summary>
    internal static long SetTimerOp(in Hypercall call)
    {
        long deadlineNs = call.Registers.Is64Bit ? (long)call[0] : (long)((call[1] << 32) | call.Word(0));
        long nowNs = call.Domain.SystemTime.NowNs;
        if (deadlineNs == 0)
        {
            call.Vcpu.StopTimer();
        }
        else
        {
            call.Vcpu.SetTimer(deadlineNs < 0 || deadlineNs - nowNs >= FarthestNs ? nowNs + SoonNs : deadlineNs);
        }

        return 0;
    }

    // QUIRK: VCPUOP_initialise finds no context good: vCPUs wait for INIT and SIPI, with which Linux starts them.
    private static long Initialise(in Hypercall call, DomainVcpu vcpu) =>
        !call.TryLoad(2, stackalloc byte[ContextSize]) ? XenError.Fault : vcpu.HasRun ? XenError.Exists : XenError.Invalid;

    private static long Up(DomainVcpu vcpu)
    {
        if (!vcpu.HasRun)
        {
            return XenError.Invalid;
        }

        vcpu.IsDown = false;
        return 0;
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

    // The TSC is stable: what is written once stays right. An area that is nowhere is the guest's affair.
    private static long RegisterTime(in Hypercall call, DomainVcpu vcpu)
    {
        if (!call.TryLoadWord(2, 0, out ulong area))
        {
            return XenError.Fault;
        }

        Span<byte> time = stackalloc byte[SystemTime.InfoLength];
        call.Domain.SystemTime.Fill(time);
        call.Registers.TryStore(area, time);
        return 0;
    }

    private static long GetRunstate(in Hypercall call, DomainVcpu vcpu)
    {
        ObserveOwn(call, vcpu);
        Span<byte> runstate = stackalloc byte[Runstate.Length];
        return call.TryStore(2, vcpu.Runstate.Fill(runstate, call.Registers.Is64Bit)) ? 0 : XenError.Fault;
    }

    private static long SetPeriodicTimer(in Hypercall call, DomainVcpu vcpu)
    {
        if (!call.TryLoad(2, out long periodNs))
        {
            return XenError.Fault;
        }

        if (periodNs < LeastPeriodNs)
        {
            return XenError.Invalid;
        }

        vcpu.SetPeriodicTimer(periodNs);
        return 0;
    }

    private static long StopPeriodicTimer(DomainVcpu vcpu)
    {
        vcpu.StopPeriodicTimer();
        return 0;
    }

    // A deadline that has passed fires at once, whatever the flags say: Xen 4.17 does not look at VCPU_SSHOTTMR_future.
    private static long SetTimer(in Hypercall call, DomainVcpu vcpu)
    {
        // 32-bit code's structure is copied before anything else is looked at.
        bool isOther = vcpu != call.Vcpu;
        if (isOther && call.Registers.Is64Bit)
        {
            return XenError.Invalid;
        }

        if (!call.TryLoad(2, out TimerRequest request))
        {
            return XenError.Fault;
        }

        if (isOther)
        {
            return XenError.Invalid;
        }

        vcpu.SetTimer((long)Math.Min(request.DeadlineNs, long.MaxValue));
        return 0;
    }

    private static long StopTimer(in Hypercall call, DomainVcpu vcpu)
    {
        if (vcpu != call.Vcpu)
        {
            return XenError.Invalid;
        }

        vcpu.StopTimer();
        return 0;
    }

    private static long SendNmi(in Hypercall call, DomainVcpu vcpu)
    {
        if (call[2] != 0)
        {
            return XenError.Invalid;
        }

        call.Domain.RequestNmi(vcpu.Index);
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
