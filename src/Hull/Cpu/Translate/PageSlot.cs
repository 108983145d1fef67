using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// Numbers of the page slots, the first level before the inline TLB. Where an access mostly stays in one page (the stack, what
/// is relative to RIP, a loop of one block) code reads one slot at a fixed place, which remembers the page that was reached
/// last: only an addition stands between the guest's address and the access. All others use <see cref="Hashed"/>.
/// </summary>
internal static class PageSlot
{
    /// <summary>Accesses by PUSH, POP, CALL, RET, and through RSP.</summary>
    internal const int Stack = 4;

    /// <summary>Accesses through RBP.</summary>
    internal const int Frame = 5;

    /// <summary>The first of eight for addresses relative to RIP, by page.</summary>
    internal const int Relative = 16;

    /// <summary>Addresses without a register.</summary>
    internal const int Absolute = 24;

    /// <summary>FS; GS is the next.</summary>
    internal const int Fs = 25;

    /// <summary>The GDT, for IRETQ.</summary>
    internal const int Descriptors = 27;

    /// <summary>
    /// Not one slot but 256, of which bits 12-19 of the address choose: some six cycles more, but programs that follow pointers
    /// missed the one slot of a register at every third access.
    /// </summary>
    internal const int Hashed = 28;

    /// <summary>The slot of an operand.</summary>
    internal static int Of(in Instruction instruction)
    {
        Register register = instruction.MemoryBase;
        if (register is Register.RIP or Register.EIP)
        {
            return Relative + (int)((instruction.IPRelativeMemoryAddress >> 12) & 7);
        }

        if (register == Register.None)
        {
            register = instruction.MemoryIndex;
        }

        return register == Register.None ? Absolute : register.GetNumber();
    }
}
