using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// Numbers of the page slots, the first level before the inline TLB. Where an access mostly stays in one page (the stack,
/// FS and GS, a loop of one block) code reads one slot at a fixed place, which remembers the page that was reached
/// last: only an addition stands between the guest's address and the access. All others use <see cref="Hashed"/>.
/// </summary>
internal static class PageSlot
{
    /// <summary>Accesses by PUSH, POP, CALL, RET, and through RSP.</summary>
    internal const int Stack = 4;

    /// <summary>Accesses through RBP.</summary>
    internal const int Frame = 5;

    /// <summary>The first of eight for addresses relative to RIP, by page, where the check keeps the flags.</summary>
    internal const int Relative = 16;

    /// <summary>The same for addresses without a register.</summary>
    internal const int Absolute = 24;

    /// <summary>FS.</summary>
    internal const int Fs = 25;

    /// <summary>The GDT, for IRETQ.</summary>
    internal const int Descriptors = 27;

    /// <summary>
    /// Not one slot but 1024, of which bits 12-21 of the address choose: some six cycles more, but programs that follow pointers
    /// missed the one slot of a register at every third access.
    /// </summary>
    internal const int Hashed = 33;

    /// <summary>The one of <see cref="Hashed"/> that belongs to an address that is known now.</summary>
    internal const int Constant = 32;

    /// <summary>Accesses through RSP further up than what functions push: often another page than their own.</summary>
    internal const int FarStack = 29;

    /// <summary>The slot of an access through FS (4) or GS (5). A kernel's data of one CPU is several pages, at displacements from GS.</summary>
    internal static int OfThread(byte segment, ulong displacement) => segment == 4 ? Fs : ((displacement >> 12) & 3) switch
    {
        0 => 26,
        1 => 28,
        2 => 30,
        _ => 31,
    };

    // Where the far stack begins.
    private const ulong Near = 64;

    /// <summary>The slot of an operand.</summary>
    internal static int Of(in Instruction instruction)
    {
        Register register = instruction.MemoryBase;
        if (register is Register.RIP or Register.EIP)
        {
            return Relative + (int)((instruction.IPRelativeMemoryAddress >> 12) & 7);
        }

        if (register == Register.RSP && instruction.MemoryDisplacement64 - Near < int.MaxValue)
        {
            return FarStack;
        }

        if (register == Register.None)
        {
            register = instruction.MemoryIndex;
        }

        return register == Register.None ? Absolute : register.GetNumber();
    }
}
