using Hull.Cpu;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>How CR2 is compared.</summary>
internal enum AddressRule
{
    /// <summary>Exactly.</summary>
    Exact,

    /// <summary>
    /// The same operand: which of its words is touched first is the CPU's business, and so, on two pages, is the present
    /// bit of the error code.
    /// </summary>
    SameOperand,

    /// <summary>Not at all: one of two operands.</summary>
    Any,
}

/// <summary>
/// What a comparison leaves out, and which manual lets it. Hull runs a guest's instruction on the CPU that the oracle
/// asks, so what the manuals leave undefined is equal as a rule: a row here needs the manual and the reason why Hull's
/// host code is another one.
/// </summary>
internal readonly record struct Variance
{
    private const uint CountAndPointers = 0xC2;
    private const ulong Carry = 1;
    private const ulong Parity = 4;
    private const ulong Adjust = 0x10;
    private const ulong ZeroSign = 0xC0;
    private const ulong Overflow = 0x800;

    /// <summary>Bits of RFLAGS that are not compared.</summary>
    internal ulong Flags { get; init; }

    /// <summary>General registers, as a bit set, of which only bits 31:0 are compared.</summary>
    internal uint LowHalves { get; init; }

    /// <summary>General registers, as a bit set, that are not compared at all.</summary>
    internal uint Registers { get; init; }

    /// <summary>Whether there is an exception is not compared, nor anything after it.</summary>
    internal bool Everything { get; init; }

    /// <summary>
    /// Hull may raise this vector where the CPU raises another one, with all else as it was before the instruction.
    /// </summary>
    internal byte? OtherVector { get; init; }

    /// <summary>RIP is not compared: a trap or a fault.</summary>
    internal bool Rip { get; init; }

    /// <summary>How CR2 is compared.</summary>
    internal AddressRule Address { get; init; }

    /// <summary>The slice is not compared.</summary>
    internal bool Memory { get; init; }

    /// <summary>The exception flags of MXCSR are not compared.</summary>
    internal bool Mxcsr { get; init; }

    /// <summary>FSW, FTW and the x87 registers are not compared.</summary>
    internal bool X87 { get; init; }

    /// <summary>XMM and YMM registers are not compared.</summary>
    internal bool Vectors { get; init; }

    /// <summary>Registers, as a bit set, whose upper halves are not compared.</summary>
    internal uint UpperHalves { get; init; }

    /// <summary>What to leave out after an instruction.</summary>
    internal static Variance Of(TestCase test, in Instruction instruction, TestResult expected)
    {
        if (!HostCpu.IsIntel && AmdVariance.Find(test, instruction, expected) is { } variance)
        {
            return variance;
        }

        if (instruction.IsStringInstruction)
        {
            return OfString(test, instruction, expected);
        }

        if (expected.Faulted && instruction.OpCount > 0 && instruction.Op1Register.IsMM()
            && instruction.Mnemonic != Mnemonic.Maskmovq)
        {
            // Intel's CPUs switch to MMX (TOP = 0) before a store's fault is known. SDM vol. 1, "Programming with MMX
            // Technology", "Effect of MMX Instructions on x87 FPU Tag Word", speaks of completed instructions only.
            return new Variance { X87 = true };
        }

        if (instruction.Mnemonic is Mnemonic.Maskmovq or Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu
            && expected.Faulted && HasNoMask(test, instruction))
        {
            // SDM vol. 2, "MASKMOVDQU": with a mask of zeros, whether the address may fault depends on the implementation.
            return new Variance { Everything = true };
        }

        if (IsFaultedGather(instruction, expected))
        {
            return new Variance
            {
                UpperHalves = (1u << instruction.Op0Register.GetNumber()) | (1u << instruction.Op2Register.GetNumber()),
            };
        }

        return OfMnemonic(instruction.Mnemonic, expected);
    }

    // After the fault of a gather of 128 bits, Intel's CPUs have sometimes cleared the upper half of the target, and left
    // a copy of the mask in that of its register; SDM vol. 2C, "VPGATHERQD", speaks of completed instructions only.
    private static bool IsFaultedGather(in Instruction instruction, TestResult expected) =>
        expected.Faulted && instruction.IsVsib && instruction.Op0Register.IsXMM();

    private static Variance OfMnemonic(Mnemonic mnemonic, TestResult expected)
    {
        switch (mnemonic)
        {
            case Mnemonic.Enter when expected.Faulted:
                // Frame pointers that were pushed before the fault stay in memory below RSP, or not; RSP is as before.
                // SDM vol. 2, "ENTER", lets the implementation choose when it checks the final stack pointer.
                return new Variance { Memory = true };
            case Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq when expected.Faulted && expected.Vector == 1:
                // TF came from memory that the test does not choose: the trap is that of the oracle's own next instruction.
                // SDM vol. 3B, "Single-Step Exception Condition".
                return new Variance { Everything = true };
            case Mnemonic.Xrstor or Mnemonic.Xrstor64 when expected.Faulted && HostCpu.IsIntel:
                // Intel's CPUs have loaded some components, or all, when they find reserved bits of MXCSR or a page fault:
                // SDM vol. 1, "Operation of XRSTOR", gives no order. Hull loads nothing.
                return new Variance { Address = AddressRule.SameOperand, X87 = true, Vectors = true, Mxcsr = true };
            case Mnemonic.Popa or Mnemonic.Popad when expected.Faulted:
                // Registers that were popped before the fault keep the new value, or not: it is popped again. SDM vol. 2,
                // "POPA/POPAD", pops one after the other; SDM vol. 3A, "Exception Classifications", asks of a fault only
                // that the instruction can be restarted.
                return new Variance { Address = AddressRule.SameOperand, Registers = 0xEF };
            case Mnemonic.Maskmovq when expected.Faulted:
                // As other MMX stores above: SDM vol. 1, "Effect of MMX Instructions on x87 FPU Tag Word".
                return new Variance { Address = AddressRule.SameOperand, X87 = true };
            case Mnemonic.Fldenv or Mnemonic.Fnstenv or Mnemonic.Fnsave or Mnemonic.Frstor or Mnemonic.Xsave
                or Mnemonic.Xsave64 or Mnemonic.Xsavec or Mnemonic.Xsavec64 or Mnemonic.Xrstor or Mnemonic.Xrstor64
                or Mnemonic.Retf or Mnemonic.Iret or Mnemonic.Iretd or Mnemonic.Iretq or Mnemonic.Call or Mnemonic.Jmp
                or Mnemonic.Maskmovq or Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu or Mnemonic.Enter or Mnemonic.Lfs
                or Mnemonic.Lgs or Mnemonic.Lss or Mnemonic.Bound or Mnemonic.Fxsave or Mnemonic.Fxsave64
                or Mnemonic.Fxrstor or Mnemonic.Fxrstor64 or Mnemonic.Pusha or Mnemonic.Pushad
                or Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd or Mnemonic.Vpmaskmovq:
                // Many words: SDM vol. 3A, "Interrupt 14", says that CR2 is an address that faulted, not which.
                return new Variance { Address = AddressRule.SameOperand };
            case Mnemonic.Vcvtps2ph when expected.Faulted:
                // Intel's CPUs have set the exception flags when the store faults; SDM vol. 2, "VCVTPS2PH", is silent.
                return new Variance { Mxcsr = true };
            // SDM vol. 2 and APM vol. 3 agree on each of these: "the OF flag is undefined" (DAA, DAS), "the OF, SF, ZF and PF
            // flags are undefined" (AAA, AAS), "the OF, AF and CF flags are undefined" (AAD, AAM). They are not in 64-bit
            // mode, where the host runs Hull: Hull computes.
            case Mnemonic.Daa or Mnemonic.Das:
                return new Variance { Flags = Overflow };
            case Mnemonic.Aaa or Mnemonic.Aas:
                return new Variance { Flags = Overflow | ZeroSign | Parity };
            case Mnemonic.Aad or Mnemonic.Aam:
                return new Variance { Flags = Overflow | Adjust | Carry };
            default:
                return default;
        }
    }

    private static unsafe bool HasNoMask(TestCase test, in Instruction instruction)
    {
        Register mask = instruction.Op2Register;
        // The image has the x87 registers by their distance from TOP; MMX registers are absolute.
        int top = (test.Initial->Fsw >> 11) & 7;
        int number = mask.IsMM() ? (mask.GetNumber() - top) & 7 : mask.GetNumber();
        byte* bytes = mask.IsMM() ? test.Initial->St + (number * 16) : test.Initial->Xmm + (number * 16);
        ulong signs = *(ulong*)bytes | (mask.IsMM() ? 0 : *(ulong*)(bytes + 8));
        return (signs & 0x8080_8080_8080_8080) == 0;
    }

    private static unsafe Variance OfString(TestCase test, in Instruction instruction, TestResult expected)
    {
        // Intel's microcode writes ECX, ESI and EDI back (which clears bits 63:32) even when the count is zero or the
        // first element faults; AMD leaves them. SDM vol. 2, "REP/REPE/REPZ/REPNE/REPNZ", does not say.
        bool repeats = instruction.HasRepPrefix || instruction.HasRepnePrefix;
        bool nothingDone = repeats && (expected.Faulted || (uint)test.Initial->Gpr[1] == 0);
        bool address32 = !test.Mode32 && SpecialOperands.IsString32(instruction);

        // Both operands may fault; SDM vol. 2, "CMPS", does not say which is read first.
        bool compares = instruction.Mnemonic is Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Cmpsq;
        return new Variance
        {
            LowHalves = nothingDone && address32 ? CountAndPointers : 0,
            Address = compares ? AddressRule.Any : AddressRule.Exact,
        };
    }
}
