using System.Collections.Generic;
using System.Linq;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>What must be known of one instruction to give it a state: its memory, worked out once and used for many.</summary>
internal sealed class OperandPlan
{
    private OperandPlan(in Instruction instruction, bool mode32)
    {
        Instruction = instruction;
        Mode32 = mode32;
    }

    /// <summary>The instruction.</summary>
    internal Instruction Instruction { get; }

    /// <summary>True for 32-bit code.</summary>
    internal bool Mode32 { get; }

    /// <summary>Every access that the decoder's table knows of, implicit ones included.</summary>
    internal UsedMemory[] Memory { get; private init; } = [];

    /// <summary>General registers that are written, by encoding number, as a bit set.</summary>
    internal uint WrittenGpr { get; private init; }

    /// <summary>ModRM names memory, and the instruction reads or writes it.</summary>
    internal bool HasOperand { get; private init; }

    /// <summary>MOVS, CMPS, STOS, LODS, SCAS.</summary>
    internal bool IsString { get; private init; }

    /// <summary>Touches the stack through RSP.</summary>
    internal bool IsStack { get; private init; }

    /// <summary>Bytes of the explicit operand.</summary>
    internal int Size { get; private init; }

    /// <summary>The alignment that the operand needs or that keeps a locked access inside a cache line.</summary>
    internal int Alignment { get; private init; } = 1;

    /// <summary>A locked access: must not cross a cache line (the host's kernel may punish split locks).</summary>
    internal bool IsLocked { get; private init; }

    /// <summary>FS or GS base as the segment of the explicit operand, else 0.</summary>
    internal ulong SegmentBase { get; private init; }

    /// <summary>True when the test needs FS and GS bases of its own.</summary>
    internal bool NeedsSegmentBases { get; private init; }

    /// <summary>Works the plan out.</summary>
    internal static OperandPlan Of(in Instruction instruction, InstructionInfoFactory factory, bool mode32)
    {
        InstructionInfo info = factory.GetInfo(instruction);
        List<UsedMemory> memory = [];
        foreach (UsedMemory used in info.GetUsedMemory())
        {
            if (used.Access is not (OpAccess.None or OpAccess.NoMemAccess))
            {
                memory.Add(used);
            }
        }

        uint written = 0;
        foreach (UsedRegister used in info.GetUsedRegisters())
        {
            bool writes = used.Access is not (OpAccess.None or OpAccess.NoMemAccess or OpAccess.Read or OpAccess.CondRead);
            if (writes && Gpr(used.Register) is >= 0 and int number)
            {
                written |= 1u << number;
            }
        }

        bool isString = instruction.IsStringInstruction;
        bool explicitMemory = false;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            explicitMemory |= instruction.GetOpKind(i) == OpKind.Memory && info.GetOpAccess(i) != OpAccess.NoMemAccess;
        }

        int size = SizeOf(instruction);
        // IRET reads its frame with one locked access on some hosts, and the kernel punishes split ones by a pause.
        bool frame = instruction.Mnemonic is Mnemonic.Iret or Mnemonic.Iretd or Mnemonic.Iretq;
        bool locked = frame || instruction.HasLockPrefix || (instruction.Mnemonic == Mnemonic.Xchg && explicitMemory);
        Register segment = instruction.MemorySegment;
        bool fsGs = segment is Register.FS or Register.GS && (explicitMemory || memory.Count > 0);
        return new OperandPlan(instruction, mode32)
        {
            Memory = [.. memory],
            WrittenGpr = written,
            HasOperand = explicitMemory,
            IsString = isString,
            IsStack = memory.Any(static m => m.Base is Register.RSP or Register.ESP or Register.SP)
                && (instruction.IsStackInstruction || instruction.Mnemonic is Mnemonic.Enter or Mnemonic.Leave),
            Size = size,
            IsLocked = locked,
            Alignment = frame ? 64 : locked ? size : RequiredAlignment(instruction, size),
            SegmentBase = !fsGs || mode32 ? 0 : segment == Register.FS ? OracleLayout.FsBase : OracleLayout.GsBase,
            NeedsSegmentBases = !mode32 && (fsGs || IsSegmentBaseInstruction(instruction.Mnemonic)),
        };
    }

    /// <summary>The encoding number of a general register of any width, or -1.</summary>
    internal static int Gpr(Register register)
    {
        Register full = register.GetFullRegister();
        return full is >= Register.RAX and <= Register.R15 ? full - Register.RAX : -1;
    }

    /// <summary>The explicit operand's address in the given registers.</summary>
    internal unsafe ulong OperandAddress(CpuTestState* state)
    {
        Instruction i = Instruction;
        if (i.IsIPRelativeMemoryOperand)
        {
            return SegmentBase + i.IPRelativeMemoryAddress;
        }

        ulong address = i.MemoryDisplacement64 + Value(state, i.MemoryBase)
            + (Value(state, i.MemoryIndex) * (ulong)i.MemoryIndexScale);
        return SegmentBase + (IsAddress32 ? (uint)address : address);
    }

    /// <summary>True when addresses are cut to 32 bits.</summary>
    internal bool IsAddress32 => Mode32 || Instruction.MemoryBase is >= Register.EAX and <= Register.R15D
        || Instruction.MemoryIndex is >= Register.EAX and <= Register.R15D || Instruction.MemoryBase == Register.EIP;

    private static unsafe ulong Value(CpuTestState* state, Register register)
    {
        int number = Gpr(register);
        return number < 0 ? 0 : state->Gpr[number];
    }

    private static bool IsSegmentBaseInstruction(Mnemonic mnemonic) => mnemonic is Mnemonic.Rdfsbase or Mnemonic.Rdgsbase
        or Mnemonic.Wrfsbase or Mnemonic.Wrgsbase;

    private static int SizeOf(in Instruction instruction)
    {
        int size = instruction.MemorySize.GetSize();
        return size != 0 ? size : instruction.Mnemonic switch
        {
            Mnemonic.Xsave or Mnemonic.Xsave64 or Mnemonic.Xsavec or Mnemonic.Xsavec64 or Mnemonic.Xrstor
                or Mnemonic.Xrstor64 => 832,
            Mnemonic.Clflush or Mnemonic.Clflushopt or Mnemonic.Clwb => 1,
            _ => 8,
        };
    }

    private static int RequiredAlignment(in Instruction instruction, int size)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu or Mnemonic.Lddqu or Mnemonic.Vmovups
                or Mnemonic.Vmovupd or Mnemonic.Vmovdqu or Mnemonic.Vlddqu:
                return 1;
            case Mnemonic.Xsave or Mnemonic.Xsave64 or Mnemonic.Xsavec or Mnemonic.Xsavec64 or Mnemonic.Xrstor
                or Mnemonic.Xrstor64:
                return 64;
            case Mnemonic.Fxsave or Mnemonic.Fxsave64 or Mnemonic.Fxrstor or Mnemonic.Fxrstor64:
                return 16;
            case Mnemonic.Vmovaps or Mnemonic.Vmovapd or Mnemonic.Vmovdqa or Mnemonic.Vmovntps or Mnemonic.Vmovntpd
                or Mnemonic.Vmovntdq or Mnemonic.Vmovntdqa:
                return size;
            default:
                return instruction.Encoding == EncodingKind.Legacy && size == 16 ? 16 : 1;
        }
    }
}
