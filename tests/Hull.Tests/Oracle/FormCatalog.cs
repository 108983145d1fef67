using System;
using System.Collections.Generic;
using System.Runtime.Intrinsics.X86;
using Hull.Cpu;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>Groups of instruction forms that a campaign can choose.</summary>
[Flags]
internal enum FormSets
{
    None = 0,

    /// <summary>The base integer ISA, with CMOV, CX8, CX16, POPCNT, CRC32, branches, strings and stack operations.</summary>
    Integer = 1,

    /// <summary>BMI1, BMI2, LZCNT, MOVBE, ADX.</summary>
    BitManipulation = 2,

    /// <summary>x87.</summary>
    X87 = 4,

    /// <summary>MMX.</summary>
    Mmx = 8,

    /// <summary>SSE to SSE4.2 and FXSAVE.</summary>
    Sse = 16,

    /// <summary>AES, PCLMULQDQ, SHA.</summary>
    Crypto = 32,

    /// <summary>AVX, AVX2, FMA, F16C.</summary>
    Avx = 64,

    /// <summary>RDFSBASE and the like.</summary>
    SegmentBases = 128,

    /// <summary>Instructions that only fault at CPL 3.</summary>
    Privileged = 256,

    /// <summary>Loads of segment registers, far branches and returns that stay at CPL 3.</summary>
    Segments = 512,

    /// <summary>XSAVE, XSAVEC and XRSTOR.</summary>
    Xsave = 1024,

    /// <summary>All of them.</summary>
    All = 2047,
}

/// <summary>One instruction form: a <see cref="Code"/> of Iced's table.</summary>
internal sealed record Form(Code Code, OpCodeInfo OpCode, FormSets Set);

/// <summary>
/// Every form of Iced's table that may run at CPL 3, whose result does not depend on the host's system state, and whose
/// CPUID features Hull's policy includes.
/// </summary>
internal static class FormCatalog
{
    // Results that belong to the host's kernel or clock, or that the kernel emulates: tested elsewhere.
    private static readonly HashSet<Mnemonic> Excluded =
    [
        Mnemonic.Syscall, Mnemonic.Sysenter, Mnemonic.Int, Mnemonic.Rdtsc, Mnemonic.Rdtscp, Mnemonic.Rdrand,
        Mnemonic.Rdseed, Mnemonic.Cpuid, Mnemonic.Xgetbv, Mnemonic.Rdpid, Mnemonic.Rdpmc, Mnemonic.Sgdt, Mnemonic.Sidt,
        Mnemonic.Sldt, Mnemonic.Str, Mnemonic.Smsw, Mnemonic.Xsaveopt, Mnemonic.Xsaveopt64, Mnemonic.Monitor, Mnemonic.Mwait,
        Mnemonic.Loadall, Mnemonic.Umov, Mnemonic.Storeall, Mnemonic.Ud0,
    ];

    /// <summary>The forms of one mode and the wanted sets, as far as this host has them.</summary>
    internal static List<Form> Find(FormSets sets, bool mode32)
    {
        List<Form> forms = [];
        foreach (Code code in Enum.GetValues<Code>())
        {
            OpCodeInfo opCode = code.ToOpCode();
            bool rightMode = mode32 ? opCode.Mode32 && opCode.CompatibilityMode : opCode.Mode64;
            bool decoded = IsDecoded(opCode, mode32);
            if (!opCode.IsInstruction || !rightMode || !decoded || opCode.Fwait || opCode.DecoderOption != DecoderOptions.None
                || opCode.Encoding is not (EncodingKind.Legacy or EncodingKind.VEX))
            {
                continue;
            }

            FormSets set = SetOf(code, opCode, mode32);
            if (set != FormSets.None && (sets & set) != 0)
            {
                forms.Add(new Form(code, opCode, set));
            }
        }

        return forms;
    }

    /// <summary>The host's vendor has the form.</summary>
    internal static bool IsDecoded(OpCodeInfo opCode, bool mode32) => HostCpu.IsIntel
        ? (mode32 ? opCode.IntelDecoder32 : opCode.IntelDecoder64)
        : (mode32 ? opCode.AmdDecoder32 : opCode.AmdDecoder64);

    private static FormSets SetOf(Code code, OpCodeInfo opCode, bool mode32)
    {
        Mnemonic mnemonic = code.Mnemonic();
        if (Excluded.Contains(mnemonic))
        {
            return FormSets.None;
        }

        switch (mnemonic)
        {
            case Mnemonic.Xsave or Mnemonic.Xsave64 or Mnemonic.Xsavec or Mnemonic.Xsavec64 or Mnemonic.Xrstor
                or Mnemonic.Xrstor64:
                return Have(FormSets.Xsave, Avx.IsSupported);
            case Mnemonic.Retf or Mnemonic.Iret or Mnemonic.Iretd or Mnemonic.Iretq:
            case Mnemonic.Lar or Mnemonic.Lsl or Mnemonic.Verr or Mnemonic.Verw:
                return Have(FormSets.Segments, NativeRunner.HasSegmentBases);
            default:
                break;
        }

        bool farImmediate = opCode.Op0Kind is OpCodeOperandKind.farbr2_2 or OpCodeOperandKind.farbr4_2;
        if (farImmediate || IsFarMemory(code) || LoadsSegment(code, opCode))
        {
            return Have(FormSets.Segments, NativeRunner.HasSegmentBases);
        }

        if (opCode.IsPrivileged || opCode.MustBeCpl0 || opCode.IsInputOutput || !opCode.Cpl3
            || mnemonic is Mnemonic.Cli or Mnemonic.Sti)
        {
            return SetOfFeatures(code) == FormSets.Integer ? FormSets.Privileged : FormSets.None;
        }

        return SetOfFeatures(code);
    }

    private static bool IsFarMemory(Code code) => code is Code.Call_m1616 or Code.Call_m1632 or Code.Call_m1664
        or Code.Jmp_m1616 or Code.Jmp_m1632 or Code.Jmp_m1664;

    private static bool LoadsSegment(Code code, OpCodeInfo opCode)
    {
        bool segment = opCode.Op0Kind is OpCodeOperandKind.seg_reg or OpCodeOperandKind.ds or OpCodeOperandKind.es
            or OpCodeOperandKind.ss or OpCodeOperandKind.fs or OpCodeOperandKind.gs;
        return code.Mnemonic() is Mnemonic.Lds or Mnemonic.Les or Mnemonic.Lfs or Mnemonic.Lgs or Mnemonic.Lss
            || (segment && code.Mnemonic() is Mnemonic.Mov or Mnemonic.Pop);
    }

    private static FormSets SetOfFeatures(Code code)
    {
        FormSets result = FormSets.Integer;
        foreach (CpuidFeature feature in code.CpuidFeatures())
        {
            FormSets set = SetOf(feature);
            if (set == FormSets.None)
            {
                return FormSets.None;
            }

            if (set > result)
            {
                result = set;
            }
        }

        return result;
    }

    private static FormSets SetOf(CpuidFeature feature) => feature switch
    {
        CpuidFeature.INTEL8086 or CpuidFeature.INTEL186 or CpuidFeature.INTEL286 or CpuidFeature.INTEL386
            or CpuidFeature.INTEL486 or CpuidFeature.X64 or CpuidFeature.CMOV or CpuidFeature.CX8
            or CpuidFeature.MULTIBYTENOP or CpuidFeature.PAUSE or CpuidFeature.MSR or CpuidFeature.CLFSH
            => FormSets.Integer,
        CpuidFeature.CMPXCHG16B => Have(FormSets.Integer, Bit(1, 2, 13)),
        CpuidFeature.POPCNT => Have(FormSets.Integer, Popcnt.IsSupported),
        CpuidFeature.PREFETCHW => Have(FormSets.Integer, Bit(0x8000_0001, 2, 8)),
        CpuidFeature.CLFLUSHOPT => Have(FormSets.Integer, Bit(7, 1, 23)),
        CpuidFeature.CLWB => Have(FormSets.Integer, Bit(7, 1, 24)),
        CpuidFeature.LZCNT => Have(FormSets.BitManipulation, Lzcnt.IsSupported),
        CpuidFeature.MOVBE => Have(FormSets.BitManipulation, Bit(1, 2, 22)),
        CpuidFeature.ADX => Have(FormSets.BitManipulation, Bit(7, 1, 19)),
        CpuidFeature.BMI1 => Have(FormSets.BitManipulation, Bmi1.IsSupported),
        CpuidFeature.BMI2 => Have(FormSets.BitManipulation, Bmi2.IsSupported),
        CpuidFeature.FPU or CpuidFeature.FPU287 or CpuidFeature.FPU387 => FormSets.X87,
        CpuidFeature.MMX => FormSets.Mmx,
        CpuidFeature.FXSR or CpuidFeature.SSE or CpuidFeature.SSE2 => FormSets.Sse,
        CpuidFeature.SSE3 => Have(FormSets.Sse, Sse3.IsSupported),
        CpuidFeature.SSSE3 => Have(FormSets.Sse, Ssse3.IsSupported),
        CpuidFeature.SSE4_1 => Have(FormSets.Sse, Sse41.IsSupported),
        CpuidFeature.SSE4_2 => Have(FormSets.Sse, Sse42.IsSupported),
        CpuidFeature.AES => Have(FormSets.Crypto, Aes.IsSupported),
        CpuidFeature.PCLMULQDQ => Have(FormSets.Crypto, Pclmulqdq.IsSupported),
        CpuidFeature.SHA => Have(FormSets.Crypto, Bit(7, 1, 29)),
        CpuidFeature.AVX => Have(FormSets.Avx, Avx.IsSupported),
        CpuidFeature.AVX2 => Have(FormSets.Avx, Avx2.IsSupported),
        CpuidFeature.FMA => Have(FormSets.Avx, Fma.IsSupported),
        CpuidFeature.F16C => Have(FormSets.Avx, Avx.IsSupported && Bit(1, 2, 29)),
        CpuidFeature.FSGSBASE => Have(FormSets.SegmentBases, NativeRunner.HasSegmentBases),
        _ => FormSets.None,
    };

    private static FormSets Have(FormSets set, bool present) => present ? set : FormSets.None;

    private static bool Bit(uint leaf, int register, int bit)
    {
        (int eax, int ebx, int ecx, int edx) = X86Base.CpuId((int)leaf, 0);
        int value = register switch { 0 => eax, 1 => ebx, 2 => ecx, _ => edx };
        return ((value >> bit) & 1) != 0;
    }
}
