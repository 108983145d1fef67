using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using Hull.Engine;
using Hull.Kvm.Abi;

namespace Hull.Kvm;

/// <summary>
/// CPUID of a vCPU: what <see cref="CpuidPolicy"/> says, less what this KVM cannot, plus what tells the guest how the real
/// CPU is to be protected. KVM answers from this table without an exit, and fills in what changes with the state.
/// </summary>
internal sealed class KvmCpuid
{
    private const uint FirstHypervisorLeaf = 0x4000_0000;
    private const uint LastHypervisorLeaf = 0x4000_00FF;
    private const uint KvmFeatureLeaf = 0x4000_0001;
    private const uint HypervisorSubleaves = 3;
    private const uint IndexCounts = 1; // KVM_CPUID_FLAG_SIGNIFCANT_INDEX

    private readonly CpuidPolicy _policy;
    private readonly IPersonality _personality;
    private readonly Func<uint, uint, CpuidResult> _supported;

    /// <summary>Prepares.</summary>
    /// <param name="policy">What the guest is to see; made over <paramref name="supported"/>.</param>
    /// <param name="personality">The hypervisor's leaves.</param>
    /// <param name="supported">What KVM supports: <see cref="KvmSystem.Supported"/>.</param>
    internal KvmCpuid(CpuidPolicy policy, IPersonality personality, Func<uint, uint, CpuidResult> supported)
    {
        _policy = policy;
        _personality = personality;
        _supported = supported;
    }

    /// <summary>KVM_SET_CPUID2, before the vCPU runs.</summary>
    internal void Set(KvmFile vcpu, int index)
    {
        List<KvmCpuidEntry> entries = Build((uint)index);
        Span<KvmCpuidEntry> source = CollectionsMarshal.AsSpan(entries);
        int headBytes = Marshal.SizeOf<KvmListHead>();
        Span<byte> list = new byte[headBytes + (entries.Count * Marshal.SizeOf<KvmCpuidEntry>())];
        MemoryMarshal.Write(list, new KvmListHead { Count = (uint)entries.Count });
        MemoryMarshal.AsBytes(source).CopyTo(list[headBytes..]);
        vcpu.CallList(KvmRequests.SetCpuid, list);
    }

    /// <summary>The whole table for a vCPU with an APIC id.</summary>
    internal List<KvmCpuidEntry> Build(uint apicId)
    {
        CpuidContext context = new() { ApicId = apicId, ApicEnabled = true, Xcr0 = 1 };
        List<KvmCpuidEntry> entries = [];
        uint maximum = _policy.Query(0, 0).Eax;
        for (uint leaf = 0; leaf <= maximum; leaf++)
        {
            uint subleaves = leaf switch
            {
                4 => 8,
                0xB or 0xD or 0x1F => 3,
                _ => 1,
            };
            for (uint subleaf = 0; subleaf < subleaves; subleaf++)
            {
                bool indexed = leaf is 4 or 7 or 0xB or 0xD or 0x1F;
                entries.Add(Entry(leaf, subleaf, indexed, Restrict(leaf, subleaf, _policy.Query(leaf, subleaf, context))));
            }
        }

        for (uint leaf = FirstHypervisorLeaf; leaf <= LastHypervisorLeaf; leaf++)
        {
            if (_personality.TryCpuid((int)apicId, leaf, 0, out CpuidResult result))
            {
                AddHypervisorLeaf(entries, apicId, leaf, result);
            }
        }

        maximum = _policy.Query(0x8000_0000, 0).Eax;
        for (uint leaf = 0x8000_0000; leaf <= maximum; leaf++)
        {
            entries.Add(Entry(leaf, 0, false, Restrict(leaf, 0, _policy.Query(leaf, 0, context))));
        }

        return entries;
    }

    // Of KVM's own leaves only what this KVM has. Some of Xen's have subleaves.
    private void AddHypervisorLeaf(List<KvmCpuidEntry> entries, uint apicId, uint leaf, CpuidResult first)
    {
        if (_personality.HypercallMsr == 0)
        {
            entries.Add(Entry(leaf, 0, false, Restrict(leaf, 0, first)));
            return;
        }

        for (uint subleaf = 0; subleaf < HypervisorSubleaves; subleaf++)
        {
            _ = _personality.TryCpuid((int)apicId, leaf, subleaf, out CpuidResult result);
            entries.Add(Entry(leaf, subleaf, true, result));
        }
    }

    private static KvmCpuidEntry Entry(uint leaf, uint subleaf, bool indexed, CpuidResult result) => new()
    {
        Function = leaf,
        Index = subleaf,
        Flags = indexed ? IndexCounts : 0,
        Eax = result.Eax,
        Ebx = result.Ebx,
        Ecx = result.Ecx,
        Edx = result.Edx,
    };

    // SDM vol. 2A, "CPUID"; APM vol. 3, "Obtaining Processor Information Via the CPUID Instruction".
    private CpuidResult Restrict(uint leaf, uint subleaf, CpuidResult wanted)
    {
        CpuidResult can = _supported(leaf, subleaf);
        return (leaf, subleaf) switch
        {
            // The features of the policy were chosen among KVM's; EDX has what is on every PC.
            (7, 0) => wanted with { Edx = Merge(wanted.Edx, can.Edx, SevenMitigations) },
            (0x8000_0007, 0) => wanted with { Edx = wanted.Edx & can.Edx },
            (0x8000_0008, 0) => wanted with { Ebx = Merge(wanted.Ebx, can.Ebx, EightMitigations) },
            (0x8000_0021, 0) => wanted with
            {
                Eax = Merge(wanted.Eax, can.Eax, TwentyOneMitigations),
                Ecx = wanted.Ecx & can.Ecx,
            },
            (KvmFeatureLeaf, 0) => wanted with { Eax = wanted.Eax & can.Eax },
            _ => wanted,
        };
    }

    private static uint Merge(uint wanted, uint can, uint mitigations) => (wanted | mitigations) & can;

    // MD_CLEAR, IBRS and IBPB, STIBP, L1D_FLUSH, ARCH_CAPABILITIES, SSBD.
    private const uint SevenMitigations = (1u << 10) | (1u << 26) | (1u << 27) | (1u << 28) | (1u << 29) | (1u << 31);

    // IBPB, IBRS, STIBP, STIBP always on, IBRS preferred, SSBD, VIRT_SSBD, SSB_NO, PSFD, BTC_NO.
    private const uint EightMitigations = (1u << 12) | (1u << 14) | (1u << 15) | (1u << 17) | (1u << 18)
        | (1u << 24) | (1u << 25) | (1u << 26) | (1u << 28) | (1u << 29);

    // LFENCE serialises, null selectors clear the base, SBPB, IBPB_BRTYPE, SRSO_NO.
    private const uint TwentyOneMitigations = (1u << 2) | (1u << 6) | (1u << 27) | (1u << 28) | (1u << 29);
}
