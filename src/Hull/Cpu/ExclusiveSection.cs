using System.Collections.Generic;
using System.Threading;
using Hull.Cpu.State;

namespace Hull.Cpu;

/// <summary>
/// Lets one vCPU run while all others are out of generated code: for emptying the code cache, and for locked accesses that
/// the host cannot make atomic. A vCPU is inside from the begin of Run to its end, except while it waits in HLT or here; it
/// comes here when it sees <see cref="Attention.Exclusive"/>. So running costs nothing, and stopping costs a poll's time.
/// See docs/smp.md, "The exclusive section".
/// </summary>
internal sealed class ExclusiveSection
{
    private readonly object _gate = new();
    private readonly List<SoftVcpu> _vcpus;
    private SoftVcpu? _owner;
    private int _depth;
    private int _inside;

    internal ExclusiveSection(List<SoftVcpu> vcpus) => _vcpus = vcpus;

    /// <summary>Times that the others were stopped.</summary>
    internal ulong Stops { get; private set; }

    /// <summary>The vCPU is about to run guest code; waits while another one is alone.</summary>
    internal void Enter(SoftVcpu vcpu)
    {
        lock (_gate)
        {
            while (_owner is not null && _owner != vcpu)
            {
                Monitor.Wait(_gate);
            }

            StepIn(vcpu);
        }
    }

    /// <summary>The vCPU runs no guest code until <see cref="Enter"/>.</summary>
    internal void Leave(SoftVcpu vcpu)
    {
        lock (_gate)
        {
            StepOut(vcpu);
        }
    }

    /// <summary>
    /// Waits until every other vCPU is outside. The caller is not in generated code, and may find the code cache emptied
    /// afterwards. Nests.
    /// </summary>
    internal void Begin(SoftVcpu vcpu)
    {
        vcpu.Acknowledge();
        lock (_gate)
        {
            if (_owner == vcpu)
            {
                _depth++;
                return;
            }

            // Outside while it waits for its turn: else two that want to be alone would wait for each other.
            bool wasInside = vcpu.IsInside;
            if (wasInside)
            {
                StepOut(vcpu);
            }

            while (_owner is not null)
            {
                Monitor.Wait(_gate);
            }

            _owner = vcpu;
            _depth = 1;
            Stops++;
            foreach (SoftVcpu other in _vcpus)
            {
                if (other.IsInside)
                {
                    other.Stop();
                }
            }

            while (_inside != 0)
            {
                Monitor.Wait(_gate);
            }

            if (wasInside)
            {
                StepIn(vcpu);
            }
        }
    }

    /// <summary>Lets the others go on.</summary>
    internal void End()
    {
        lock (_gate)
        {
            if (--_depth == 0)
            {
                _owner = null;
                Monitor.PulseAll(_gate);
            }
        }
    }

    private void StepIn(SoftVcpu vcpu)
    {
        vcpu.IsInside = true;
        _inside++;
    }

    private void StepOut(SoftVcpu vcpu)
    {
        vcpu.IsInside = false;
        _inside--;
        if (_owner is not null && _inside == 0)
        {
            Monitor.PulseAll(_gate);
        }
    }
}
