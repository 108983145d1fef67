using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// Memory operands: the address into R10, the check against the inline TLB, and after it the host address in R10.
/// <code>
///   lea  r10, [operand]
///   mov  r11, r10
///   shr  r11, 8
///   and  r11d, 0x1FF0            ; line of the page
///   xor  r10, [rsp+r11+tag]      ; offset in the page when it hits
///   cmp  r10, 4096-size          ; catches misses and page crossings in one compare
///   ja   miss
///   add  r10, [rsp+r11+host]
///   op   [r10]
/// </code>
/// Where a plain host address cannot stand for the operand (MMIO, two pages, code, segments that are not flat) the
/// access is careful: C# copies the operand to the bounce buffer and back.
/// </summary>
internal sealed unsafe class MemoryLowering
{
    /// <summary>No segment: the address is linear.</summary>
    internal const byte Linear = 255;

    private const int StackSegment = 2;
    private readonly BlockWriter _w;
    private readonly Emitter _e;

    internal MemoryLowering(BlockWriter writer)
    {
        _w = writer;
        _e = writer.E;
    }

    /// <summary>
    /// Brings the memory operand of an instruction within reach: afterwards R10 is a host address, R11 is free, the
    /// flags are in the state. A store must be closed with <see cref="Commit"/> after the operation.
    /// </summary>
    /// <returns>True when a commit is needed.</returns>
    internal bool Operand(in Instruction instruction, int size, bool load, bool store, int stackBias = 0)
    {
        _w.FlagsToMemory();
        Address(instruction, stackBias);
        return Access(SegmentOf(instruction.MemorySegment), size, load, store, false);
    }

    /// <summary>The same for an address that is already in R10, in a segment.</summary>
    internal bool Access(byte segment, int size, bool load, bool store, bool stack)
    {
        if (_w.Is64)
        {
            if (segment is 4 or 5)
            {
                _e.State(true, 0x03, HostRegister.Address, StateLayout.SegmentBase(segment));
            }

            segment = Linear;
        }

        if (_w.IsCareful || (_w.Mode & BlockMode.AlignmentCheck) != 0 || !(_w.Is64 || IsFlat(segment)))
        {
            Careful(segment, size, load, store, stack);
            return store;
        }

        Check(size, store);
        return false;
    }

    /// <summary>Writes the bounce buffer back after a careful store.</summary>
    internal void Commit()
    {
        _w.FlagsToMemory();
        CallCareful(_w.Thunks.CarefulStore, 0);
    }

    /// <summary>A stack address: R10 = stack pointer + delta, cut to the stack's width.</summary>
    internal void StackAddress(int delta)
    {
        _w.FlagsToMemory();
        bool wide = _w.Is64;
        _e.Lea(wide, HostRegister.Address, HostRegister.GuestRsp, -1, 1, delta);
        if (!wide && (_w.Mode & BlockMode.Stack32) == 0)
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
        Register baseRegister = instruction.MemoryBase;
        Register index = instruction.MemoryIndex;
        if (baseRegister is Register.RIP or Register.EIP)
        {
            ulong target = instruction.IPRelativeMemoryAddress;
            _e.MoveImmediate(HostRegister.Address, baseRegister == Register.EIP ? (uint)target : target);
            return;
        }

        ulong displacement = instruction.MemoryDisplacement64;
        if (baseRegister == Register.None && index == Register.None)
        {
            _e.MoveImmediate(HostRegister.Address, CutDisplacement(instruction, displacement));
            return;
        }

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

    /// <summary>Emits the piece for an access that missed.</summary>
    internal void EmitMiss(in ColdPiece piece)
    {
        _e.Patch(piece.Site);
        _e.Table(0x33, HostRegister.Address, StateLayout.Tlb(_w.IsUser, piece.Store));
        _e.Bytes(0x4C, 0x8D, 0x1D);                             // lea r11, [rip+back]
        _e.Int32((int)(piece.Back - (_e.At + 4)));
        _e.Jump(_w.Thunks.Slow(piece.Size, piece.Store));
    }

    private static ulong CutDisplacement(in Instruction instruction, ulong displacement) =>
        instruction.MemoryDisplSize switch
        {
            2 => (ushort)displacement,
            4 when instruction.CodeSize != CodeSize.Code64 => (uint)displacement,
            _ => displacement,
        };

    private bool IsFlat(byte segment) => (_w.Mode & BlockMode.Flat) != 0 && segment < 4;

    private void ZeroExtend16()
    {
        _e.Bytes(0x45, 0x0F, 0xB7, 0xD2);                       // movzx r10d, r10w
    }

    private void Check(int size, bool store)
    {
        int table = StateLayout.Tlb(_w.IsUser, store);
        _e.Bytes(0x4D, 0x89, 0xD3);                             // mov r11, r10
        _e.Bytes(0x49, 0xC1, 0xEB, 0x08);                       // shr r11, 8
        _e.Bytes(0x41, 0x81, 0xE3);                             // and r11d, imm32
        _e.Int32((StateLayout.TlbEntries - 1) << 4);
        _e.Table(0x33, HostRegister.Address, table);            // xor r10, [rsp+r11+tag]
        _e.Bytes(0x49, 0x81, 0xFA);                             // cmp r10, imm32
        _e.Int32(4096 - size);
        byte* miss = _e.JumpForward(7);                         // ja
        _e.Table(0x03, HostRegister.Address, table + 8);        // add r10, [rsp+r11+host]
        byte* back = _e.At;
        _w.AddSideRow(back);
        _w.AddCold(new ColdPiece
        {
            Kind = ColdKind.TlbMiss,
            Site = miss,
            Back = back,
            Size = (ushort)size,
            Store = store,
        });
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
        _e.StoreStateInt32(StateLayout.ExitOperand, site);
        _e.Bytes(0x4C, 0x8D, 0x1D);                             // lea r11, [rip+5]
        _e.Int32(5);
        _e.Jump(thunk);
        _w.AddSideRow(_e.At);
    }
}
