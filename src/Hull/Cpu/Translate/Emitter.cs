using System.Runtime.CompilerServices;
using Hull.Cpu.State;
using Hull.Host;

namespace Hull.Cpu.Translate;

/// <summary>Host registers by number, with the roles that they have while guest code runs.</summary>
internal static class HostRegister
{
    internal const int Rax = 0;
    internal const int Rcx = 1;
    internal const int Rdx = 2;
    internal const int Rbx = 3;

    /// <summary>Points 32 bytes into the vCPU's state.</summary>
    internal const int Rsp = 4;
    internal const int Rbp = 5;
    internal const int Rsi = 6;
    internal const int Rdi = 7;
    internal const int R8 = 8;

    /// <summary>Holds the guest's RSP.</summary>
    internal const int GuestRsp = 9;

    /// <summary>Scratch: the address of a memory operand, first linear, then host.</summary>
    internal const int Address = 10;

    /// <summary>Scratch: the TLB index, then a spilled register.</summary>
    internal const int Temp = 11;
}

/// <summary>
/// Writes host instructions. Opcodes are given as numbers as they stand in the manual: 0x8B, 0x0FB6, 0x0F38F0.
/// State operands are offsets in the state; RSP points 32 bytes into it.
/// </summary>
internal sealed unsafe class Emitter(NativeList<Relocation>? relocations = null)
{
    /// <summary>Where the next byte goes.</summary>
    internal byte* At;

    /// <summary>Told of what depends on the place of the code that is written.</summary>
    internal RelocationRecorder Relocations { get; } = new(relocations);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Byte(int value) => *At++ = (byte)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Bytes(byte a, byte b)
    {
        *(ushort*)At = (ushort)(a | (b << 8));
        At += 2;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Bytes(byte a, byte b, byte c)
    {
        *(int*)At = a | (b << 8) | (c << 16);
        At += 3;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Bytes(byte a, byte b, byte c, byte d)
    {
        *(uint*)At = a | ((uint)b << 8) | ((uint)c << 16) | ((uint)d << 24);
        At += 4;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Int32(int value)
    {
        *(int*)At = value;
        At += 4;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Int64(ulong value)
    {
        *(ulong*)At = value;
        At += 8;
    }

    /// <summary>The opcode's one, two or three bytes.</summary>
    internal void Opcode(int opcode) => At = Start(At, 0, opcode);

    /// <summary>op reg, rm with both in registers.</summary>
    internal void Reg(bool wide, int opcode, int reg, int rm)
    {
        byte* at = Start(At, (wide ? 8 : 0) | ((reg >> 3) << 2) | (rm >> 3), opcode);
        *at++ = (byte)(0xC0 | ((reg & 7) << 3) | (rm & 7));
        At = at;
    }

    /// <summary>op reg, with a field of the state at an offset of <see cref="StateLayout"/>.</summary>
    internal void State(bool wide, int opcode, int reg, int offset)
    {
        At = Start(At, (wide ? 8 : 0) | ((reg >> 3) << 2), opcode);
        StateOperand(reg, offset);
    }

    /// <summary>The ModRM, SIB and displacement of a field of the state.</summary>
    internal void StateOperand(int reg, int offset)
    {
        int disp = offset - StateLayout.PointerBias;
        int modRm = 0x2404 | ((reg & 7) << 3);
        if (disp == 0)
        {
            *(ushort*)At = (ushort)modRm;
            At += 2;
        }
        else if (disp == (sbyte)disp)
        {
            *(int*)At = modRm | 0x40 | ((byte)disp << 16);
            At += 3;
        }
        else
        {
            *(long*)At = (uint)modRm | 0x80 | ((long)disp << 16);
            At += 6;
        }
    }

    /// <summary>op reg, [rsp + index + disp32]: a line of a table at an offset of the state.</summary>
    internal void Table(int opcode, int reg, int index, int offset)
    {
        int rex = 0x48 | ((reg >> 3) << 2) | ((index >> 3) << 1);
        Bytes((byte)rex, (byte)opcode, (byte)(0x84 | ((reg & 7) << 3)), (byte)(((index & 7) << 3) | 4));
        Int32(offset - StateLayout.PointerBias);
    }

    /// <summary>
    /// Jumps to the code for the rip in R10 when the jump cache has it; <see cref="StateLayout.JumpIndex"/> is the hash.
    /// Returns the jump that is taken when not, with R10 XOR the cache's key.
    /// </summary>
    internal byte* ProbeJumpCache(bool user)
    {
        int cache = StateLayout.JumpCache(user);
        if (HostCpu.HasBmi2)
        {
            Bytes(0xC4, 0x43, 0xFB, 0xF0);                      // rorx r11, r10, 43
            Bytes(0xDA, StateLayout.JumpHighBits);
        }
        else
        {
            Move(HostRegister.Temp, HostRegister.Address);
            Bytes(0x49, 0xC1, 0xEB, StateLayout.JumpHighBits);  // shr r11, 43
        }

        Lea(true, HostRegister.Temp, HostRegister.Temp, HostRegister.Address, 4, 0);
        Bytes(0x41, 0x81, 0xE3);                                // and r11d, imm32
        Int32((StateLayout.JumpCacheEntries - 1) << 4);
        State(true, 0x33, HostRegister.Address, StateLayout.JumpKey(user));
        Table(0x3B, HostRegister.Address, HostRegister.Temp, cache);
        byte* miss = JumpForward(5);
        JumpTable(cache + 8);
        return miss;
    }

    /// <summary>jmp [rsp + r11 + disp32]: through a line of a table.</summary>
    internal void JumpTable(int offset)
    {
        Bytes(0x42, 0xFF, 0xA4, 0x1C);
        Int32(offset - StateLayout.PointerBias);
    }

    /// <summary>op reg, [base+disp].</summary>
    internal void Mem(bool wide, int opcode, int reg, int @base, int disp)
    {
        At = Start(At, (wide ? 8 : 0) | ((reg >> 3) << 2) | (@base >> 3), opcode);
        int mod = disp == 0 && (@base & 7) != 5 ? 0 : disp == (sbyte)disp ? 1 : 2;
        Byte((mod << 6) | ((reg & 7) << 3) | (@base & 7));
        if ((@base & 7) == 4)
        {
            Byte(0x24);
        }

        if (mod == 1)
        {
            Byte(disp);
        }
        else if (mod == 2)
        {
            Int32(disp);
        }
    }

    /// <summary>op reg, [base+r11+disp].</summary>
    internal void MemSplit(bool wide, int opcode, int reg, int @base, int disp)
    {
        At = Start(At, (wide ? 8 : 0) | ((reg >> 3) << 2) | 2 | (@base >> 3), opcode);
        SplitOperand(reg, @base, disp);
    }

    /// <summary>The ModRM, SIB and displacement of [base+r11+disp]; REX.X and REX.B stand before.</summary>
    internal void SplitOperand(int reg, int @base, int disp)
    {
        int mod = disp == 0 && (@base & 7) != 5 ? 0 : disp == (sbyte)disp ? 1 : 2;
        Bytes((byte)((mod << 6) | ((reg & 7) << 3) | 4), (byte)(0x18 | (@base & 7)));
        Displacement(mod, disp);
    }

    /// <summary>mov reg, field (64 bits).</summary>
    internal void LoadState(int reg, int offset) => State(true, 0x8B, reg, offset);

    /// <summary>mov field, reg (64 bits).</summary>
    internal void StoreState(int offset, int reg) => State(true, 0x89, reg, offset);

    /// <summary>mov byte field, imm.</summary>
    internal void StoreStateByte(int offset, int value)
    {
        State(false, 0xC6, 0, offset);
        Byte(value);
    }

    /// <summary>mov dword field, imm.</summary>
    internal void StoreStateInt32(int offset, int value)
    {
        State(false, 0xC7, 0, offset);
        Int32(value);
    }

    /// <summary>mov destination, source (64 bits).</summary>
    internal void Move(int destination, int source) => Reg(true, 0x89, source, destination);

    /// <summary>mov reg, imm: the shortest form.</summary>
    internal void MoveImmediate(int reg, ulong value)
    {
        if (value <= uint.MaxValue)
        {
            if (reg >= 8)
            {
                Byte(0x41);
            }

            Byte(0xB8 | (reg & 7));
            Int32((int)value);
        }
        else if ((long)value == (int)value)
        {
            Bytes((byte)(0x48 | (reg >> 3)), 0xC7, (byte)(0xC0 | (reg & 7)));
            Int32((int)value);
        }
        else
        {
            Bytes((byte)(0x48 | (reg >> 3)), (byte)(0xB8 | (reg & 7)));
            Int64(value);
        }
    }

    /// <summary>mov reg, imm: a guest address that moves with the block.</summary>
    internal void MoveAddress(int reg, ulong value)
    {
        MoveImmediate(reg, value);
        Relocations.Address(At - 8, value);
    }

    /// <summary>lea reg, [base + index * scale + disp]; base or index may be -1. 32-bit when not wide.</summary>
    internal void Lea(bool wide, int reg, int @base, int index, int scale, int disp)
    {
        At = Start(At, (wide ? 8 : 0) | ((reg >> 3) << 2) | (index > 7 ? 2 : 0) | (@base > 7 ? 1 : 0), 0x8D);
        if (index < 0 && @base >= 0 && (@base & 7) != 4)
        {
            int simple = disp == 0 && (@base & 7) != 5 ? 0 : disp == (sbyte)disp ? 1 : 2;
            Byte((simple << 6) | ((reg & 7) << 3) | (@base & 7));
            Displacement(simple, disp);
            return;
        }

        int log = scale switch { 1 => 0, 2 => 1, 4 => 2, _ => 3 };
        int sib = (log << 6) | ((index < 0 ? 4 : index & 7) << 3) | (@base < 0 ? 5 : @base & 7);
        int mod = @base < 0 ? 0 : disp == 0 && (@base & 7) != 5 ? 0 : disp == (sbyte)disp ? 1 : 2;
        Bytes((byte)((mod << 6) | ((reg & 7) << 3) | 4), (byte)sib);
        Displacement(@base < 0 ? 2 : mod, disp);
    }

    /// <summary>lea reg, [rip+disp]: an address of generated code. Registers 8-15.</summary>
    internal void LoadAddress(int reg, byte* target)
    {
        byte* site = LoadAddressForward(reg);
        *(int*)site = (int)(target - (site + 4));
    }

    /// <summary>The same with a displacement to be filled by <see cref="Patch"/>; returns where it stands.</summary>
    internal byte* LoadAddressForward(int reg)
    {
        Bytes(0x4C, 0x8D, (byte)(0x05 | ((reg & 7) << 3)));
        Int32(0);
        Relocations.Displacement(At - 4);
        return At - 4;
    }

    /// <summary>jmp to a known address.</summary>
    internal void Jump(byte* target)
    {
        Byte(0xE9);
        Displacement(target);
    }

    /// <summary>The displacement of an address of generated code, the last part of an instruction.</summary>
    internal void Displacement(byte* target)
    {
        Int32((int)(target - (At + 4)));
        Relocations.Displacement(At - 4);
    }

    /// <summary>jcc to a place shortly before.</summary>
    internal void JumpBack(int condition, byte* target)
    {
        Bytes((byte)(0x70 | condition), 0);
        At[-1] = (byte)(target - At);
    }

    /// <summary>jcc or jmp with a 32-bit displacement to be filled by <see cref="Patch"/>; returns where it stands.</summary>
    internal byte* JumpForward(int condition)
    {
        if (condition < 0)
        {
            Byte(0xE9);
        }
        else
        {
            Bytes(0x0F, (byte)(0x80 | condition));
        }

        Int32(0);
        Relocations.Displacement(At - 4);
        return At - 4;
    }

    /// <summary>jcc, jmp or jrcxz with an 8-bit displacement to be filled by <see cref="PatchShort"/>.</summary>
    internal byte* JumpShort(byte opcode)
    {
        Bytes(opcode, 0);
        return At - 1;
    }

    /// <summary>Points a 32-bit displacement here.</summary>
    internal void Patch(byte* site) => *(int*)site = (int)(At - (site + 4));

    /// <summary>Points an 8-bit displacement here.</summary>
    internal void PatchShort(byte* site) => *site = (byte)(At - (site + 1));

    // REX where it says something, and the opcode's one, two or three bytes. Through a local: each byte that is written could
    // be one of the field's, as far as the compiler knows.
    private static byte* Start(byte* at, int rex, int opcode)
    {
        if (rex != 0)
        {
            *at++ = (byte)(0x40 | rex);
        }

        if (opcode > 0xFF)
        {
            if (opcode > 0xFFFF)
            {
                *at++ = (byte)(opcode >> 16);
            }

            *at++ = (byte)(opcode >> 8);
        }

        *at++ = (byte)opcode;
        return at;
    }

    private void Displacement(int mod, int disp)
    {
        if (mod == 1)
        {
            Byte(disp);
        }
        else if (mod == 2)
        {
            Int32(disp);
        }
    }
}
