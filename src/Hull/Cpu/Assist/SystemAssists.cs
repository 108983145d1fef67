using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>What an assist tells the translated block that called it.</summary>
internal enum AssistResult : uint
{
    /// <summary>Done; the block goes on with the next instruction (the caller moves RIP).</summary>
    Next = 0,

    /// <summary>Done; RIP is written, and mode, mapping or flags that select translations may have changed.</summary>
    Jump = 1,

    /// <summary><see cref="SoftVcpu.Pending"/> holds an exception; registers and RIP are as before the instruction.</summary>
    Fault = 2,

    /// <summary>HLT: RIP is behind the instruction, the vCPU waits for an interrupt.</summary>
    Halt = 3,
}

/// <summary>
/// Instructions that are not copied: one call each, with the whole state in <see cref="CpuState"/>, RIP at the
/// instruction.
/// </summary>
internal static unsafe class SystemAssists
{
    /// <summary>True when <see cref="Execute"/> has the instruction; others raise #UD there.</summary>
    internal static bool Handles(Code code) => KindOf(code) != AssistKind.None;

    /// <summary>Executes one instruction, decoded with IP = RIP.</summary>
    internal static AssistResult Execute(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        switch (KindOf(instruction.Code))
        {
            case AssistKind.Cpuid:
                return Processor.Cpuid(vcpu);
            case AssistKind.Rdtsc:
                return Processor.Rdtsc(vcpu, false);
            case AssistKind.Rdtscp:
                return Processor.Rdtsc(vcpu, true);
            case AssistKind.Rdpmc:
                return Outcome.Protection(vcpu); // no counter exists, so every index is bad
            case AssistKind.Rdpid:
                return Processor.Rdpid(vcpu, instruction);
            case AssistKind.Random:
                return Processor.Random(vcpu, instruction);
            case AssistKind.Hlt:
                return Processor.Hlt(vcpu, instruction);
            case AssistKind.Hypercall:
                return Processor.Hypercall(vcpu, instruction);
            case AssistKind.InvalidateCaches:
                return Processor.InvalidateCaches(vcpu);
            case AssistKind.FlushLine:
                return Processor.FlushLine(vcpu, instruction);
            case AssistKind.Xgetbv:
                return Processor.Xgetbv(vcpu);
            case AssistKind.Nothing:
                return AssistResult.Next;
            case AssistKind.Rdmsr:
                return Msrs.Rdmsr(vcpu);
            case AssistKind.Wrmsr:
                return Msrs.Wrmsr(vcpu, instruction);
            case AssistKind.MovFromControl:
                return ControlRegisters.MovFromControl(vcpu, instruction);
            case AssistKind.MovToControl:
                return ControlRegisters.MovToControl(vcpu, instruction);
            case AssistKind.MovFromDebug:
                return ControlRegisters.MovFromDebug(vcpu, instruction);
            case AssistKind.MovToDebug:
                return ControlRegisters.MovToDebug(vcpu, instruction);
            case AssistKind.Clts:
                return ControlRegisters.Clts(vcpu, instruction);
            case AssistKind.Lmsw:
                return ControlRegisters.Lmsw(vcpu, instruction);
            case AssistKind.Smsw:
                return ControlRegisters.Smsw(vcpu, instruction);
            case AssistKind.Invlpg:
                return ControlRegisters.Invlpg(vcpu, instruction);
            case AssistKind.Invpcid:
                return ControlRegisters.Invpcid(vcpu, instruction);
            case AssistKind.Xsetbv:
                return ControlRegisters.Xsetbv(vcpu, instruction);
            case AssistKind.Lgdt:
                return DescriptorTables.LoadTable(vcpu, instruction, false);
            case AssistKind.Lidt:
                return DescriptorTables.LoadTable(vcpu, instruction, true);
            case AssistKind.Sgdt:
                return DescriptorTables.StoreTable(vcpu, instruction, cpu->Gdtr);
            case AssistKind.Sidt:
                return DescriptorTables.StoreTable(vcpu, instruction, cpu->Idtr);
            case AssistKind.Sldt:
                return DescriptorTables.StoreSelector(vcpu, instruction, cpu->Ldtr.Selector);
            case AssistKind.Str:
                return DescriptorTables.StoreSelector(vcpu, instruction, cpu->Tr.Selector);
            case AssistKind.Lldt:
                return DescriptorTables.Lldt(vcpu, instruction);
            case AssistKind.Ltr:
                return DescriptorTables.Ltr(vcpu, instruction);
            case AssistKind.Lar:
                return DescriptorTables.LarLsl(vcpu, instruction, false);
            case AssistKind.Lsl:
                return DescriptorTables.LarLsl(vcpu, instruction, true);
            case AssistKind.Verr:
                return DescriptorTables.Verify(vcpu, instruction, false);
            case AssistKind.Verw:
                return DescriptorTables.Verify(vcpu, instruction, true);
            case AssistKind.Arpl:
                return DescriptorTables.Arpl(vcpu, instruction);
            case AssistKind.MovFromSegment:
                return Segments.MovFrom(vcpu, instruction);
            case AssistKind.MovToSegment:
                return Segments.MovTo(vcpu, instruction);
            case AssistKind.PushSegment:
                return Segments.Push(vcpu, instruction);
            case AssistKind.PopSegment:
                return Segments.Pop(vcpu, instruction);
            case AssistKind.Lds:
                return Segments.LoadFarPointer(vcpu, instruction, Seg.Ds);
            case AssistKind.Les:
                return Segments.LoadFarPointer(vcpu, instruction, Seg.Es);
            case AssistKind.Lfs:
                return Segments.LoadFarPointer(vcpu, instruction, Seg.Fs);
            case AssistKind.Lgs:
                return Segments.LoadFarPointer(vcpu, instruction, Seg.Gs);
            case AssistKind.Lss:
                return Segments.LoadFarPointer(vcpu, instruction, Seg.Ss);
            case AssistKind.Swapgs:
                return Segments.Swapgs(vcpu);
            case AssistKind.Rdfsbase:
                return Segments.ReadBase(vcpu, instruction, Seg.Fs);
            case AssistKind.Rdgsbase:
                return Segments.ReadBase(vcpu, instruction, Seg.Gs);
            case AssistKind.Wrfsbase:
                return Segments.WriteBase(vcpu, instruction, Seg.Fs);
            case AssistKind.Wrgsbase:
                return Segments.WriteBase(vcpu, instruction, Seg.Gs);
            case AssistKind.FarJump:
                return FarTransfer.JumpOrCall(vcpu, instruction, false);
            case AssistKind.FarCall:
                return FarTransfer.JumpOrCall(vcpu, instruction, true);
            case AssistKind.FarReturn:
                return FarTransfer.Return(vcpu, instruction);
            case AssistKind.InterruptReturn:
                return InterruptReturn.Execute(vcpu, instruction);
            case AssistKind.Syscall:
                return FastCalls.Syscall(vcpu, instruction);
            case AssistKind.Sysret:
                return FastCalls.Sysret(vcpu, instruction);
            case AssistKind.Sysenter:
                return FastCalls.Sysenter(vcpu);
            case AssistKind.Sysexit:
                return FastCalls.Sysexit(vcpu, instruction);
            case AssistKind.Int:
                return SoftwareInterrupts.Int(vcpu, instruction);
            case AssistKind.Int3:
                return SoftwareInterrupts.Int3(vcpu, instruction);
            case AssistKind.Into:
                return SoftwareInterrupts.Into(vcpu, instruction);
            case AssistKind.Int1:
                return SoftwareInterrupts.Int1(vcpu, instruction);
            case AssistKind.PushFlags:
                return Flags.Push(vcpu, instruction);
            case AssistKind.PopFlags:
                return Flags.Pop(vcpu, instruction);
            case AssistKind.Cli:
                return Flags.Cli(vcpu);
            case AssistKind.Sti:
                return Flags.Sti(vcpu, instruction);
            case AssistKind.Clac:
                return Flags.SetAlignmentCheck(vcpu, instruction, false);
            case AssistKind.Stac:
                return Flags.SetAlignmentCheck(vcpu, instruction, true);
            case AssistKind.In:
                return PortIo.In(vcpu, instruction);
            case AssistKind.Out:
                return PortIo.Out(vcpu, instruction);
            case AssistKind.Movs:
                return Strings.Movs(vcpu, instruction, ElementSize(instruction.Code));
            case AssistKind.Stos:
                return Strings.Stos(vcpu, instruction, ElementSize(instruction.Code));
            case AssistKind.Lods:
                return Strings.Lods(vcpu, instruction, ElementSize(instruction.Code));
            case AssistKind.Scas:
                return Strings.Scas(vcpu, instruction, ElementSize(instruction.Code));
            case AssistKind.Cmps:
                return Strings.Cmps(vcpu, instruction, ElementSize(instruction.Code));
            case AssistKind.Ins:
                return Strings.Ins(vcpu, instruction, ElementSize(instruction.Code));
            case AssistKind.Outs:
                return Strings.Outs(vcpu, instruction, ElementSize(instruction.Code));
            case AssistKind.Fxsave:
                return FpuState.Fxsave(vcpu, instruction);
            case AssistKind.Fxrstor:
                return FpuState.Fxrstor(vcpu, instruction);
            case AssistKind.Xsave:
                return ExtendedState.Save(vcpu, instruction, ExtendedStateKind.Standard);
            case AssistKind.Xsaveopt:
                return ExtendedState.Save(vcpu, instruction, ExtendedStateKind.Optimized);
            case AssistKind.Xsavec:
                return ExtendedState.Save(vcpu, instruction, ExtendedStateKind.Compacted);
            case AssistKind.Xsaves:
                return ExtendedState.Save(vcpu, instruction, ExtendedStateKind.Supervisor);
            case AssistKind.Xrstor:
                return ExtendedState.Restore(vcpu, instruction, ExtendedStateKind.Standard);
            case AssistKind.Xrstors:
                return ExtendedState.Restore(vcpu, instruction, ExtendedStateKind.Supervisor);
            case AssistKind.StoreEnvironment:
                return FpuState.StoreEnvironment(vcpu, instruction, IsWideEnvironment(instruction.Code));
            case AssistKind.LoadEnvironment:
                return FpuState.LoadEnvironment(vcpu, instruction, IsWideEnvironment(instruction.Code));
            case AssistKind.SaveFpu:
                return FpuState.Save(vcpu, instruction, IsWideEnvironment(instruction.Code));
            case AssistKind.RestoreFpu:
                return FpuState.Restore(vcpu, instruction, IsWideEnvironment(instruction.Code));
            case AssistKind.Ldmxcsr:
                return FpuState.Ldmxcsr(vcpu, instruction);
            case AssistKind.Stmxcsr:
                return FpuState.Stmxcsr(vcpu, instruction);
            case AssistKind.MaskedMoveXmm:
                return MaskedMoves.Xmm(vcpu, instruction);
            case AssistKind.MaskedMoveMmx:
                return MaskedMoves.Mmx(vcpu, instruction);
            case AssistKind.MaskedMoveAvx:
                return MaskedMoves.Avx(vcpu, instruction);
            case AssistKind.Gather:
                return Gathers.Execute(vcpu, instruction);
            case AssistKind.Xlat:
                return Legacy.Xlat(vcpu, instruction);
            case AssistKind.Enter:
                return Legacy.Enter(vcpu, instruction);
            case AssistKind.PushAll:
                return Legacy.PushAll(vcpu, instruction.Code == Code.Pushaw ? 2 : 4);
            case AssistKind.PopAll:
                return Legacy.PopAll(vcpu, instruction.Code == Code.Popaw ? 2 : 4);
            case AssistKind.Bound:
                return Legacy.Bound(vcpu, instruction);
            case AssistKind.Aaa:
                return Legacy.AsciiAdjust(vcpu, false);
            case AssistKind.Aas:
                return Legacy.AsciiAdjust(vcpu, true);
            case AssistKind.Daa:
                return Legacy.DecimalAdjust(vcpu, false);
            case AssistKind.Das:
                return Legacy.DecimalAdjust(vcpu, true);
            case AssistKind.Aam:
                return Legacy.Aam(vcpu, instruction);
            case AssistKind.Aad:
                return Legacy.Aad(vcpu, instruction);
            case AssistKind.Salc:
                return Legacy.Salc(vcpu);
            default:
                // Iced calls an instruction of more than 15 bytes invalid, after the fifteenth.
                return instruction is { Mnemonic: Mnemonic.INVALID, Length: 15 }
                    ? Outcome.Protection(vcpu)
                    : Outcome.Undefined(vcpu);
        }
    }

    private static bool IsWideEnvironment(Code code) => code is not (Code.Fnstenv_m14byte or Code.Fstenv_m14byte
        or Code.Fldenv_m14byte or Code.Fnsave_m94byte or Code.Fsave_m94byte or Code.Frstor_m94byte);

    private static int ElementSize(Code code) => code switch
    {
        Code.Movsb_m8_m8 or Code.Stosb_m8_AL or Code.Lodsb_AL_m8 or Code.Scasb_AL_m8 or Code.Cmpsb_m8_m8
            or Code.Insb_m8_DX or Code.Outsb_DX_m8 => 1,
        Code.Movsw_m16_m16 or Code.Stosw_m16_AX or Code.Lodsw_AX_m16 or Code.Scasw_AX_m16 or Code.Cmpsw_m16_m16
            or Code.Insw_m16_DX or Code.Outsw_DX_m16 => 2,
        Code.Movsd_m32_m32 or Code.Stosd_m32_EAX or Code.Lodsd_EAX_m32 or Code.Scasd_EAX_m32 or Code.Cmpsd_m32_m32
            or Code.Insd_m32_DX or Code.Outsd_DX_m32 => 4,
        _ => 8,
    };

    /// <summary>The one table of what is assisted. Codes first where a mnemonic has copyable forms too.</summary>
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
