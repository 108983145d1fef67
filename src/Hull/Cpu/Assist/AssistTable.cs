using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>Which instructions are assisted, and by which family of <see cref="SystemAssists"/>.</summary>
internal static class AssistTable
{
    /// <summary>True when there is an assist; other instructions raise #UD there.</summary>
    internal static bool Handles(Code code) => KindOf(code) != AssistKind.None;

    /// <summary>The family. Codes first where a mnemonic has copyable forms too.</summary>
    internal static AssistKind KindOf(Code code)
    {
        switch (code)
        {
            case Code.Movsd_m32_m32:
                return AssistKind.Movs;
            case Code.Cmpsd_m32_m32:
                return AssistKind.Cmps;
            case Code.Mov_rm16_Sreg or Code.Mov_r32m16_Sreg or Code.Mov_r64m16_Sreg:
                return AssistKind.MovFromSegment;
            case Code.Mov_Sreg_rm16 or Code.Mov_Sreg_r32m16 or Code.Mov_Sreg_r64m16:
                return AssistKind.MovToSegment;
            case Code.Mov_r32_cr or Code.Mov_r64_cr:
                return AssistKind.MovFromControl;
            case Code.Mov_cr_r32 or Code.Mov_cr_r64:
                return AssistKind.MovToControl;
            case Code.Mov_r32_dr or Code.Mov_r64_dr:
                return AssistKind.MovFromDebug;
            case Code.Mov_dr_r32 or Code.Mov_dr_r64:
                return AssistKind.MovToDebug;
            case Code.Pushw_ES or Code.Pushw_CS or Code.Pushw_SS or Code.Pushw_DS or Code.Pushw_FS or Code.Pushw_GS
                or Code.Pushd_ES or Code.Pushd_CS or Code.Pushd_SS or Code.Pushd_DS or Code.Pushd_FS or Code.Pushd_GS
                or Code.Pushq_FS or Code.Pushq_GS:
                return AssistKind.PushSegment;
            case Code.Popw_ES or Code.Popw_CS or Code.Popw_SS or Code.Popw_DS or Code.Popw_FS or Code.Popw_GS
                or Code.Popd_ES or Code.Popd_SS or Code.Popd_DS or Code.Popd_FS or Code.Popd_GS
                or Code.Popq_FS or Code.Popq_GS:
                return AssistKind.PopSegment;
            case Code.Jmp_ptr1616 or Code.Jmp_ptr1632 or Code.Jmp_m1616 or Code.Jmp_m1632 or Code.Jmp_m1664:
                return AssistKind.FarJump;
            case Code.Call_ptr1616 or Code.Call_ptr1632 or Code.Call_m1616 or Code.Call_m1632 or Code.Call_m1664:
                return AssistKind.FarCall;
            case Code.Movsd_xmm_xmmm64 or Code.Movsd_xmmm64_xmm or Code.Cmpsd_xmm_xmmm64_imm8:
                return AssistKind.None;
            default:
                return KindOf(code.Mnemonic());
        }
    }

    private static AssistKind KindOf(Mnemonic mnemonic) => mnemonic switch
    {
        Mnemonic.Cpuid => AssistKind.Cpuid,
        Mnemonic.Rdtsc => AssistKind.Rdtsc,
        Mnemonic.Rdtscp => AssistKind.Rdtscp,
        Mnemonic.Rdpmc => AssistKind.Rdpmc,
        Mnemonic.Rdpid => AssistKind.Rdpid,
        Mnemonic.Rdrand or Mnemonic.Rdseed => AssistKind.Random,
        Mnemonic.Hlt => AssistKind.Hlt,
        Mnemonic.Vmcall or Mnemonic.Vmmcall => AssistKind.Hypercall,
        Mnemonic.Invd or Mnemonic.Wbinvd or Mnemonic.Wbnoinvd => AssistKind.InvalidateCaches,
        Mnemonic.Clflush or Mnemonic.Clflushopt or Mnemonic.Clwb => AssistKind.FlushLine,
        Mnemonic.Xgetbv => AssistKind.Xgetbv,
        Mnemonic.Rdsspd or Mnemonic.Rdsspq => AssistKind.Nothing, // hints without shadow stacks
        Mnemonic.Rdmsr => AssistKind.Rdmsr,
        Mnemonic.Wrmsr => AssistKind.Wrmsr,
        Mnemonic.Clts => AssistKind.Clts,
        Mnemonic.Lmsw => AssistKind.Lmsw,
        Mnemonic.Smsw => AssistKind.Smsw,
        Mnemonic.Invlpg => AssistKind.Invlpg,
        Mnemonic.Invpcid => AssistKind.Invpcid,
        Mnemonic.Xsetbv => AssistKind.Xsetbv,
        Mnemonic.Lgdt => AssistKind.Lgdt,
        Mnemonic.Lidt => AssistKind.Lidt,
        Mnemonic.Sgdt => AssistKind.Sgdt,
        Mnemonic.Sidt => AssistKind.Sidt,
        Mnemonic.Sldt => AssistKind.Sldt,
        Mnemonic.Str => AssistKind.Str,
        Mnemonic.Lldt => AssistKind.Lldt,
        Mnemonic.Ltr => AssistKind.Ltr,
        Mnemonic.Lar => AssistKind.Lar,
        Mnemonic.Lsl => AssistKind.Lsl,
        Mnemonic.Verr => AssistKind.Verr,
        Mnemonic.Verw => AssistKind.Verw,
        Mnemonic.Arpl => AssistKind.Arpl,
        Mnemonic.Lds => AssistKind.Lds,
        Mnemonic.Les => AssistKind.Les,
        Mnemonic.Lfs => AssistKind.Lfs,
        Mnemonic.Lgs => AssistKind.Lgs,
        Mnemonic.Lss => AssistKind.Lss,
        Mnemonic.Swapgs => AssistKind.Swapgs,
        Mnemonic.Rdfsbase => AssistKind.Rdfsbase,
        Mnemonic.Rdgsbase => AssistKind.Rdgsbase,
        Mnemonic.Wrfsbase => AssistKind.Wrfsbase,
        Mnemonic.Wrgsbase => AssistKind.Wrgsbase,
        Mnemonic.Retf => AssistKind.FarReturn,
        Mnemonic.Iret or Mnemonic.Iretd or Mnemonic.Iretq => AssistKind.InterruptReturn,
        Mnemonic.Syscall => AssistKind.Syscall,
        Mnemonic.Sysret or Mnemonic.Sysretq => AssistKind.Sysret,
        Mnemonic.Sysenter => AssistKind.Sysenter,
        Mnemonic.Sysexit or Mnemonic.Sysexitq => AssistKind.Sysexit,
        Mnemonic.Int => AssistKind.Int,
        Mnemonic.Int3 => AssistKind.Int3,
        Mnemonic.Into => AssistKind.Into,
        Mnemonic.Int1 => AssistKind.Int1,
        Mnemonic.Pushf or Mnemonic.Pushfd or Mnemonic.Pushfq => AssistKind.PushFlags,
        Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq => AssistKind.PopFlags,
        Mnemonic.Cli => AssistKind.Cli,
        Mnemonic.Sti => AssistKind.Sti,
        Mnemonic.Clac => AssistKind.Clac,
        Mnemonic.Stac => AssistKind.Stac,
        Mnemonic.In => AssistKind.In,
        Mnemonic.Out => AssistKind.Out,
        Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsq => AssistKind.Movs,
        Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd or Mnemonic.Stosq => AssistKind.Stos,
        Mnemonic.Lodsb or Mnemonic.Lodsw or Mnemonic.Lodsd or Mnemonic.Lodsq => AssistKind.Lods,
        Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq => AssistKind.Scas,
        Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsq => AssistKind.Cmps,
        Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd => AssistKind.Ins,
        Mnemonic.Outsb or Mnemonic.Outsw or Mnemonic.Outsd => AssistKind.Outs,
        Mnemonic.Fxsave or Mnemonic.Fxsave64 => AssistKind.Fxsave,
        Mnemonic.Fxrstor or Mnemonic.Fxrstor64 => AssistKind.Fxrstor,
        Mnemonic.Xsave or Mnemonic.Xsave64 => AssistKind.Xsave,
        Mnemonic.Xsaveopt or Mnemonic.Xsaveopt64 => AssistKind.Xsaveopt,
        Mnemonic.Xsavec or Mnemonic.Xsavec64 => AssistKind.Xsavec,
        Mnemonic.Xsaves or Mnemonic.Xsaves64 => AssistKind.Xsaves,
        Mnemonic.Xrstor or Mnemonic.Xrstor64 => AssistKind.Xrstor,
        Mnemonic.Xrstors or Mnemonic.Xrstors64 => AssistKind.Xrstors,
        Mnemonic.Fnstenv or Mnemonic.Fstenv => AssistKind.StoreEnvironment,
        Mnemonic.Fldenv => AssistKind.LoadEnvironment,
        Mnemonic.Fnsave or Mnemonic.Fsave => AssistKind.SaveFpu,
        Mnemonic.Frstor => AssistKind.RestoreFpu,
        Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr => AssistKind.Ldmxcsr,
        Mnemonic.Stmxcsr or Mnemonic.Vstmxcsr => AssistKind.Stmxcsr,
        Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu => AssistKind.MaskedMoveXmm,
        Mnemonic.Maskmovq => AssistKind.MaskedMoveMmx,
        Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd or Mnemonic.Vpmaskmovq
            => AssistKind.MaskedMoveAvx,
        Mnemonic.Vgatherdps or Mnemonic.Vgatherdpd or Mnemonic.Vgatherqps or Mnemonic.Vgatherqpd
            or Mnemonic.Vpgatherdd or Mnemonic.Vpgatherdq or Mnemonic.Vpgatherqd or Mnemonic.Vpgatherqq
            => AssistKind.Gather,
        Mnemonic.Xlatb => AssistKind.Xlat,
        Mnemonic.Enter => AssistKind.Enter,
        Mnemonic.Pusha or Mnemonic.Pushad => AssistKind.PushAll,
        Mnemonic.Popa or Mnemonic.Popad => AssistKind.PopAll,
        Mnemonic.Bound => AssistKind.Bound,
        Mnemonic.Aaa => AssistKind.Aaa,
        Mnemonic.Aas => AssistKind.Aas,
        Mnemonic.Daa => AssistKind.Daa,
        Mnemonic.Das => AssistKind.Das,
        Mnemonic.Aam => AssistKind.Aam,
        Mnemonic.Aad => AssistKind.Aad,
        Mnemonic.Salc => AssistKind.Salc,
        Mnemonic.Ud0 or Mnemonic.Ud1 or Mnemonic.Ud2 => AssistKind.Undefined,
        // Hidden by CPUID: virtualisation, monitor, protection keys, transactions, SMM.
        Mnemonic.Monitor or Mnemonic.Mwait or Mnemonic.Monitorx or Mnemonic.Mwaitx or Mnemonic.Vmlaunch
            or Mnemonic.Vmresume or Mnemonic.Vmxoff or Mnemonic.Vmfunc or Mnemonic.Vmread or Mnemonic.Vmwrite
            or Mnemonic.Vmptrld or Mnemonic.Vmptrst or Mnemonic.Vmclear or Mnemonic.Vmxon or Mnemonic.Invept
            or Mnemonic.Invvpid or Mnemonic.Vmrun or Mnemonic.Vmload or Mnemonic.Vmsave or Mnemonic.Stgi or Mnemonic.Clgi
            or Mnemonic.Skinit or Mnemonic.Invlpga or Mnemonic.Rdpkru or Mnemonic.Wrpkru or Mnemonic.Rdpru
            or Mnemonic.Xbegin or Mnemonic.Xend or Mnemonic.Xabort or Mnemonic.Xtest or Mnemonic.Rsm or Mnemonic.Getsec
            or Mnemonic.Encls or Mnemonic.Enclu or Mnemonic.Enclv or Mnemonic.Clzero or Mnemonic.INVALID
            => AssistKind.Undefined,
        _ => AssistKind.None,
    };
}
