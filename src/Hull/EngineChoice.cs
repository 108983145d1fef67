using System;
using Hull.Host;

namespace Hull;

/// <summary>Makes one of the two engines of <see cref="EngineKind.Auto"/>: KVM where it is there, fast and right.</summary>
internal static class EngineChoice
{
    /// <summary>Builds a machine with the engine that the specification names, or the better one.</summary>
    /// <param name="spec">The specification.</param>
    /// <param name="build">Builds for a specification that names an engine.</param>
    /// <returns>The specification with the engine chosen, for the machine's later lives; and what was built.</returns>
    /// <exception cref="HullException">It cannot be built.</exception>
    internal static (MachineSpec Spec, T Built) Build<T>(MachineSpec spec, Func<MachineSpec, T> build)
    {
        string? refusal = null;
        if (spec.Engine == EngineKind.Auto && IsKvmUsable(spec))
        {
            MachineSpec kvm = spec with { Engine = EngineKind.Kvm };
            try
            {
                return (kvm, build(kvm));
            }
            catch (HullException e)
            {
                // What is wrong with the guest's files is wrong on the other engine too, and is said there.
                refusal = e.Message;
            }
        }

        MachineSpec chosen = spec.Engine == EngineKind.Kvm ? spec : spec with { Engine = EngineKind.Soft };
        T built = build(chosen);
        if (spec.Engine == EngineKind.Kvm && KvmVerdict.Find(spec.Verdicts, out _) is { IsUsable: false } verdict)
        {
            // Such a guest may stand still for ever, and nothing else would say why.
            spec.Notice?.Invoke($"--engine auto would not take this KVM: {verdict.Reason}");
        }

        if (refusal is not null)
        {
            spec.Notice?.Invoke($"KVM does not take this guest ({refusal}): using the soft engine");
        }

        return (chosen, built);
    }

    private static bool IsKvmUsable(MachineSpec spec)
    {
        // Nothing is said of a device that is not there, or not for this user: `hull doctor` does.
        if (spec.NeedsSoftEngine is not null || !KvmProbe.IsOpen())
        {
            return false;
        }

        KvmVerdict verdict = KvmVerdict.Find(spec.Verdicts, out bool isNew);
        if (!verdict.IsUsable && isNew)
        {
            spec.Notice?.Invoke($"/dev/kvm is there, but {verdict.Reason}: using the soft engine (hull doctor says more)");
        }

        return verdict.IsUsable;
    }
}
