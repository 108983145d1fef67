using System;
using Hull.Engine;
using Iced.Intel;

namespace Hull.Cpu.Decode;

/// <summary>
/// Sorts instruction forms into <see cref="PlanKind"/>. Only what is listed here, by feature, runs at all: everything
/// that a newer host CPU knows and the guest is not told of is #UD.
/// </summary>
internal static class PlanClassifier
{
    /// <summary>The plan for a form on a CPU with <paramref name="features"/>.</summary>
    internal static PlanKind Classify(Code code, CpuFeatureSet features)
    {
        if (code.Encoding() is not (EncodingKind.Legacy or EncodingKind.VEX))
        {
            return PlanKind.Undefined;
        }

        foreach (CpuidFeature feature in code.CpuidFeatures())
        {
            if (!Allowed(feature, features))
            {
                return PlanKind.Undefined;
            }
        }

        return IsStringTwin(code) ? PlanKind.Assist : ByCode(code) ?? ByMnemonic(code.Mnemonic());
    }

    /// <summary>The unit that a form needs.</summary>
    internal static UnitKind UnitOf(Code code)
    {
        CpuidFeature[] features = code.CpuidFeatures();
        if (code.Encoding() == EncodingKind.VEX)
        {
            return features.AsSpan().ContainsAny(CpuidFeature.BMI1, CpuidFeature.BMI2)
                ? UnitKind.Integer
                : UnitKind.Avx;
        }

        foreach (CpuidFeature feature in features)
        {
            switch (feature)
            {
                case CpuidFeature.FPU:
                case CpuidFeature.FPU287:
                case CpuidFeature.FPU387:
                    return UnitKind.X87;
                case CpuidFeature.MMX:
                    return code.ToOpCode().IsMmx() ? UnitKind.Mmx : UnitKind.Sse;
                case CpuidFeature.SSE:
                case CpuidFeature.SSE2:
                case CpuidFeature.SSE3:
                case CpuidFeature.SSSE3:
                case CpuidFeature.SSE4_1:
                case CpuidFeature.SSE4_2:
                case CpuidFeature.AES:
                case CpuidFeature.PCLMULQDQ:
                case CpuidFeature.SHA:
                    return NeedsNoUnit(code.Mnemonic()) ? UnitKind.Integer : UnitKind.Sse;
                default:
                    break;
            }
        }

        return code.Mnemonic() == Mnemonic.Wait ? UnitKind.X87 : UnitKind.Integer;
    }

    private static bool IsMmx(this OpCodeInfo form)
    {
        for (int i = 0; i < form.OpCount; i++)
        {
            if (form.GetOpKind(i) is OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.mm_reg or OpCodeOperandKind.mm_rm)
            {
                return true;
            }
        }

        return form.Mnemonic == Mnemonic.Emms;
    }

    private static bool NeedsNoUnit(Mnemonic mnemonic) => mnemonic is
        Mnemonic.Lfence or Mnemonic.Mfence or Mnemonic.Sfence or Mnemonic.Movnti or Mnemonic.Crc32
        or Mnemonic.Prefetchnta or Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2;

    private static bool Allowed(CpuidFeature feature, CpuFeatureSet features) => feature switch
    {
        CpuidFeature.INTEL8086 or CpuidFeature.INTEL186 or CpuidFeature.INTEL286 or CpuidFeature.INTEL386
            or CpuidFeature.INTEL486 or CpuidFeature.X64 or CpuidFeature.CLFSH or CpuidFeature.CMOV or CpuidFeature.CPUID
            or CpuidFeature.CX8 or CpuidFeature.FPU or CpuidFeature.FPU287 or CpuidFeature.FPU387
            or CpuidFeature.FXSR or CpuidFeature.MMX or CpuidFeature.MSR or CpuidFeature.MULTIBYTENOP
            or CpuidFeature.PAUSE or CpuidFeature.RDPMC or CpuidFeature.SEP or CpuidFeature.SSE or CpuidFeature.SSE2
            or CpuidFeature.SYSCALL or CpuidFeature.TSC => true,
        // Their encodings are NOPs, or have a reason of their own to fault, where the feature is absent.
        CpuidFeature.CET_IBT or CpuidFeature.CET_SS or CpuidFeature.CLDEMOTE or CpuidFeature.PREFETCHW
            or CpuidFeature.PREFETCHWT1 or CpuidFeature.PREFETCHITI
            or CpuidFeature.WBNOINVD or CpuidFeature.VMX or CpuidFeature.SVM => true,
        CpuidFeature.ADX => features.Has(CpuFeature.Adx),
        CpuidFeature.AES => features.Has(CpuFeature.Aes),
        CpuidFeature.AVX => features.Has(CpuFeature.Avx),
        CpuidFeature.AVX2 => features.Has(CpuFeature.Avx2),
        CpuidFeature.BMI1 => features.Has(CpuFeature.Bmi1),
        CpuidFeature.BMI2 => features.Has(CpuFeature.Bmi2),
        CpuidFeature.CLFLUSHOPT => features.Has(CpuFeature.Clflushopt),
        CpuidFeature.CLWB => features.Has(CpuFeature.Clwb),
        CpuidFeature.CMPXCHG16B => features.Has(CpuFeature.Cx16),
        CpuidFeature.F16C => features.Has(CpuFeature.F16c),
        CpuidFeature.FMA => features.Has(CpuFeature.Fma),
        CpuidFeature.FSGSBASE => features.Has(CpuFeature.Fsgsbase),
        CpuidFeature.INVPCID => features.Has(CpuFeature.Invpcid),
        CpuidFeature.LZCNT => features.Has(CpuFeature.Lzcnt),
        CpuidFeature.MOVBE => features.Has(CpuFeature.Movbe),
        CpuidFeature.PCLMULQDQ => features.Has(CpuFeature.Pclmulqdq),
        CpuidFeature.POPCNT => features.Has(CpuFeature.Popcnt),
        CpuidFeature.RDPID => features.Has(CpuFeature.Rdpid),
        CpuidFeature.RDRAND => features.Has(CpuFeature.Rdrand),
        CpuidFeature.RDSEED => features.Has(CpuFeature.Rdseed),
        CpuidFeature.RDTSCP => features.Has(CpuFeature.Rdtscp),
        CpuidFeature.SHA => features.Has(CpuFeature.Sha),
        CpuidFeature.SMAP => features.Has(CpuFeature.Smap),
        CpuidFeature.SSE3 => features.Has(CpuFeature.Sse3),
        CpuidFeature.SSSE3 => features.Has(CpuFeature.Ssse3),
        CpuidFeature.SSE4_1 => features.Has(CpuFeature.Sse41),
        CpuidFeature.SSE4_2 => features.Has(CpuFeature.Sse42),
        CpuidFeature.XSAVE => features.Has(CpuFeature.Xsave),
        CpuidFeature.XSAVEC => features.Has(CpuFeature.Xsavec),
        CpuidFeature.XSAVEOPT => features.Has(CpuFeature.Xsaveopt),
        CpuidFeature.XSAVES => features.Has(CpuFeature.Xsaves),
        _ => false,
    };

    private static PlanKind? ByCode(Code code) => code switch
    {
        Code.Mov_rm16_Sreg or Code.Mov_r32m16_Sreg or Code.Mov_r64m16_Sreg => PlanKind.Lower,
        Code.Mov_Sreg_rm16 or Code.Mov_Sreg_r32m16 or Code.Mov_Sreg_r64m16 => PlanKind.AssistEnd,
        Code.Mov_r32_cr or Code.Mov_r64_cr or Code.Mov_r32_dr or Code.Mov_r64_dr => PlanKind.Assist,
        Code.Mov_cr_r32 or Code.Mov_cr_r64 or Code.Mov_dr_r32 or Code.Mov_dr_r64 => PlanKind.AssistEnd,
        Code.Mov_r32_tr or Code.Mov_tr_r32 => PlanKind.Undefined,
        Code.Mov_AL_moffs8 or Code.Mov_AX_moffs16 or Code.Mov_EAX_moffs32 or Code.Mov_RAX_moffs64
            or Code.Mov_moffs8_AL or Code.Mov_moffs16_AX or Code.Mov_moffs32_EAX or Code.Mov_moffs64_RAX => PlanKind.Lower,
        Code.Popw_DS or Code.Popd_DS or Code.Popw_ES or Code.Popd_ES or Code.Popw_SS or Code.Popd_SS
            or Code.Popw_FS or Code.Popd_FS or Code.Popq_FS or Code.Popw_GS or Code.Popd_GS or Code.Popq_GS
            or Code.Popw_CS => PlanKind.AssistEnd,
        Code.Jmp_ptr1616 or Code.Jmp_ptr1632 or Code.Jmp_m1616 or Code.Jmp_m1632 or Code.Jmp_m1664
            or Code.Call_ptr1616 or Code.Call_ptr1632 or Code.Call_m1616 or Code.Call_m1632
            or Code.Call_m1664 => PlanKind.AssistEnd,
        _ => null,
    };

    private static PlanKind ByMnemonic(Mnemonic mnemonic)
    {
        switch (mnemonic)
        {
            case Mnemonic.INVALID:
            case Mnemonic.Ud0:
            case Mnemonic.Ud1:
            case Mnemonic.Ud2:
            case Mnemonic.Rsm:
            case Mnemonic.Vmlaunch or Mnemonic.Vmresume or Mnemonic.Vmxoff or Mnemonic.Vmxon or Mnemonic.Vmclear:
            case Mnemonic.Vmptrld or Mnemonic.Vmptrst or Mnemonic.Vmread or Mnemonic.Vmwrite or Mnemonic.Vmfunc:
            case Mnemonic.Clgi or Mnemonic.Stgi or Mnemonic.Invlpga or Mnemonic.Vmload or Mnemonic.Vmrun:
            case Mnemonic.Vmsave or Mnemonic.Skinit or Mnemonic.Monitor or Mnemonic.Mwait:
            case Mnemonic.Incsspd or Mnemonic.Incsspq or Mnemonic.Rstorssp or Mnemonic.Saveprevssp:
            case Mnemonic.Setssbsy or Mnemonic.Clrssbsy or Mnemonic.Wrssd or Mnemonic.Wrssq or Mnemonic.Wrussd:
            case Mnemonic.Wrussq:
                return PlanKind.Undefined;

            case Mnemonic.Nop or Mnemonic.Reservednop or Mnemonic.Endbr32 or Mnemonic.Endbr64:
            case Mnemonic.Rdsspd or Mnemonic.Rdsspq:
            case Mnemonic.Prefetch or Mnemonic.Prefetchw or Mnemonic.Prefetchnta or Mnemonic.Prefetcht0:
            case Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2 or Mnemonic.Prefetchwt1 or Mnemonic.Cldemote:
            case Mnemonic.Prefetchit0 or Mnemonic.Prefetchit1:
            case Mnemonic.Feni or Mnemonic.Fneni or Mnemonic.Fdisi or Mnemonic.Fndisi or Mnemonic.Fsetpm or Mnemonic.Fnsetpm:
                return PlanKind.Nop;

            case Mnemonic.Push or Mnemonic.Pop or Mnemonic.Call or Mnemonic.Ret or Mnemonic.Jmp or Mnemonic.Leave:
            case Mnemonic.Ja or Mnemonic.Jae or Mnemonic.Jb or Mnemonic.Jbe or Mnemonic.Je or Mnemonic.Jg:
            case Mnemonic.Jge or Mnemonic.Jl or Mnemonic.Jle or Mnemonic.Jne or Mnemonic.Jno or Mnemonic.Jnp:
            case Mnemonic.Jns or Mnemonic.Jo or Mnemonic.Jp or Mnemonic.Js:
            case Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne or Mnemonic.Jcxz or Mnemonic.Jecxz or Mnemonic.Jrcxz:
            case Mnemonic.Lea or Mnemonic.Cli or Mnemonic.Sti or Mnemonic.Cld or Mnemonic.Std:
            case Mnemonic.Clac or Mnemonic.Stac or Mnemonic.Rdtsc:
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc:
                return PlanKind.Lower;

            case Mnemonic.Hlt or Mnemonic.Int or Mnemonic.Int3 or Mnemonic.Int1 or Mnemonic.Into:
            case Mnemonic.Iret or Mnemonic.Iretd or Mnemonic.Iretq or Mnemonic.Retf:
            case Mnemonic.Syscall or Mnemonic.Sysret or Mnemonic.Sysretq or Mnemonic.Sysenter:
            case Mnemonic.Sysexit or Mnemonic.Sysexitq:
            case Mnemonic.Lgdt or Mnemonic.Lidt or Mnemonic.Lldt or Mnemonic.Ltr or Mnemonic.Lmsw or Mnemonic.Clts:
            case Mnemonic.Invlpg or Mnemonic.Invpcid or Mnemonic.Invd or Mnemonic.Wbinvd or Mnemonic.Wbnoinvd:
            case Mnemonic.Wrmsr or Mnemonic.Xsetbv or Mnemonic.Xrstor or Mnemonic.Xrstor64:
            case Mnemonic.Xrstors or Mnemonic.Xrstors64:
            case Mnemonic.Lds or Mnemonic.Les or Mnemonic.Lfs or Mnemonic.Lgs or Mnemonic.Lss:
            case Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq:
            case Mnemonic.Vmcall or Mnemonic.Vmmcall:
                return PlanKind.AssistEnd;

            case Mnemonic.Aaa or Mnemonic.Aad or Mnemonic.Aam or Mnemonic.Aas or Mnemonic.Daa or Mnemonic.Das:
            case Mnemonic.Salc or Mnemonic.Xlatb or Mnemonic.Bound or Mnemonic.Enter or Mnemonic.Arpl:
            case Mnemonic.Pusha or Mnemonic.Pushad or Mnemonic.Popa or Mnemonic.Popad:
            case Mnemonic.Pushf or Mnemonic.Pushfd or Mnemonic.Pushfq:
            case Mnemonic.In or Mnemonic.Out or Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd:
            case Mnemonic.Outsb or Mnemonic.Outsw or Mnemonic.Outsd:
            case Mnemonic.Lodsb or Mnemonic.Lodsw or Mnemonic.Lodsd or Mnemonic.Lodsq:
            case Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd or Mnemonic.Stosq:
            case Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsq:
            case Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq:
            case Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsq:
            case Mnemonic.Lar or Mnemonic.Lsl or Mnemonic.Verr or Mnemonic.Verw:
            case Mnemonic.Sgdt or Mnemonic.Sidt or Mnemonic.Sldt or Mnemonic.Smsw or Mnemonic.Str:
            case Mnemonic.Cpuid or Mnemonic.Rdmsr or Mnemonic.Rdpmc or Mnemonic.Rdpid or Mnemonic.Rdtscp:
            case Mnemonic.Xgetbv or Mnemonic.Swapgs:
            case Mnemonic.Rdfsbase or Mnemonic.Rdgsbase or Mnemonic.Wrfsbase or Mnemonic.Wrgsbase:
            case Mnemonic.Clflush or Mnemonic.Clflushopt or Mnemonic.Clwb:
            case Mnemonic.Fxsave or Mnemonic.Fxsave64 or Mnemonic.Fxrstor or Mnemonic.Fxrstor64:
            case Mnemonic.Xsave or Mnemonic.Xsave64 or Mnemonic.Xsavec or Mnemonic.Xsavec64:
            case Mnemonic.Xsaveopt or Mnemonic.Xsaveopt64 or Mnemonic.Xsaves or Mnemonic.Xsaves64:
            case Mnemonic.Fldenv or Mnemonic.Fnstenv or Mnemonic.Fstenv or Mnemonic.Fnsave or Mnemonic.Fsave or Mnemonic.Frstor:
            case Mnemonic.Maskmovq or Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu:
            case Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd or Mnemonic.Vpmaskmovq:
            case Mnemonic.Vgatherdpd or Mnemonic.Vgatherdps or Mnemonic.Vgatherqpd or Mnemonic.Vgatherqps:
            case Mnemonic.Vpgatherdd or Mnemonic.Vpgatherdq or Mnemonic.Vpgatherqd or Mnemonic.Vpgatherqq:
                return PlanKind.Assist;

            default:
                return PlanKind.Copy;
        }
    }

    /// <summary>MOVSD and CMPSD name a string and an SSE2 instruction each; the string ones are assists.</summary>
    private static bool IsStringTwin(Code code) => code is Code.Movsd_m32_m32 or Code.Cmpsd_m32_m32;
}
