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
    /// <summary>Executes one instruction, decoded with IP = RIP.</summary>
    internal static AssistResult Execute(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        switch (AssistTable.KindOf(instruction.Code))
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
                return DebugRegisters.MovFrom(vcpu, instruction);
            case AssistKind.MovToDebug:
                return DebugRegisters.MovTo(vcpu, instruction);
            case AssistKind.Clts:
                return ControlRegisters.Clts(vcpu, instruction);
            case AssistKind.Lmsw:
                return ControlRegisters.Lmsw(vcpu, instruction);
            case AssistKind.Smsw:
                return ControlRegisters.Smsw(vcpu, instruction);
            case AssistKind.Invlpg:
                return Invalidations.Invlpg(vcpu, instruction);
            case AssistKind.Invpcid:
                return Invalidations.Invpcid(vcpu, instruction);
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
                return FarReturn.Execute(vcpu, instruction);
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
}
