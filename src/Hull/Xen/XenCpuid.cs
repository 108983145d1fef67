using Hull.Engine;

namespace Hull.Xen;

/// <summary>The CPUID leaves by which a guest finds Xen 4.17. Xen, public/arch-x86/cpuid.h.</summary>
internal static class XenCpuid
{
    /// <summary>The MSR through which a guest asks for the hypercall page.</summary>
    internal const uint HypercallMsr = 0x4000_0000;

    private const uint First = 0x4000_0000;
    private const uint Last = 0x4000_0005;
    private const uint IommuMappings = 1 << 2;
    private const uint HasVcpuId = 1 << 3;
    private const uint HasDomainId = 1 << 4;
    private const uint UpcallVector = 1 << 6;
    private const uint TscIsStable = 0;

    /// <summary>Answers a leaf.</summary>
    /// <returns>False when it is not Xen's.</returns>
    internal static bool TryRead(Domain domain, int vcpu, uint leaf, uint subleaf, out CpuidResult result)
    {
        uint frequencyKhz = (uint)(domain.Clock.TscHz / 1000);
        result = leaf switch
        {
            // "XenVMMXenVMM" in EBX, ECX, EDX.
            First => new CpuidResult(Last, 0x566E_6558, 0x6558_4D4D, 0x4D4D_566E),
            First + 1 => new CpuidResult((XenVersion.Major << 16) | XenVersion.Minor, 0, 0, 0),
            First + 2 => new CpuidResult(1, HypercallMsr, 0, 0),
            First + 3 when subleaf == 0 => new CpuidResult(0, TscIsStable, frequencyKhz, 0),
            First + 3 when subleaf == 1 => OffsetLeaf(domain),
            First + 4 => new CpuidResult(
                IommuMappings | HasVcpuId | HasDomainId | UpcallVector, (uint)vcpu, (uint)domain.Id, 0),
            _ => default,
        };
        return leaf is >= First and <= Last;
    }

    // How the guest's clock follows from its TSC: EAX:EBX would be an offset, ECX a multiplier, EDX a shift.
    private static CpuidResult OffsetLeaf(Domain domain)
    {
        (uint multiplier, sbyte shift) = KvmClockPersonality.ScaleOf(domain.Clock.TscHz);
        return new CpuidResult(0, 0, multiplier, unchecked((uint)shift));
    }
}
