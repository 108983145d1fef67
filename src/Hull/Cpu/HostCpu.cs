using System.Runtime.Intrinsics.X86;

namespace Hull.Cpu;

/// <summary>What generated code must know of the CPU that runs it, besides its features.</summary>
internal static class HostCpu
{
    private const int Intel = 0x6C65_746E;                      // "ntel", as CPUID leaf 0 has it in ECX
    private const int Amd = 0x444D_4163;                        // "cAMD"
    private static readonly int Vendor = X86Base.CpuId(0, 0).Ecx;

    /// <summary>The vendor is Intel.</summary>
    internal static bool IsIntel { get; } = Vendor == Intel;

    /// <summary>BMI2. Asked of the CPU: natively compiled code answers <c>Bmi2.IsSupported</c> for any x86-64.</summary>
    internal static bool HasBmi2 { get; } =
        X86Base.CpuId(0, 0).Eax >= 7 && (X86Base.CpuId(7, 0).Ebx & (1 << 8)) != 0;

    /// <summary>PEXT is not in microcode, where it takes hundreds of cycles: not on AMD's before Zen 3 (family 19h).</summary>
    internal static bool HasFastPext { get; } =
        HasBmi2 && (Vendor == Intel || (Vendor == Amd && Family >= 0x19));

    private static int Family
    {
        get
        {
            int version = X86Base.CpuId(1, 0).Eax;
            return ((version >> 8) & 0xF) + ((version >> 20) & 0xFF);
        }
    }
}
