using System;
using System.Collections.Generic;
using System.Runtime.Intrinsics.X86;

namespace Hull.Engine;

/// <summary>
/// CPUID as a guest sees it, computed once from the host and what the engine can do. What is not on the whitelist here
/// is hidden. SDM vol. 2A, "CPUID"; APM vol. 3, "Obtaining Processor Information Via the CPUID Instruction".
/// </summary>
public sealed class CpuidPolicy
{
    private readonly Dictionary<ulong, CpuidResult> _leaves = [];
    private readonly uint _maxBasic;
    private readonly uint _maxExtended;

    private CpuidPolicy(
        Func<uint, uint, CpuidResult> host, ulong tscHz, ulong apicBusHz, int vcpus, CpuModel model, bool isKvms = false)
    {
        CpuidResult zero = host(0, 0);
        IsIntel = zero.Ebx == 0x756E_6547; // "Genu"
        uint hostExtended = host(0x8000_0000, 0).Eax;
        _maxBasic = IsIntel ? 0x1Fu : 0x16u;
        _maxExtended = IsIntel ? 0x8000_0008 : Math.Clamp(hostExtended, 0x8000_0008, 0x8000_0021);
        uint hostPhysical = host(0x8000_0008, 0).Eax & 0xFF;
        PhysicalBits = (int)Math.Clamp(hostPhysical == 0 ? 46 : hostPhysical, 36, 46);
        TscHz = tscHz;
        Vcpus = vcpus;

        CpuidResult one = host(1, 0);
        Features = isKvms
            ? model.Resolve(CpuFeatures.Available(host, emulates: false), "KVM on this host")
            : model.Resolve(CpuFeatures.Available(host));
        SupportedXcr0 = Features.Has(CpuFeature.Avx) ? 7u : Features.Has(CpuFeature.Xsave) ? 3u : 1u;

        _leaves[0] = zero with { Eax = _maxBasic };
        AddFeatures(one, host(0x8000_0001, 0));
        AddCaches(host, zero);
        AddTopology();
        AddExtendedState();
        AddFrequencies(apicBusHz);
        AddExtended(host, zero);
    }

    /// <summary>The vendor is Intel; otherwise AMD's rules hold (SYSCALL, SYSENTER, SYSRET).</summary>
    public bool IsIntel { get; }

    /// <summary>MAXPHYADDR.</summary>
    public int PhysicalBits { get; }

    /// <summary>The bits that XCR0 may have: x87, SSE, AVX.</summary>
    public ulong SupportedXcr0 { get; }

    /// <summary>The bits that MXCSR may have: MM, which is AMD's, only where misaligned SSE operands are allowed.</summary>
    public uint MxcsrMask { get; private set; } = 0xFFFF;

    /// <summary>The features that the guest has.</summary>
    internal CpuFeatureSet Features { get; }

    /// <summary>Ticks of the time-stamp counter in a second.</summary>
    public ulong TscHz { get; }

    /// <summary>How many vCPUs the topology leaves show.</summary>
    public int Vcpus { get; }

    /// <summary>IA32_ARCH_CAPABILITIES: none of the known faults exists, so the guest needs no mitigation.</summary>
    /// <remarks>
    /// RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, IF_PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO,
    /// PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO.
    /// </remarks>
    public static ulong ArchCapabilities =>
        0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x2000 | 0x4000 | 0x8000 | (1UL << 20) | (1UL << 24)
        | (1UL << 26) | (1UL << 27) | (1UL << 62);

    /// <summary>The bits that CR4 may have.</summary>
    public ulong SupportedCr4 { get; private set; }

    /// <summary>The bits that IA32_EFER may have.</summary>
    public ulong SupportedEfer { get; private set; }

    /// <summary>What the host has and the engine does.</summary>
    public static CpuidPolicy HostSafe(ulong tscHz, ulong apicBusHz, int vcpus) =>
        For(CpuModel.HostSafe, tscHz, apicBusHz, vcpus);

    /// <summary>A model on this host.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tscHz">Frequency of the guest's time-stamp counter.</param>
    /// <param name="apicBusHz">Frequency of the local APIC timer before its divider; also the "core crystal" of leaf 15h.</param>
    /// <param name="vcpus">vCPUs of the machine, one core each in one package.</param>
    /// <exception cref="Hull.Host.HullException">The host cannot be that model; the message names what is missing.</exception>
    public static CpuidPolicy For(CpuModel model, ulong tscHz, ulong apicBusHz, int vcpus) =>
        new(HostLeaf, tscHz, apicBusHz, vcpus, model);

    /// <summary>A model on this host's KVM: everything that the guest is shown is the real CPU's.</summary>
    /// <param name="model">The model.</param>
    /// <param name="supported">CPUID as KVM could give it to a guest.</param>
    /// <param name="tscHz">Frequency of the guest's time-stamp counter.</param>
    /// <param name="apicBusHz">Frequency of the local APIC timer before its divider.</param>
    /// <param name="vcpus">vCPUs of the machine.</param>
    /// <exception cref="Hull.Host.HullException">KVM cannot be that model; the message names what is missing.</exception>
    internal static CpuidPolicy ForKvm(
        CpuModel model, Func<uint, uint, CpuidResult> supported, ulong tscHz, ulong apicBusHz, int vcpus) =>
        new(supported, tscHz, apicBusHz, vcpus, model, isKvms: true);

    /// <summary>Says whether this host can be a model, without making anything.</summary>
    /// <exception cref="Hull.Host.HullException">It cannot; the message names what is missing.</exception>
    public static void Check(CpuModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        model.Resolve(CpuFeatures.Available(HostLeaf));
    }

    /// <summary>The answer to CPUID before the dynamic bits (OSXSAVE, APIC id) are filled in.</summary>
    public CpuidResult Query(uint leaf, uint subleaf) =>
        Query(leaf, subleaf, new CpuidContext { Xcr0 = 1, ApicEnabled = true });

    /// <summary>The answer to CPUID on a vCPU in a given state.</summary>
    public CpuidResult Query(uint leaf, uint subleaf, in CpuidContext context)
    {
        // QUIRK: a leaf that does not exist reads as zeros on every vendor's model (Intel repeats the last basic one).
        bool indexed = leaf is 4 or 7 or 0xB or 0xD or 0x1F;
        if (!_leaves.TryGetValue(Key(leaf, indexed ? subleaf : 0), out CpuidResult result))
        {
            return leaf is 0xB or 0x1F && leaf <= _maxBasic
                ? new CpuidResult(0, 0, subleaf & 0xFF, context.ApicId)
                : default;
        }

        return leaf switch
        {
            1 => result with
            {
                Ebx = result.Ebx | (context.ApicId << 24),
                Ecx = result.Ecx | (context.Osxsave ? 1u << 27 : 0),
                Edx = context.ApicEnabled ? result.Edx : result.Edx & ~(1u << 9),
            },
            0xB or 0x1F => result with { Edx = context.ApicId },
            0xD when subleaf == 0 => result with { Ebx = AreaBytes(context.Xcr0) },
            0xD when subleaf == 1 => result with { Ebx = Features.Has(CpuFeature.Xsavec) ? AreaBytes(context.Xcr0) : 0 },
            _ => result,
        };
    }

    /// <summary>A policy over an invented host; for tests.</summary>
    internal static CpuidPolicy Over(
        Func<uint, uint, CpuidResult> host, ulong tscHz, ulong apicBusHz, int vcpus, CpuModel model) =>
        new(host, tscHz, apicBusHz, vcpus, model);

    private static CpuidResult HostLeaf(uint leaf, uint subleaf)
    {
        (int eax, int ebx, int ecx, int edx) = X86Base.CpuId((int)leaf, (int)subleaf);
        return new CpuidResult((uint)eax, (uint)ebx, (uint)ecx, (uint)edx);
    }

    private static ulong Key(uint leaf, uint subleaf) => ((ulong)leaf << 32) | subleaf;

    private static uint AreaBytes(ulong xcr0) => (xcr0 & 4) != 0 ? 832u : 576u;

    private static uint Bit(bool set, int bit) => set ? 1u << bit : 0;

    private void AddFeatures(CpuidResult one, CpuidResult extended)
    {
        // FPU DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFLUSH MMX FXSR SSE SSE2.
        const uint edx = 0x0783_FBFD | (1u << 19);
        uint logical = (uint)Math.Min(Vcpus, 255);
        _leaves[Key(1, 0)] = Grant(1, 0, new CpuidResult(
            one.Eax, (8u << 8) | (logical << 16), 0, edx | Bit(Vcpus > 1, 28)));

        uint sevenEdx = IsIntel ? (1u << 26) | (1u << 29) : 0; // IBRS and IBPB; ARCH_CAPABILITIES
        _leaves[Key(7, 0)] = Grant(7, 0, new CpuidResult(0, 0, 0, sevenEdx));

        // SYSCALL, long mode; on AMD misaligned SSE and the old copies of leaf 1.
        CpuidResult far = new(0, 0, 0, (1u << 11) | (1u << 29));
        if (!IsIntel)
        {
            const uint misalignedSse = 1u << 7;
            far = new CpuidResult(one.Eax, 0, extended.Ecx & misalignedSse, far.Edx | (edx & 0x0183_F3FF));
            MxcsrMask |= (extended.Ecx & misalignedSse) != 0 ? 1u << 17 : 0;
        }

        _leaves[Key(0x8000_0001, 0)] = Grant(0x8000_0001, 0, far);
        SupportedCr4 = 0x7FC // TSD to OSXMMEXCPT
            | Cr4Bits(CpuFeature.Vme, 3) | Cr4Bits(CpuFeature.Umip, 1 << 11) | Cr4Bits(CpuFeature.Fsgsbase, 1 << 16)
            | Cr4Bits(CpuFeature.Pcid, 1 << 17) | Cr4Bits(CpuFeature.Xsave, 1 << 18) | Cr4Bits(CpuFeature.Smep, 1 << 20)
            | Cr4Bits(CpuFeature.Smap, 1 << 21);
        SupportedEfer = 0x1 | (1 << 8) | (1 << 10) | (Features.Has(CpuFeature.Nx) ? 1u << 11 : 0);
    }

    private ulong Cr4Bits(CpuFeature feature, ulong bits) => Features.Has(feature) ? bits : 0;

    // Adds the bits of the granted features that this leaf tells.
    private CpuidResult Grant(uint leaf, uint subleaf, CpuidResult result)
    {
        foreach (CpuFeatureRow row in CpuFeatures.All)
        {
            if (row.Leaf == leaf && row.Subleaf == subleaf && Features.Has(row.Feature))
            {
                uint bit = 1u << row.Bit;
                result = row.Register switch
                {
                    CpuidRegister.Eax => result with { Eax = result.Eax | bit },
                    CpuidRegister.Ebx => result with { Ebx = result.Ebx | bit },
                    CpuidRegister.Ecx => result with { Ecx = result.Ecx | bit },
                    _ => result with { Edx = result.Edx | bit },
                };
            }
        }

        return result;
    }

    private void AddCaches(Func<uint, uint, CpuidResult> host, CpuidResult zero)
    {
        if (!IsIntel || zero.Eax < 4)
        {
            return;
        }

        _leaves[Key(2, 0)] = host(2, 0);
        uint cores = (uint)Math.Min(Vcpus, 64) - 1;
        for (uint index = 0; index < 8; index++)
        {
            CpuidResult cache = host(4, index);
            if ((cache.Eax & 0x1F) == 0)
            {
                break;
            }

            uint level = (cache.Eax >> 5) & 7;
            uint sharing = level >= 3 ? RoundUpToPowerOfTwo((uint)Vcpus) - 1 : 0;
            uint eax = (cache.Eax & 0x3FF) | (Math.Min(sharing, 0xFFF) << 14) | (cores << 26);
            _leaves[Key(4, index)] = cache with { Eax = eax };
        }
    }

    private void AddTopology()
    {
        _leaves[Key(6, 0)] = new CpuidResult(4, 0, 0, 0); // ARAT: the APIC timer never stops
        uint shift = (uint)System.Numerics.BitOperations.Log2(RoundUpToPowerOfTwo((uint)Vcpus));
        foreach (uint leaf in (ReadOnlySpan<uint>)[0xB, 0x1F])
        {
            if (leaf <= _maxBasic)
            {
                _leaves[Key(leaf, 0)] = new CpuidResult(0, 1, 0x100, 0);
                _leaves[Key(leaf, 1)] = new CpuidResult(shift, (uint)Vcpus, 0x201, 0);
            }
        }
    }

    // SDM vol. 1, "Managing State Using the XSAVE Feature Set".
    private void AddExtendedState()
    {
        if (!Features.Has(CpuFeature.Xsave))
        {
            return;
        }

        _leaves[Key(0xD, 0)] = new CpuidResult((uint)SupportedXcr0, 576, AreaBytes(SupportedXcr0), 0);
        _leaves[Key(0xD, 1)] = Grant(0xD, 1, new CpuidResult(0, 576, 0, 0));
        if ((SupportedXcr0 & 4) != 0)
        {
            _leaves[Key(0xD, 2)] = new CpuidResult(256, 576, 0, 0);
        }
    }

    /// <summary>
    /// Leaf 15h says TSC = crystal * EBX / EAX, and Linux takes the crystal for the clock of the APIC timer. It multiplies
    /// the crystal in kHz by EBX in 32 bits, so the fraction must have a small numerator.
    /// </summary>
    private void AddFrequencies(ulong apicBusHz)
    {
        if (apicBusHz is > 0 and <= uint.MaxValue)
        {
            ulong most = Math.Max(1, uint.MaxValue / Math.Max(1, apicBusHz / 1000));
            (ulong numerator, ulong denominator) = Fraction.Approximate(TscHz, apicBusHz, most);
            _leaves[Key(0x15, 0)] = new CpuidResult((uint)denominator, (uint)numerator, (uint)apicBusHz, 0);
        }

        uint megahertz = (uint)Math.Min(TscHz / 1_000_000, 0xFFFF);
        _leaves[Key(0x16, 0)] = new CpuidResult(megahertz, megahertz, 100, 0);
    }

    private void AddExtended(Func<uint, uint, CpuidResult> host, CpuidResult zero)
    {
        _leaves[Key(0x8000_0000, 0)] = IsIntel
            ? new CpuidResult(_maxExtended, 0, 0, 0)
            : zero with { Eax = _maxExtended };
        for (uint leaf = 0x8000_0002; leaf <= 0x8000_0006; leaf++)
        {
            _leaves[Key(leaf, 0)] = host(leaf, 0);
        }

        _leaves[Key(0x8000_0007, 0)] = new CpuidResult(0, 0, 0, 1u << 8); // invariant TSC
        uint sizes = (uint)PhysicalBits | (48u << 8);
        if (IsIntel)
        {
            _leaves[Key(0x8000_0008, 0)] = new CpuidResult(sizes, 0, 0, 0);
            return;
        }

        // IBPB, IBRS, SSB_NO, BTC_NO; the count of cores and the width of the APIC id that they take.
        const uint ebx = (1u << 12) | (1u << 14) | (1u << 26) | (1u << 29);
        uint width = (uint)System.Numerics.BitOperations.Log2(RoundUpToPowerOfTwo((uint)Vcpus));
        _leaves[Key(0x8000_0008, 0)] = new CpuidResult(sizes, ebx, ((uint)Vcpus - 1) & 0xFF | (width << 12), 0);
        if (_maxExtended >= 0x8000_0021)
        {
            // LFENCE always serialising, null selectors clear the base, SRSO_NO; ECX: TSA_SQ_NO, TSA_L1_NO.
            _leaves[Key(0x8000_0021, 0)] = new CpuidResult((1u << 2) | (1u << 6) | (1u << 29), 0, 6, 0);
        }
    }

    private static uint RoundUpToPowerOfTwo(uint value) => System.Numerics.BitOperations.RoundUpToPowerOf2(value);
}
