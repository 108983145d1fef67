using System;
using Hull.Memory;
using Hull.Timeline;
using Hull.Xen.Events;

namespace Hull.Xen;

/// <summary>What Xen keeps for one vCPU: where its vcpu_info is, its upcall vector, its timer, its running time.</summary>
internal sealed class DomainVcpu
{
    private const int TimeOffset = 32;

    private readonly Domain _domain;
    private readonly IMachineTimer _timer;
    private readonly IMachineTimer _periodicTimer;
    private GuestPhysical? _registered;
    private long _deadlineNs;
    private long _nextTickNs;
    private long _periodNs;

    /// <summary>Makes the state of a vCPU.</summary>
    internal DomainVcpu(Domain domain, int index)
    {
        _domain = domain;
        Index = index;
        HasRun = index == 0;
        Runstate = new Runstate(domain, index);
        _timer = domain.Timers.CreateTimer(() => domain.Act(TimerFired));
        _periodicTimer = domain.Timers.CreateTimer(() => domain.Act(Tick));
    }

    /// <summary>The index.</summary>
    internal int Index { get; }

    /// <summary>What it did with its time.</summary>
    internal Runstate Runstate { get; }

    /// <summary>HVMOP_set_evtchn_upcall_vector; 0: none yet.</summary>
    internal byte UpcallVector { get; set; }

    /// <summary>It has been started: the first one by who made the domain, others by the guest.</summary>
    internal bool HasRun { get; set; }

    /// <summary>VCPUOP_down has switched it off.</summary>
    internal bool IsDown { get; set; }

    /// <summary>The call in progress gives way until something happens.</summary>
    internal bool IsWaiting { get; set; }

    /// <summary>What VIRQ is bound to which port; 0: none.</summary>
    internal int[] VirqPorts { get; } = new int[EventChannels.VirqCount];

    /// <summary>Where vcpu_info is; null when there is none yet.</summary>
    internal GuestPhysical? Info => _registered ?? _domain.SharedInfo.VcpuInfo(Index);

    /// <summary>The domain begins anew: no timer, no vector, no vcpu_info of its own.</summary>
    internal void Restart()
    {
        StopTimer();
        StopPeriodicTimer();
        UpcallVector = 0;
        System.Array.Clear(VirqPorts);
        _registered = null;
        Runstate.Restart();
        IsDown = false;
    }

    /// <summary>VCPUOP_register_vcpu_info: from now on it is there.</summary>
    /// <returns>0, or an error.</returns>
    internal long RegisterInfo(ulong frame, uint offset)
    {
        // QUIRK: Xen 4.17 takes any offset; an odd one would let its own bits straddle words. Later versions refuse it like this.
        if (offset > GuestMemory.PageSize - SharedInfo.VcpuInfoSize || offset % sizeof(uint) != 0)
        {
            return XenError.NoSuchAddress;
        }

        if (_registered is not null || !_domain.Reservation.Has(frame))
        {
            return XenError.Invalid;
        }

        GuestPhysical at = new((frame * GuestMemory.PageSize) + offset);
        if (!_domain.Memory.Contains(at, SharedInfo.VcpuInfoSize))
        {
            return XenError.Invalid;
        }

        Span<byte> info = stackalloc byte[SharedInfo.VcpuInfoSize];
        info.Clear();
        if (Info is GuestPhysical before)
        {
            _domain.Memory.TryRead(before, info);
        }

        // Something may have been lost meanwhile: all that is pending is looked at once more.
        info[0] = 1;
        int word = _domain.SharedInfo.WordBytes;
        info.Slice(word, word).Fill(0xFF);
        _domain.Memory.TryWrite(at, info);
        _registered = at;
        WriteTime();
        _domain.RequestUpcall(Index);
        return 0;
    }

    /// <summary>Sets evtchn_upcall_pending and asks for the upcall if it was not set. Under the domain's lock.</summary>
    internal void MarkPending()
    {
        if (Info is GuestPhysical at && GuestBits.TestAndSet(_domain.Memory, at, 0x01) is false)
        {
            _domain.RequestUpcall(Index);
        }
    }

    /// <summary>Asks for the upcall if evtchn_upcall_pending is set. Under the domain's lock.</summary>
    internal void RequestPending()
    {
        Span<byte> pending = stackalloc byte[1];
        if (Info is GuestPhysical at && _domain.Memory.TryRead(at, pending) && pending[0] != 0)
        {
            _domain.RequestUpcall(Index);
        }
    }

    /// <summary>Writes vcpu_time_info, which has the form of pvclock.</summary>
    internal void WriteTime()
    {
        if (Info is not GuestPhysical info)
        {
            return;
        }

        GuestPhysical at = new(info.Value + TimeOffset);
        uint version = _domain.Memory.Read<uint>(at) | 1;
        _domain.Memory.Write(at, version);
        Span<byte> time = stackalloc byte[SystemTime.InfoLength];
        _domain.SystemTime.Fill(time);
        _domain.Memory.TryWrite(new GuestPhysical(at.Value + 8), time[8..]);
        _domain.Memory.Write(at, version + 1);
    }

    /// <summary>VCPUOP_set_singleshot_timer, in system time.</summary>
    internal void SetTimer(long deadlineNs)
    {
        _deadlineNs = Math.Max(deadlineNs, 0);
        _timer.Arm(_domain.SystemTime.ToMachine(_deadlineNs));
    }

    /// <summary>VCPUOP_stop_singleshot_timer.</summary>
    internal void StopTimer()
    {
        _deadlineNs = long.MaxValue;
        _timer.Cancel();
    }

    /// <summary>VCPUOP_set_periodic_timer: the timer's VIRQ each so many nanoseconds, first after one of them.</summary>
    internal void SetPeriodicTimer(long periodNs)
    {
        _periodNs = periodNs;
        _nextTickNs = periodNs > long.MaxValue - _domain.Clock.NowNs ? long.MaxValue : _domain.Clock.NowNs + periodNs;
        _periodicTimer.Arm(_nextTickNs);
    }

    /// <summary>VCPUOP_stop_periodic_timer.</summary>
    internal void StopPeriodicTimer()
    {
        _periodNs = 0;
        _periodicTimer.Cancel();
    }

    // Ticks that were missed are not made up for.
    private void Tick()
    {
        if (_periodNs == 0 || _domain.Clock.NowNs < _nextTickNs)
        {
            return;
        }

        _domain.Events.RaiseVirq(this, EventChannels.VirqTimer);
        _nextTickNs = Math.Max(_nextTickNs + _periodNs, _domain.Clock.NowNs);
        _periodicTimer.Arm(_nextTickNs);
    }

    private void TimerFired()
    {
        // It was stopped or set anew while this call was on its way, or system time is not quite as far as it was thought to be.
        if (_deadlineNs == long.MaxValue)
        {
            return;
        }

        if (_domain.SystemTime.NowNs < _deadlineNs)
        {
            _timer.Arm(_domain.SystemTime.ToMachine(_deadlineNs));
            return;
        }

        _deadlineNs = long.MaxValue;
        _domain.Events.RaiseVirq(this, EventChannels.VirqTimer);
    }
}
