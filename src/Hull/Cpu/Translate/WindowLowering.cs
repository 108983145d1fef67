using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// Operands that are reached through a window (<see cref="Mmu.Windows"/>): no compare, and the flags stay where they are. What to
/// add to an address goes by the region of its base register; a displacement that leads out of the region ends in the empty space
/// around the window.
/// <code>
///   pext r11, base, [RegionMask]     ; number of the region
///   mov  r11, [windows+r11*8]
///   op   [base+r11+disp]
/// </code>
/// With an index, an address of 32 bits or FS, the whole address is in R10 first, and is the base. Where R11 is needed for something
/// else, R10 becomes the host address.
/// </summary>
internal sealed unsafe class WindowLowering
{
    private readonly BlockWriter _w;
    private readonly Emitter _e;

    internal WindowLowering(BlockWriter writer)
    {
        _w = writer;
        _e = writer.E;
    }

    /// <summary>The host register that the operand's address is based on, beside R11.</summary>
    internal int Base { get; private set; } = HostRegister.Address;

    /// <summary>What is added to it.</summary>
    internal int Displacement { get; private set; }

    /// <summary>The operand is [Base+R11+Displacement].</summary>
    internal bool IsSplit { get; private set; }

    /// <summary>No operand through a window is under way.</summary>
    internal void Clear() => Set(HostRegister.Address, 0, false);

    /// <summary>True when such operands of the current instruction go through a window.</summary>
    internal bool Takes(int size) => (_w.Mode & BlockMode.Windows) != 0 && (Thunks.IsLookedUp(size) || size == 10) && !_w.IsPlainSite;

    /// <summary>True when the address is a base register and a displacement, which needs no computing.</summary>
    internal static bool IsSimple(in Instruction instruction, long stackBias) =>
        instruction.MemoryBase.IsGPR64() && instruction.MemoryIndex == Register.None
        && (long)instruction.MemoryDisplacement64 + stackBias is >= int.MinValue and <= int.MaxValue
        && instruction.MemorySegment is not (Register.FS or Register.GS);

    /// <summary>Reaches [base+disp].</summary>
    /// <param name="base">A host register.</param>
    /// <param name="displacement">Bytes.</param>
    /// <param name="maySplit">R11 is free: the operand may be [base+r11+disp].</param>
    internal void Reach(int @base, int displacement, bool maySplit)
    {
        _e.Bytes(0xC4, 0x62);                                   // pext r11, base, [rip+mask]
        _e.Bytes((byte)(0x80 | ((~@base & 15) << 3) | 2), 0xF5, 0x1D);
        _e.Displacement(_w.Thunks.RegionMask);
        _e.Bytes(0x4E, 0x8B, 0x9C, 0xDC);                       // mov r11, [rsp+r11*8+disp32]
        _e.Int32(StateLayout.WindowBase - StateLayout.PointerBias);
        if (!maySplit)
        {
            _e.Lea(true, HostRegister.Address, @base, HostRegister.Temp, 1, displacement);
        }

        Set(maySplit ? @base : HostRegister.Address, maySplit ? displacement : 0, maySplit);
        _w.AddSideRow(_e.At, _w.Flags.Place == FlagPlace.Host);
    }

    private void Set(int @base, int displacement, bool split)
    {
        Base = @base;
        Displacement = displacement;
        IsSplit = split;
    }
}
