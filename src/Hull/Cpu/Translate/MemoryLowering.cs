using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// Memory operands: the address into R10, the check against the operand's page slot (<see cref="SlotCheck"/>), and after it the host
/// address in R10. Where a plain host address cannot stand for the operand (MMIO, two pages, code, segments that are not flat) the
/// access is careful: C# copies the operand to the bounce buffer and back.
/// </summary>
internal sealed unsafe class MemoryLowering
{
    /// <summary>No segment: the address is linear.</summary>
    internal const byte Linear = 255;

    private const int CodeSegment = 1;
    private const int StackSegment = 2;
    private readonly BlockWriter _w;
    private readonly Emitter _e;

    // Of the operand under way.
    private ulong _displacement;

    internal MemoryLowering(BlockWriter writer)
    {
        _w = writer;
        _e = writer.E;
        Slots = new SlotCheck(writer);
        Window = new WindowLowering(writer);
    }

    /// <summary>The check against the page slot.</summary>
    internal SlotCheck Slots { get; }

    /// <summary>Operands that need no check.</summary>
    internal WindowLowering Window { get; }

    /// <summary>
    /// The host address of the last operand is <see cref="Base"/> + R11 + <see cref="Displacement"/>, not R10: without a window,
    /// R10 + R11.
    /// </summary>
    internal bool IsSplit => Slots.IsSplit || Window.IsSplit;

    /// <summary>See <see cref="IsSplit"/>.</summary>
    internal int Base => Window.Base;

    /// <summary>See <see cref="IsSplit"/>.</summary>
    internal int Displacement => Window.Displacement;

    /// <summary>
    /// Brings the memory operand of an instruction within reach: afterwards R10 is a host address, R11 is free, and the
    /// flags are in the state, or in the host's where they were and somebody needs them. A store must be closed with
    /// <see cref="Commit"/> after the operation.
    /// </summary>
    /// <param name="instruction">The instruction.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="load">It reads the operand.</param>
    /// <param name="store">It writes the operand.</param>
    /// <param name="stackBias">See <see cref="Address"/>.</param>
    /// <param name="maySplit">The host address may be in two registers: see <see cref="IsSplit"/>.</param>
    /// <param name="mayFault">The operation itself may meet a page fault: nothing of it is done before its access.</param>
    /// <returns>True when a commit is needed.</returns>
    internal bool Operand(
        in Instruction instruction,
        int size,
        bool load,
        bool store,
        int stackBias = 0,
        bool maySplit = false,
        bool mayFault = true)
    {
        Slots.Begin(maySplit);
        Window.Clear();
        byte segment = SegmentOf(instruction.MemorySegment);
        if (mayFault && IsPlain(segment, store) && Window.Takes(size) && !_w.Loop.WaitsForAddress(instruction, store))
        {
            ReachThroughWindow(instruction, segment, stackBias, maySplit);
            return false;
        }

        bool keepsFlags = _w.NeedsHostFlags && _w.Thunks.CanKeepFlags && IsPlain(segment, store) && Thunks.IsLookedUp(size);
        if (!keepsFlags)
        {
            _w.Flags.ToMemory();
            if (IsConstant(instruction, segment, size, store, out ulong linear))
            {
                Slots.CheckConstant(linear, size, store, instruction.IsIPRelativeMemoryOperand);
                return false;
            }
        }

        Address(instruction, stackBias);
        if (!keepsFlags)
        {
            if (IsHashed(instruction, size, store))
            {
                Slots.Slot = PageSlot.Hashed;
            }

            return Access(segment, size, load, store, false);
        }

        AddSegmentBase(segment);
        Slots.CheckKeepingFlags(size, store);
        return false;
    }

    private void ReachThroughWindow(in Instruction instruction, byte segment, int stackBias, bool maySplit)
    {
        int bias = instruction.MemoryBase == Register.RSP ? stackBias : 0;
        if (WindowLowering.IsSimple(instruction, bias))
        {
            int host = Load(instruction.MemoryBase.GetNumber(), HostRegister.Address);
            Window.Reach(host, (int)instruction.MemoryDisplacement64 + bias, maySplit);
            return;
        }

        Address(instruction, stackBias);
        AddSegmentBase(segment);
        Window.Reach(HostRegister.Address, 0, maySplit);
    }

    /// <summary>The same for an address that is already in R10, in a segment.</summary>
    internal bool Access(byte segment, int size, bool load, bool store, bool stack)
    {
        Window.Clear();
        bool plain = IsPlain(segment, store);
        if (_w.Is64)
        {
            AddSegmentBase(segment);
            segment = Linear;
        }

        if (!plain)
        {
            Careful(segment, size, load, store, stack);
            return store;
        }

        Slots.Check(size, store);
        return false;
    }

    /// <summary>Writes the bounce buffer back after a careful store.</summary>
    internal void Commit()
    {
        _w.Flags.ToMemory();
        CallCareful(_w.Thunks.CarefulStore, 0);
    }

    /// <summary>
    /// Where the stack is reached through a window: the operand is there, [base+r11+disp] if it may be. The flags stay where they are.
    /// </summary>
    /// <param name="delta">Bytes from the stack pointer.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="store">It is written.</param>
    /// <param name="maySplit">R11 is free.</param>
    internal bool TryReachStack(int delta, int size, bool store, bool maySplit)
    {
        Slots.Begin(false);
        Window.Clear();
        if (!IsPlain(StackSegment, store) || !Window.Takes(size))
        {
            return false;
        }

        Window.Reach(HostRegister.GuestRsp, delta, maySplit);
        return true;
    }

    /// <summary>A stack address: R10 = stack pointer + delta, cut to the stack's width.</summary>
    internal void StackAddress(int delta)
    {
        Slots.Begin(false);
        Window.Clear();
        _w.Flags.ToMemory();
        Slots.Choose(PageSlot.Stack, false);
        bool wide = _w.Is64;
        if (wide && delta == 0)
        {
            _e.Move(HostRegister.Address, HostRegister.GuestRsp);
            return;
        }

        _e.Lea(wide, HostRegister.Address, HostRegister.GuestRsp, -1, 1, delta);
        if (!wide && (_w.Mode & BlockMode.Stack32) == 0)
        {
            ZeroExtend16();
        }
    }

    /// <summary>The frame pointer as a stack address, cut to the stack's width: what LEAVE pops from.</summary>
    internal void FrameAddress()
    {
        Slots.Begin(false);
        Window.Clear();
        _w.Flags.ToMemory();
        Slots.Choose(PageSlot.Frame, false);
        _e.Lea(_w.Is64, HostRegister.Address, HostRegister.Rbp, -1, 1, 0);
        if (!_w.Is64 && (_w.Mode & BlockMode.Stack32) == 0)
        {
            ZeroExtend16();
        }
    }

    /// <summary>An access at a stack address in R10.</summary>
    internal bool StackAccess(int size, bool load, bool store) => Access(StackSegment, size, load, store, true);

    /// <summary>Moves the stack pointer, cut to the stack's width.</summary>
    internal void StackAdjust(int delta)
    {
        if (!_w.Is64 && (_w.Mode & BlockMode.Stack32) == 0)
        {
            _e.Byte(0x66);
        }

        _e.Lea(_w.Is64, HostRegister.GuestRsp, HostRegister.GuestRsp, -1, 1, delta);
    }

    /// <summary>The effective address of an instruction's memory operand into R10, cut to the address size.</summary>
    /// <param name="instruction">The instruction.</param>
    /// <param name="stackBias">Added when the base is the stack pointer (POP computes its operand after the pop).</param>
    internal void Address(in Instruction instruction, int stackBias = 0)
    {
        Slots.Choose(PageSlot.Of(instruction), instruction.IsLocked());
        _displacement = instruction.MemoryDisplacement64;
        Register baseRegister = instruction.MemoryBase;
        Register index = instruction.MemoryIndex;
        if (HasConstantAddress(instruction))
        {
            if (instruction.IsIPRelativeMemoryOperand)
            {
                _e.MoveAddress(HostRegister.Address, ConstantAddress(instruction));
            }
            else
            {
                _e.MoveImmediate(HostRegister.Address, ConstantAddress(instruction));
            }

            return;
        }

        ulong displacement = instruction.MemoryDisplacement64;
        int width = (baseRegister != Register.None ? baseRegister : index).GetSize();
        int host = baseRegister == Register.None ? -1 : Load(baseRegister.GetNumber(), HostRegister.Address);
        int hostIndex = index == Register.None ? -1 : Load(index.GetNumber(), HostRegister.Temp);
        int disp = (int)displacement;
        int bias = baseRegister != Register.None && baseRegister.GetNumber() == 4 ? stackBias : 0;
        if ((long)disp + bias <= int.MaxValue)
        {
            disp += bias;
            bias = 0;
        }

        if (width == 8 && hostIndex < 0 && disp == 0)
        {
            if (host != HostRegister.Address)
            {
                _e.Move(HostRegister.Address, host);
            }

            return;
        }

        _e.Lea(width == 8, HostRegister.Address, host, hostIndex, instruction.MemoryIndexScale, disp);
        if (bias != 0)
        {
            _e.Lea(width == 8, HostRegister.Address, HostRegister.Address, -1, 1, bias);
        }

        if (width == 2)
        {
            ZeroExtend16();
        }
    }

    /// <summary>LEA of a 64-bit address with a base register straight into a host register, of 32 or 64 bits.</summary>
    internal void EmitLea(in Instruction instruction, int destination)
    {
        Register index = instruction.MemoryIndex;
        int host = Load(instruction.MemoryBase.GetNumber(), HostRegister.Address);
        int hostIndex = index == Register.None ? -1 : Load(index.GetNumber(), HostRegister.Temp);
        bool wide = instruction.Op0Register.GetSize() == 8;
        _e.Lea(wide, destination, host, hostIndex, instruction.MemoryIndexScale, (int)instruction.MemoryDisplacement64);
    }

    /// <summary>The number of a segment register in the encoding.</summary>
    internal static byte SegmentOf(Register segment) => segment switch
    {
        Register.ES => 0,
        Register.CS => 1,
        Register.SS => 2,
        Register.FS => 4,
        Register.GS => 5,
        _ => 3,
    };

    /// <summary>Host register of a guest register; a spilled one is loaded into <paramref name="scratch"/>.</summary>
    internal int Load(int guest, int scratch)
    {
        if (guest is >= 9 and <= 11)
        {
            _e.LoadState(scratch, StateLayout.GprSlot(guest));
            return scratch;
        }

        return guest == 4 ? HostRegister.GuestRsp : guest;
    }

    /// <summary>True when a load and store through a segment is careful in this mode.</summary>
    internal bool IsAlwaysCareful(Register segment) => !_w.Is64 && !IsFlat(SegmentOf(segment), store: true);

    private static bool HasConstantAddress(in Instruction instruction) =>
        instruction.IsIPRelativeMemoryOperand
        || (instruction.MemoryBase == Register.None && instruction.MemoryIndex == Register.None);

    private static ulong ConstantAddress(in Instruction instruction)
    {
        if (instruction.IsIPRelativeMemoryOperand)
        {
            ulong target = instruction.IPRelativeMemoryAddress;
            return instruction.MemoryBase == Register.EIP ? (uint)target : target;
        }

        ulong displacement = instruction.MemoryDisplacement64;
        return instruction.MemoryDisplSize switch
        {
            2 => (ushort)displacement,
            4 when instruction.CodeSize != CodeSize.Code64 => (uint)displacement,
            _ => displacement,
        };
    }

    // The linear address is known now, and all of the operand is in one page.
    private bool IsConstant(in Instruction instruction, byte segment, int size, bool store, out ulong linear)
    {
        linear = 0;
        if (!_w.Is64 || segment is 4 or 5 || !IsPlain(segment, store) || !Thunks.IsLookedUp(size) || !HasConstantAddress(instruction))
        {
            return false;
        }

        linear = ConstantAddress(instruction);
        return (linear & 0xFFF) + (uint)size <= 4096 && CpuMode.IsCanonical(linear);
    }

    // SDM vol. 3A, "Code- and Data-Segment Descriptor Types": nobody writes to a code segment. C# raises the #GP.
    private bool IsFlat(byte segment, bool store) =>
        (_w.Mode & BlockMode.Flat) != 0 && segment < 4 && !(store && segment == CodeSegment);

    private void ZeroExtend16()
    {
        _e.Bytes(0x45, 0x0F, 0xB7, 0xD2);                       // movzx r10d, r10w
    }

    // The access is at a host address after a check, not bytewise by C#.
    private bool IsPlain(byte segment, bool store) =>
        (_w.Mode & (BlockMode.Careful | BlockMode.AlignmentCheck)) == 0 && (_w.Is64 || IsFlat(segment, store));

    // FS and GS have a base in 64-bit mode. Does not touch the flags.
    private void AddSegmentBase(byte segment)
    {
        if (segment is not (4 or 5) || !_w.Is64)
        {
            return;
        }

        Slots.Slot = PageSlot.OfThread(segment, _displacement);
        _e.LoadState(HostRegister.Temp, StateLayout.SegmentBase(segment));
        _e.Lea(true, HostRegister.Address, HostRegister.Address, HostRegister.Temp, 1, 0);
    }

    // A pointer leads to another page each time, so one slot for its register would miss; and an array among a function's locals
    // may reach out of the stack's page. The flags are in the state.
    private bool IsHashed(in Instruction instruction, int size, bool store)
    {
        if (!Thunks.IsLookedUp(size))
        {
            return false;
        }

        // A table's own address is its displacement. There are too many tables for one slot for each register.
        if (instruction.MemoryBase == Register.None)
        {
            return instruction.MemoryIndex.IsGPR64() && !_w.Loop.IsLoop;
        }

        if (!instruction.MemoryBase.IsGPR64())
        {
            return false;
        }

        return instruction.MemoryBase == Register.RSP
            ? instruction.MemoryIndex != Register.None
            : !_w.Loop.StaysInPage(instruction, store);
    }

    private void Careful(byte segment, int size, bool load, bool store, bool stack)
    {
        int site = _w.Cache.CarefulSites.Add(new CarefulSite
        {
            Size = (ushort)size,
            Segment = segment,
            Load = load,
            ForStore = store,
            Stack = stack,
        });
        CallCareful(_w.Thunks.CarefulLoad, site);
    }

    private void CallCareful(byte* thunk, int site)
    {
        _w.NoteAhead();
        _e.StoreStateInt32(StateLayout.ExitOperand, site);
        _e.Bytes(0x4C, 0x8D, 0x1D);                             // lea r11, [rip+5]
        _e.Int32(5);
        _e.Jump(thunk);
        _w.AddSideRow(_e.At);
    }
}
