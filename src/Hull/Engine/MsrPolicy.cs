using System;

namespace Hull.Engine;

/// <summary>How an MSR that only holds state or tells a fact behaves.</summary>
internal enum MsrKind : byte
{
    /// <summary>Not in this table.</summary>
    Unknown,

    /// <summary>Holds what was written; a bit outside the mask raises #GP.</summary>
    State,

    /// <summary>Reads a constant; a write raises #GP.</summary>
    ReadOnly,

    /// <summary>Reads a constant; a write does nothing.</summary>
    Ignored,

    /// <summary>A command: write only, bits outside the mask raise #GP.</summary>
    Command,

    /// <summary>Memory types, eight a register: PAT, the fixed MTRRs.</summary>
    MemoryTypes,

    /// <summary>Holds all zeros or all ones; another value raises #GP.</summary>
    AllOrNone,

    /// <summary>May be cleared; another value raises #GP.</summary>
    Clearable,
}

/// <summary>One MSR's rule.</summary>
/// <param name="Kind">How it behaves.</param>
/// <param name="Slot">Where a value that can change is kept.</param>
/// <param name="Value">The value after reset, or the constant.</param>
/// <param name="Mask">The bits that may be written.</param>
internal readonly record struct MsrRule(MsrKind Kind, int Slot, ulong Value, ulong Mask)
{
    /// <summary>The value is in a slot.</summary>
    internal bool HasSlot => Kind is MsrKind.State or MsrKind.MemoryTypes or MsrKind.AllOrNone or MsrKind.Clearable;
}

/// <summary>
/// The MSRs that hold plain state or tell facts, one table for both engines. What the CPU acts on (EFER, segment bases,
/// TSC, APIC) belongs to the engine. An index that nobody knows goes to the personality and then raises #GP.
/// SDM vol. 4; what Linux 6.1 and Xen 4.17 probe.
/// </summary>
internal static class MsrPolicy
{
    /// <summary>How many values a vCPU keeps for this table.</summary>
    internal const int SlotCount = 64;

    internal const uint MiscEnable = 0x1A0;
    internal const uint Pat = 0x277;
    internal const uint MtrrDefType = 0x2FF;

    /// <summary>Banks of machine-check registers, four MSRs each from MC0_CTL on.</summary>
    internal const uint MachineCheckBanks = 4;

    private const int MiscEnableSlot = 0;
    private const int PatSlot = 1;
    private const int MtrrDefTypeSlot = 2;
    private const int SpecCtrlSlot = 3;
    private const int McgStatusSlot = 4;
    private const int HwcrSlot = 5;
    private const int DeCfgSlot = 6;
    private const int BiosSignSlot = 7;
    private const int DebugCtlSlot = 8;
    private const int SyscfgSlot = 9;
    private const int McgCtlSlot = 10;
    private const int MtrrFixedSlot = 16;
    private const int MtrrVariableSlot = 32;
    private const int MachineCheckSlot = 48;
    private const uint Mc0Ctl = 0x400;

    private const ulong All = ulong.MaxValue;

    /// <summary>The rule of an MSR; <see cref="MsrKind.Unknown"/> when it has none.</summary>
    internal static MsrRule Find(uint index, CpuidPolicy cpuid) => index switch
    {
        0x00 or 0x01 => new(MsrKind.Ignored, 0, 0, 0), // P5_MC_ADDR, P5_MC_TYPE
        0x17 => new(MsrKind.ReadOnly, 0, 0, 0), // PLATFORM_ID
        0x2A => new(MsrKind.Ignored, 0, 0, 0), // EBL_CR_POWERON
        0x34 when cpuid.IsIntel => new(MsrKind.ReadOnly, 0, 0, 0), // SMI_COUNT
        0x3A when cpuid.IsIntel => new(MsrKind.ReadOnly, 0, 1, 0), // FEATURE_CONTROL: locked, no VMX
        0x48 => new(MsrKind.State, SpecCtrlSlot, 0, 0x3), // SPEC_CTRL: IBRS, STIBP; SSBD is not there
        0x49 => new(MsrKind.Command, 0, 0, 1), // PRED_CMD: IBPB
        0x79 => new(MsrKind.Command, 0, 0, All), // BIOS_UPDT_TRIG: taken, without effect
        0x8B => new(MsrKind.State, BiosSignSlot, 0x1_0000_0000_0000, All), // BIOS_SIGN_ID: a revision nobody calls too old
        0xCE when cpuid.IsIntel => new(MsrKind.ReadOnly, 0, PlatformInfo(cpuid), 0),
        0xCD when cpuid.IsIntel => new(MsrKind.ReadOnly, 0, 3, 0), // FSB_FREQ: 100 MHz
        0xFE => new(MsrKind.ReadOnly, 0, 0x508, 0), // MTRRCAP: 8 variable, fixed, write-combining
        0x10A when cpuid.IsIntel => new(MsrKind.ReadOnly, 0, CpuidPolicy.ArchCapabilities, 0),
        0x10B when cpuid.IsIntel => new(MsrKind.Command, 0, 0, 1), // FLUSH_CMD
        0x119 => new(MsrKind.Ignored, 0, 0, 0), // BBL_CR_CTL: also the serial-number switch
        0x179 => new(MsrKind.ReadOnly, 0, MachineCheckBanks | 0x100, 0), // MCG_CAP: banks, MCG_CTL
        0x17A => new(MsrKind.State, McgStatusSlot, 0, 0x7), // MCG_STATUS: RIPV, EIPV, MCIP
        0x17B => new(MsrKind.AllOrNone, McgCtlSlot, 0, 0), // MCG_CTL
        >= Mc0Ctl and < Mc0Ctl + (4 * MachineCheckBanks) => MachineCheck(index - Mc0Ctl),
        0x198 when cpuid.IsIntel => new(MsrKind.ReadOnly, 0, 0x1000_0000_0000, 0), // PERF_STATUS
        0x199 when cpuid.IsIntel => new(MsrKind.Ignored, 0, 0, 0), // PERF_CTL
        // QUIRK: AMD's CPUs have no MISC_ENABLE; their hypervisors have, and test suites write it without asking.
        MiscEnable => new(MsrKind.State, MiscEnableSlot, 0x1801, 0x4_00C5_3889),
        0x1D9 => new(MsrKind.State, DebugCtlSlot, 0, 0x3), // DEBUGCTL: LBR and BTF are kept, without effect
        >= 0x200 and <= 0x20F => new(MsrKind.State, MtrrVariableSlot + (int)(index - 0x200), 0, VariableMask(index, cpuid)),
        0x250 => new(MsrKind.MemoryTypes, MtrrFixedSlot, 0, All),
        0x258 or 0x259 => new(MsrKind.MemoryTypes, MtrrFixedSlot + 1 + (int)(index - 0x258), 0, All),
        >= 0x268 and <= 0x26F => new(MsrKind.MemoryTypes, MtrrFixedSlot + 3 + (int)(index - 0x268), 0, All),
        Pat => new(MsrKind.MemoryTypes, PatSlot, 0x0007_0406_0007_0406, All),
        MtrrDefType => new(MsrKind.State, MtrrDefTypeSlot, 0xC06, 0xCFF),
        _ when !cpuid.IsIntel => FindAmd(index),
        _ => default,
    };

    /// <summary>RDMSR.</summary>
    /// <returns>False: not in this table, or write-only.</returns>
    internal static bool TryRead(uint index, CpuidPolicy cpuid, ReadOnlySpan<ulong> slots, out ulong value)
    {
        MsrRule rule = Find(index, cpuid);
        value = rule.HasSlot ? slots[rule.Slot] : rule.Value;
        return rule.Kind is not (MsrKind.Unknown or MsrKind.Command);
    }

    /// <summary>WRMSR.</summary>
    /// <returns>False for #GP; <paramref name="known"/> says whether the index is in this table at all.</returns>
    internal static bool TryWrite(uint index, CpuidPolicy cpuid, Span<ulong> slots, ulong value, out bool known)
    {
        MsrRule rule = Find(index, cpuid);
        known = rule.Kind != MsrKind.Unknown;
        switch (rule.Kind)
        {
            case MsrKind.Ignored:
                return true;
            case MsrKind.Command:
                return (value & ~rule.Mask) == 0;
            case MsrKind.State when (value & ~rule.Mask) == 0 && IsValid(index, value):
            case MsrKind.MemoryTypes when AreMemoryTypes(value, index == Pat):
            case MsrKind.AllOrNone when value is 0 or All:
            case MsrKind.Clearable when value == 0 || MayWriteStatus(cpuid, slots):
                slots[rule.Slot] = value;
                return true;
            default:
                return false;
        }
    }

    /// <summary>Gives every slot its value after power-on.</summary>
    internal static void Reset(CpuidPolicy cpuid, Span<ulong> slots)
    {
        slots.Clear();
        foreach (uint index in StateIndexes)
        {
            MsrRule rule = Find(index, cpuid);
            if (rule.HasSlot)
            {
                slots[rule.Slot] = rule.Value;
            }
        }
    }

    /// <summary>The indexes that hold state here; what a snapshot keeps.</summary>
    internal static ReadOnlySpan<uint> StateIndexes =>
    [
        0x48, 0x8B, 0x17A, 0x17B, MiscEnable, 0x1D9, 0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, 0x208, 0x209,
        0x20A, 0x20B, 0x20C, 0x20D, 0x20E, 0x20F, 0x250, 0x258, 0x259, 0x268, 0x269, 0x26A, 0x26B, 0x26C, 0x26D,
        0x26E, 0x26F, Pat, MtrrDefType, 0x400, 0x401, 0x402, 0x403, 0x404, 0x405, 0x406, 0x407, 0x408, 0x409, 0x40A,
        0x40B, 0x40C, 0x40D, 0x40E, 0x40F, 0xC001_0010, 0xC001_0015, 0xC001_1029,
    ];

    private static MsrRule FindAmd(uint index) => index switch
    {
        0xC001_0010 => new(MsrKind.State, SyscfgSlot, 0, All), // SYSCFG
        0xC001_0015 => new(MsrKind.State, HwcrSlot, 1 << 24, All), // HWCR: TscFreqSel
        0xC001_001F => new(MsrKind.Ignored, 0, 0, 0), // NB_CFG
        0xC001_0055 => new(MsrKind.Ignored, 0, 0, 0), // interrupt pending
        0xC001_0061 or 0xC001_0063 => new(MsrKind.ReadOnly, 0, 0, 0), // P-state limit, status
        0xC001_0062 => new(MsrKind.Ignored, 0, 0, 0),
        0xC001_0064 => new(MsrKind.ReadOnly, 0, 0, 0),
        0xC001_0112 or 0xC001_0113 => new(MsrKind.Ignored, 0, 0, 0), // TSEG
        0xC001_0140 or 0xC001_0141 => new(MsrKind.ReadOnly, 0, 0, 0), // OSVW
        0xC001_1020 or 0xC001_1022 or 0xC001_1023 or 0xC001_102A or 0xC001_102D => new(MsrKind.Ignored, 0, 0, 0),
        0xC001_1029 => new(MsrKind.State, DeCfgSlot, 2, All), // DE_CFG: LFENCE serialises
        _ => default,
    };

    // SDM vol. 3B, "Error-Reporting Register Banks"; APM vol. 2, "Machine Check Global and Bank Registers". CTL, STATUS, ADDR,
    // MISC. No error is ever reported.
    private static MsrRule MachineCheck(uint number)
    {
        int slot = MachineCheckSlot + (int)number;
        return (number & 3) switch
        {
            0 => new(MsrKind.AllOrNone, slot, 0, 0),
            1 => new(MsrKind.Clearable, slot, 0, 0),
            _ => new(MsrKind.State, slot, 0, All),
        };
    }

    // AMD's HWCR.McStatusWrEn is for handlers that test themselves.
    private static bool MayWriteStatus(CpuidPolicy cpuid, ReadOnlySpan<ulong> slots) =>
        !cpuid.IsIntel && (slots[HwcrSlot] & (1 << 18)) != 0;

    private static ulong PlatformInfo(CpuidPolicy cpuid) =>
        (cpuid.TscHz / 100_000_000 & 0xFF) << 8; // ratio without turbo; no CPUID faulting

    private static ulong VariableMask(uint index, CpuidPolicy cpuid)
    {
        ulong address = ((1UL << cpuid.PhysicalBits) - 1) & ~0xFFFUL;
        return (index & 1) == 0 ? address | 0xFF : address | 0x800;
    }

    private static bool IsValid(uint index, ulong value) =>
        index is not (MtrrDefType or (>= 0x200 and <= 0x20F))
        || (index != MtrrDefType && (index & 1) != 0)
        || IsMemoryType((byte)value, false);

    private static bool AreMemoryTypes(ulong value, bool pat)
    {
        for (int index = 0; index < 8; index++)
        {
            if (!IsMemoryType((byte)(value >> (index * 8)), pat))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>UC, WC, WT, WP, WB; in PAT also UC-.</summary>
    private static bool IsMemoryType(byte type, bool pat) => type is 0 or 1 or 4 or 5 or 6 || (pat && type == 7);
}
