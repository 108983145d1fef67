using System;
using System.Collections.Immutable;

namespace Hull.Engine;

/// <summary>
/// The CPU features that a guest may be given or denied one by one. The names are those of <see cref="CpuFeatures"/>.
/// What every x86-64 PC has (FPU to SSE2, PAT, MTRR, APIC...) is not here: it is always there.
/// </summary>
internal enum CpuFeature
{
    Sse3,
    Pclmulqdq,
    Ssse3,
    Fma,
    Cx16,
    Pcid,
    Sse41,
    Sse42,
    X2Apic,
    Movbe,
    Popcnt,
    TscDeadlineTimer,
    Aes,
    Xsave,
    Avx,
    F16c,
    Rdrand,
    Hypervisor,
    Vme,
    Fsgsbase,
    TscAdjust,
    Bmi1,
    Avx2,
    Smep,
    Bmi2,
    Erms,
    Invpcid,
    Rdseed,
    Adx,
    Smap,
    Clflushopt,
    Clwb,
    Sha,
    Umip,
    Rdpid,
    Fsrm,
    LahfLm,
    Lzcnt,
    Prefetchw,
    Nx,
    Pdpe1Gb,
    Rdtscp,
    Xsaveopt,
    Xsavec,
    Xgetbv1,
    Xsaves,
}

/// <summary>A set of features.</summary>
internal readonly record struct CpuFeatureSet(ulong Bits)
{
    /// <summary>True when the feature is in the set.</summary>
    internal bool Has(CpuFeature feature) => (Bits >> (int)feature & 1) != 0;

    /// <summary>The set with one feature more.</summary>
    internal CpuFeatureSet With(CpuFeature feature) => new(Bits | (1UL << (int)feature));

    /// <summary>The set with one feature less.</summary>
    internal CpuFeatureSet Without(CpuFeature feature) => new(Bits & ~(1UL << (int)feature));
}

/// <summary>A register of CPUID's answer.</summary>
internal enum CpuidRegister
{
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// <summary>One feature: its names, where CPUID tells it, and what it stands on.</summary>
/// <param name="Feature">The feature.</param>
/// <param name="Names">As in Linux's /proc/cpuinfo; further ones are the manual's.</param>
/// <param name="Leaf">CPUID leaf.</param>
/// <param name="Subleaf">CPUID subleaf.</param>
/// <param name="Register">The register of the answer.</param>
/// <param name="Bit">The bit in it.</param>
/// <param name="Level">From which x86-64-vN it is part of the level; 0: of none, but an instruction set of
/// applications (a level hides it); -1: the system's business, which a level leaves alone.</param>
/// <param name="Emulated">The soft engine does it on any host; otherwise the host's CPU must have it.</param>
/// <param name="Needs">The feature that it cannot be without.</param>
internal sealed record CpuFeatureRow(
    CpuFeature Feature,
    string[] Names,
    uint Leaf,
    uint Subleaf,
    CpuidRegister Register,
    int Bit,
    int Level,
    bool Emulated,
    CpuFeature? Needs = null);

/// <summary>The table of features. SDM vol. 2A, "CPUID"; System V ABI AMD64, "Micro-Architecture Levels".</summary>
internal static class CpuFeatures
{
    /// <summary>All rows, in the order of <see cref="CpuFeature"/>.</summary>
    internal static ImmutableArray<CpuFeatureRow> All { get; } =
    [
        new(CpuFeature.Sse3, ["pni", "sse3"], 1, 0, CpuidRegister.Ecx, 0, 2, false),
        new(CpuFeature.Pclmulqdq, ["pclmulqdq"], 1, 0, CpuidRegister.Ecx, 1, 0, false),
        new(CpuFeature.Ssse3, ["ssse3"], 1, 0, CpuidRegister.Ecx, 9, 2, false, CpuFeature.Sse3),
        new(CpuFeature.Fma, ["fma"], 1, 0, CpuidRegister.Ecx, 12, 3, false, CpuFeature.Avx),
        new(CpuFeature.Cx16, ["cx16"], 1, 0, CpuidRegister.Ecx, 13, 2, false),
        new(CpuFeature.Pcid, ["pcid"], 1, 0, CpuidRegister.Ecx, 17, -1, true),
        new(CpuFeature.Sse41, ["sse4_1"], 1, 0, CpuidRegister.Ecx, 19, 2, false, CpuFeature.Ssse3),
        new(CpuFeature.Sse42, ["sse4_2"], 1, 0, CpuidRegister.Ecx, 20, 2, false, CpuFeature.Sse41),
        new(CpuFeature.X2Apic, ["x2apic"], 1, 0, CpuidRegister.Ecx, 21, -1, true),
        new(CpuFeature.Movbe, ["movbe"], 1, 0, CpuidRegister.Ecx, 22, 3, false),
        new(CpuFeature.Popcnt, ["popcnt"], 1, 0, CpuidRegister.Ecx, 23, 2, false),
        new(CpuFeature.TscDeadlineTimer, ["tsc_deadline_timer"], 1, 0, CpuidRegister.Ecx, 24, -1, true),
        new(CpuFeature.Aes, ["aes"], 1, 0, CpuidRegister.Ecx, 25, 0, false),
        new(CpuFeature.Xsave, ["xsave"], 1, 0, CpuidRegister.Ecx, 26, 3, true),
        new(CpuFeature.Avx, ["avx"], 1, 0, CpuidRegister.Ecx, 28, 3, false, CpuFeature.Xsave),
        new(CpuFeature.F16c, ["f16c"], 1, 0, CpuidRegister.Ecx, 29, 3, false, CpuFeature.Avx),
        new(CpuFeature.Rdrand, ["rdrand"], 1, 0, CpuidRegister.Ecx, 30, 0, false),
        new(CpuFeature.Hypervisor, ["hypervisor"], 1, 0, CpuidRegister.Ecx, 31, -1, true),
        new(CpuFeature.Vme, ["vme"], 1, 0, CpuidRegister.Edx, 1, -1, true),
        new(CpuFeature.Fsgsbase, ["fsgsbase"], 7, 0, CpuidRegister.Ebx, 0, -1, true),
        new(CpuFeature.TscAdjust, ["tsc_adjust"], 7, 0, CpuidRegister.Ebx, 1, -1, true),
        new(CpuFeature.Bmi1, ["bmi1"], 7, 0, CpuidRegister.Ebx, 3, 3, false),
        new(CpuFeature.Avx2, ["avx2"], 7, 0, CpuidRegister.Ebx, 5, 3, false, CpuFeature.Avx),
        new(CpuFeature.Smep, ["smep"], 7, 0, CpuidRegister.Ebx, 7, -1, true),
        new(CpuFeature.Bmi2, ["bmi2"], 7, 0, CpuidRegister.Ebx, 8, 3, false),
        new(CpuFeature.Erms, ["erms"], 7, 0, CpuidRegister.Ebx, 9, -1, false),
        new(CpuFeature.Invpcid, ["invpcid"], 7, 0, CpuidRegister.Ebx, 10, -1, true),
        new(CpuFeature.Rdseed, ["rdseed"], 7, 0, CpuidRegister.Ebx, 18, 0, false),
        new(CpuFeature.Adx, ["adx"], 7, 0, CpuidRegister.Ebx, 19, 0, false),
        new(CpuFeature.Smap, ["smap"], 7, 0, CpuidRegister.Ebx, 20, -1, true),
        new(CpuFeature.Clflushopt, ["clflushopt"], 7, 0, CpuidRegister.Ebx, 23, 0, false),
        new(CpuFeature.Clwb, ["clwb"], 7, 0, CpuidRegister.Ebx, 24, 0, false),
        new(CpuFeature.Sha, ["sha_ni", "sha"], 7, 0, CpuidRegister.Ebx, 29, 0, false),
        new(CpuFeature.Umip, ["umip"], 7, 0, CpuidRegister.Ecx, 2, -1, true),
        new(CpuFeature.Rdpid, ["rdpid"], 7, 0, CpuidRegister.Ecx, 22, -1, true),
        new(CpuFeature.Fsrm, ["fsrm"], 7, 0, CpuidRegister.Edx, 4, -1, false, CpuFeature.Erms),
        new(CpuFeature.LahfLm, ["lahf_lm"], 0x8000_0001, 0, CpuidRegister.Ecx, 0, 2, true),
        new(CpuFeature.Lzcnt, ["abm", "lzcnt"], 0x8000_0001, 0, CpuidRegister.Ecx, 5, 3, false),
        new(CpuFeature.Prefetchw, ["3dnowprefetch"], 0x8000_0001, 0, CpuidRegister.Ecx, 8, 0, false),
        new(CpuFeature.Nx, ["nx"], 0x8000_0001, 0, CpuidRegister.Edx, 20, -1, true),
        new(CpuFeature.Pdpe1Gb, ["pdpe1gb"], 0x8000_0001, 0, CpuidRegister.Edx, 26, -1, true),
        new(CpuFeature.Rdtscp, ["rdtscp"], 0x8000_0001, 0, CpuidRegister.Edx, 27, -1, true),
        new(CpuFeature.Xsaveopt, ["xsaveopt"], 0xD, 1, CpuidRegister.Eax, 0, 0, true, CpuFeature.Xsave),
        new(CpuFeature.Xsavec, ["xsavec"], 0xD, 1, CpuidRegister.Eax, 1, 0, true, CpuFeature.Xsave),
        new(CpuFeature.Xgetbv1, ["xgetbv1"], 0xD, 1, CpuidRegister.Eax, 2, 0, true, CpuFeature.Xsave),
        new(CpuFeature.Xsaves, ["xsaves"], 0xD, 1, CpuidRegister.Eax, 3, 0, true, CpuFeature.Xsavec),
    ];

    /// <summary>What every model has, by the names of /proc/cpuinfo: it may be asked for, but not be hidden.</summary>
    internal static ImmutableArray<string> Fixed { get; } =
    [
        "fpu", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "sep", "mtrr", "pge", "mca", "cmov", "pat",
        "pse36", "clflush", "mmx", "fxsr", "sse", "sse2", "syscall", "lm",
    ];

    /// <summary>The row of a feature.</summary>
    internal static CpuFeatureRow Row(CpuFeature feature) => All[(int)feature];

    /// <summary>The row with a name, or null.</summary>
    internal static CpuFeatureRow? Find(string name)
    {
        foreach (CpuFeatureRow row in All)
        {
            if (Array.IndexOf(row.Names, name) >= 0)
            {
                return row;
            }
        }

        return null;
    }

    /// <summary>The features that the host's CPU has or the engine emulates.</summary>
    /// <param name="host">The host's CPUID, or what KVM makes of it.</param>
    /// <param name="emulates">The engine does what <see cref="CpuFeatureRow.Emulated"/> says: the soft engine.</param>
    internal static CpuFeatureSet Available(Func<uint, uint, CpuidResult> host, bool emulates = true)
    {
        CpuFeatureSet set = default;
        foreach (CpuFeatureRow row in All)
        {
            if ((row.Emulated && emulates) || HostHas(row, host))
            {
                set = set.With(row.Feature);
            }
        }

        // AVX is of use only where the host's kernel keeps the upper halves: OSXSAVE says so.
        bool keepsYmm = (host(1, 0).Ecx & (1u << 27)) != 0;
        return keepsYmm ? set : Hide(set, CpuFeature.Avx);
    }

    /// <summary>The set without a feature and without what cannot be without it.</summary>
    internal static CpuFeatureSet Hide(CpuFeatureSet set, CpuFeature feature)
    {
        set = set.Without(feature);
        foreach (CpuFeatureRow row in All)
        {
            if (row.Needs == feature && set.Has(row.Feature))
            {
                set = Hide(set, row.Feature);
            }
        }

        return set;
    }

    private static bool HostHas(CpuFeatureRow row, Func<uint, uint, CpuidResult> host)
    {
        CpuidResult answer = host(row.Leaf, row.Subleaf);
        uint value = row.Register switch
        {
            CpuidRegister.Eax => answer.Eax,
            CpuidRegister.Ebx => answer.Ebx,
            CpuidRegister.Ecx => answer.Ecx,
            _ => answer.Edx,
        };
        return (value >> row.Bit & 1) != 0;
    }
}
