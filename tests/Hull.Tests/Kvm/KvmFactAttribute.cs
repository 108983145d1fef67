using System;
using Hull.Bus;
using Hull.Engine;
using Hull.Host;
using Hull.Kvm;
using Hull.Kvm.Abi;
using Hull.Memory;
using Hull.Timeline;
using Xunit;

namespace Hull.Tests.Kvm;

/// <summary>A fact about the KVM engine; skipped, with the reason, where /dev/kvm makes no virtual machine.</summary>
public sealed class KvmFactAttribute : FactAttribute
{
    public KvmFactAttribute() => Skip = KvmHost.WhyNot.Value;

    /// <summary>Skip it too where KVM emulates kernel code: such KVMs lack parts.</summary>
    public bool OnTheCpu
    {
        get;
        set
        {
            field = value;
            Skip = value ? KvmHost.WhyNotOnTheCpu.Value : KvmHost.WhyNot.Value;
        }
    }
}

/// <summary>A theory about the KVM engine; skipped, with the reason, where /dev/kvm makes no virtual machine.</summary>
public sealed class KvmTheoryAttribute : TheoryAttribute
{
    public KvmTheoryAttribute() => Skip = KvmHost.WhyNot.Value;
}

/// <summary>A fact about Xen on KVM; skipped, with the reason, where KVM keeps hypercalls to itself.</summary>
public sealed class KvmXenFactAttribute : FactAttribute
{
    public KvmXenFactAttribute() => Skip = KvmHost.WhyNotXen.Value;
}

/// <summary>A theory about Xen on KVM; skipped, with the reason, where KVM keeps hypercalls to itself.</summary>
public sealed class KvmXenTheoryAttribute : TheoryAttribute
{
    public KvmXenTheoryAttribute() => Skip = KvmHost.WhyNotXen.Value;
}

/// <summary>What this host's KVM is.</summary>
internal static class KvmHost
{
    /// <summary>Why there are no tests of KVM here; null: there are.</summary>
    internal static Lazy<string?> WhyNot { get; } = new(static () => KvmProbe.Look() switch
    {
        KvmState.Works => null,
        KvmState.Absent => "there is no /dev/kvm",
        KvmState.NotPermitted => "/dev/kvm is not for this user",
        _ => "/dev/kvm makes no virtual machine",
    });

    /// <summary>Why no kernel code runs on the CPU here; null: it does.</summary>
    internal static Lazy<string?> WhyNotOnTheCpu { get; } = new(static () =>
    {
        KvmVerdict? verdict = WhyNot.Value is null ? KvmVerdict.Find(null, out _) : null;
        return verdict is { IsUsable: false } ? $"this host's KVM is not good enough: {verdict.Reason}" : WhyNot.Value;
    });

    /// <summary>Why no guest finds Xen on KVM here; null: it may.</summary>
    internal static Lazy<string?> WhyNotXen { get; } = new(static () =>
    {
        const int HypercallMsrAndInterception = 3;
        if (WhyNot.Value is string reason)
        {
            return reason;
        }

        using KvmSystem system = new();
        return (system.File.Check(KvmCapability.XenHvm) & HypercallMsrAndInterception) != HypercallMsrAndInterception
            ? "this kernel's KVM has no KVM_CAP_XEN_HVM with interception of hypercalls: ./check kvm builds one that has"
            : HostTsc.IsStable() ? WhyNotOnTheCpu.Value
            : "this host's time-stamp counters do not agree";
    });

    /// <summary>A machine of RAM and a bus, with all that this KVM gives a guest.</summary>
    internal static KvmEngine CreateEngine(
        GuestMemory memory, IoBus bus, int vcpus, int dirtyRingEntries = 0, IPersonality? personality = null)
    {
        const ulong TscHz = 2_000_000_000;
        const ulong ApicHz = 1_000_000_000;
        KvmSystem system = new();
        try
        {
            CpuidPolicy cpuid = CpuidPolicy.ForKvm(CpuModel.HostSafe, system.Supported, TscHz, ApicHz, vcpus);
            personality ??= new KvmClockPersonality(memory, new MachineClock(), vcpus, ApicHz);
            return new KvmEngine(system, memory, bus, personality, cpuid, dirtyRingEntries);
        }
        catch
        {
            system.Dispose();
            throw;
        }
    }
}
