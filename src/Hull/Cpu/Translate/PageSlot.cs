using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// Numbers of the page slots, the first level before the inline TLB: each remembers the last page that was reached
/// through one base register. Code reads a slot at a fixed place, so the address of the check's loads does not depend on
/// the guest's address, and only an addition stands before the access.
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
