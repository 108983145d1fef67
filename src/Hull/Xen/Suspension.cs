using System;
using System.Collections.Generic;
using System.Threading;

namespace Hull.Xen;

/// <summary>
/// A domain's sleep: the guest asks for it with SCHEDOP_shutdown(suspend), and its call returns when the domain is resumed, as
/// one that a toolstack has made anew from the old one's memory: without ports, grants, vcpu_info or shared_info, its devices
/// waiting for their drivers. Xen, public/sched.h, "SHUTDOWN_suspend".
/// </summary>
internal sealed class Suspension(Domain domain) : IDisposable
{
    private readonly ManualResetEventSlim _asleep = new();
    private readonly ManualResetEventSlim _go = new(initialState: true);
    private readonly List<Func<Action>> _quieters = [];
    private readonly List<Action> _restarters = [];
    private int _caller = -1;
    private volatile bool _ending;

    /// <summary>The guest is asleep.</summary>
    internal bool IsAsleep => _asleep.IsSet;

    /// <summary>The machine ends, and nobody waits for the guest any more.</summary>
    internal bool IsEnding => _ending;

    /// <summary>Adds a device: what makes it quiet (and then waits, not under the lock), and what starts it anew.</summary>
    internal void Add(Func<Action> quiet, Action restart)
    {
        _quieters.Add(quiet);
        _restarters.Add(restart);
    }

    /// <summary>A device is gone. Under the domain's lock.</summary>
    internal void Remove(Func<Action> quiet, Action restart)
    {
        _quieters.Remove(quiet);
        _restarters.Remove(restart);
    }

    /// <summary>The guest's call. Under the domain's lock.</summary>
    /// <returns>What it returns once the domain is resumed: 0, it was made anew.</returns>
    internal long Begin(int vcpu)
    {
        _caller = vcpu;
        _go.Reset();
        return 0;
    }

    /// <summary>The vCPU that has asked sleeps here until it is resumed. On its thread, not under the lock.</summary>
    internal void SleepIfAsked(int vcpu)
    {
        if (_go.IsSet || _caller != vcpu || _ending)
        {
            return;
        }

        List<Action> waits = [];
        domain.Act(() => _quieters.ForEach(quiet => waits.Add(quiet())));
        waits.ForEach(static wait => wait());
        _asleep.Set();
        while (!_ending && !_go.Wait(TimeSpan.FromSeconds(1)))
        {
        }
    }

    /// <summary>Asks the guest to sleep, and waits for it.</summary>
    /// <returns>False when it does not in time.</returns>
    internal bool TrySuspend(TimeSpan wait)
    {
        domain.Store.Write("control/shutdown", "suspend");
        return _asleep.Wait(wait);
    }

    /// <summary>Makes the domain anew and lets the guest go on.</summary>
    /// <returns>False when it is not asleep.</returns>
    internal bool TryResume()
    {
        bool asleep = false;
        domain.Act(() =>
        {
            asleep = _asleep.IsSet;
            if (asleep)
            {
                _asleep.Reset();
                domain.Restart();
                _restarters.ForEach(static restart => restart());
                domain.Store.Store.Tree.ClearChanges(); // nobody watches yet
            }
        });
        if (asleep)
        {
            _go.Set();
        }

        return asleep;
    }

    /// <summary>The vCPUs are to end: nobody sleeps on.</summary>
    public void Dispose()
    {
        _ending = true;
        _go.Set();
    }
}
