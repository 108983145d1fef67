using System;
using System.Collections.Generic;
using Hull.Engine;
using Hull.Host;
using Hull.Kvm;
using Hull.Kvm.Abi;
using Hull.Memory;
using Hull.Tests.Xen;
using Hull.Timeline;
using Xunit;

namespace Hull.Tests.Kvm;

/// <summary>CPUID of a guest on an invented KVM: on AMD's CPU, with little else than long mode.</summary>
public sealed class KvmCpuidTests
{
    private const ulong Hz = 2_000_000_000;
    private const uint Stibp = 1 << 15;
    private const uint Ssbd = 1 << 24;

    [Fact]
    public void WishThatKvmLacks_IsNamed()
    {
        HullException e = Assert.Throws<HullException>(
            () => CpuidPolicy.ForKvm(CpuModel.Parse("+aes"), Supported, Hz, 1_000_000_000, 1));
        Assert.Contains("--cpu +aes: KVM on this host has no aes", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void SoftEnginesFeature_IsNotShownWhereKvmLacksIt()
    {
        CpuidPolicy policy = CpuidPolicy.ForKvm(CpuModel.HostSafe, Supported, Hz, 1_000_000_000, 1);
        Assert.False(policy.Features.Has(CpuFeature.Smap));
        Assert.True(policy.Features.Has(CpuFeature.X2Apic));
        Assert.Equal(0u, Find(Build(policy, 0), 7).Ebx);
    }

    [Fact]
    public void RemediesForTheCpusFaults_AreTheKernels()
    {
        List<KvmCpuidEntry> entries = Build(CpuidPolicy.ForKvm(CpuModel.HostSafe, Supported, Hz, 1_000_000_000, 1), 0);
        Assert.Equal(Stibp | Ssbd, Find(entries, 0x8000_0008).Ebx);
        Assert.Equal(0u, Find(entries, 0x8000_0007).Edx); // no invariant counter
        Assert.Equal(0u, Find(entries, 0x8000_0021).Eax);
    }

    [Fact]
    public void ClocksLeaves_SayWhatTheKernelsClockDoes()
    {
        List<KvmCpuidEntry> entries = Build(CpuidPolicy.ForKvm(CpuModel.HostSafe, Supported, Hz, 1_000_000_000, 2), 1);
        Assert.Equal(0x4b4d_564bu, Find(entries, 0x4000_0000).Ebx);
        Assert.Equal(8u, Find(entries, 0x4000_0001).Eax); // the second clock's MSRs, and no more
        Assert.Equal(1u, Find(entries, 1).Ebx >> 24); // the APIC id
    }

    [Fact]
    public void XensLeaves_ComeWhole_WithTheirSubleaves()
    {
        using TestDomain xen = new();
        CpuidPolicy policy = CpuidPolicy.ForKvm(CpuModel.HostSafe, Supported, Hz, 1_000_000_000, 2);
        List<KvmCpuidEntry> entries = new KvmCpuid(policy, xen.Personality, Supported).Build(1);
        Assert.Equal(0x566E_6558u, Find(entries, 0x4000_0000).Ebx);
        Assert.Equal(0x4_0011u, Find(entries, 0x4000_0001).Eax); // the version, and no features of KVM's
        Assert.Equal(1u, Find(entries, 0x4000_0004).Ebx); // the vCPU
        KvmCpuidEntry clock = entries.Find(static entry => entry is { Function: 0x4000_0003, Index: 1 });
        Assert.NotEqual(0u, clock.Ecx); // nanoseconds a tick
        Assert.Equal(1u, clock.Flags); // the index counts
    }

    private static List<KvmCpuidEntry> Build(CpuidPolicy policy, uint apicId)
    {
        using GuestMemory memory = new(0x10_0000);
        return new KvmCpuid(policy, new KvmClockPersonality(memory, new MachineClock(), 2, 1_000_000_000), Supported).Build(apicId);
    }

    private static KvmCpuidEntry Find(List<KvmCpuidEntry> entries, uint leaf) =>
        entries.Find(entry => entry.Function == leaf && entry.Index == 0);

    private static CpuidResult Supported(uint leaf, uint subleaf) => leaf switch
    {
        0 => new CpuidResult(0x10, 0x6874_7541, 0x444D_4163, 0x6974_6E65),
        1 => new CpuidResult(0x00A2_0F12, 0, 1u << 21, 0x0783_FBFF), // x2APIC
        0x4000_0001 => new CpuidResult(8, 0, 0, 0),
        0x8000_0000 => new CpuidResult(0x8000_0021, 0, 0, 0),
        0x8000_0008 => new CpuidResult(0x3030, Stibp | Ssbd, 0, 0),
        _ => default,
    };
}
