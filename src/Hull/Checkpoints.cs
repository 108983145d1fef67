using System;
using Hull.Cpu;
using Hull.Timeline;

namespace Hull;

/// <summary>Carries out a <see cref="CheckpointSpec"/>: a timer of the machine's own virtual time.</summary>
internal sealed class Checkpoints
{
    private readonly CheckpointSpec _spec;
    private readonly VirtualTimerQueue _timers;
    private readonly SoftEngine _engine;
    private readonly Action _stop;
    private readonly IMachineTimer _timer;
    private long _nextNs;

    /// <summary>Prepares; <paramref name="stop"/> ends the machine at <see cref="CheckpointSpec.UntilNs"/>.</summary>
    internal Checkpoints(CheckpointSpec spec, VirtualTimerQueue timers, SoftEngine engine, Action stop)
    {
        _spec = spec;
        _timers = timers;
        _engine = engine;
        _stop = stop;
        _nextNs = spec.FromNs;
        _timer = timers.CreateTimer(Reach);
    }

    /// <summary>Arms the first.</summary>
    internal void Start() => _timer.Arm(_nextNs);

    private void Reach()
    {
        (long executed, ulong rip, ulong registers) = _engine.Observe();
        ulong memory = _spec.HashMemory ? _engine.Memory.Hash() : 0;
        long now = _timers.Clock.NowNs;
        _spec.Reached(new Checkpoint(executed, now, rip, registers, memory));
        if (now >= _spec.UntilNs)
        {
            _stop();
            return;
        }

        _nextNs += _spec.PeriodNs;
        _timer.Arm(_nextNs);
    }
}
