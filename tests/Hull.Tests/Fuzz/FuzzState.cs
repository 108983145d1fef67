using System;
using Hull.Engine;

namespace Hull.Tests.Fuzz;

/// <summary>The modes in which code is run.</summary>
internal enum FuzzMode
{
    Real,
    Protected16,
    Protected16User,
    Protected32,
    Protected32User,
    Paged32,
    Paged32User,
    Pae32,
    Pae32User,
    Virtual8086,
    Compatibility,
    CompatibilityUser,
    Long,
    LongUser,
}

/// <summary>Random register states for each mode, most of them with registers that point somewhere useful.</summary>
internal sealed class FuzzState(Random random, CpuFeatureSet features)
{
    private const ulong Paging = 1UL << 31;
    private const ulong ProtectedMode = 1;

    /// <summary>A state that starts at an offset in the code.</summary>
    internal ArchState Make(FuzzMode mode, int start)
    {
        bool isLong = mode >= FuzzMode.Compatibility;
        bool user = mode is FuzzMode.Protected16User or FuzzMode.Protected32User or FuzzMode.Paged32User
            or FuzzMode.Pae32User or FuzzMode.CompatibilityUser or FuzzMode.LongUser;
        bool segmented = mode is FuzzMode.Real or FuzzMode.Virtual8086;
        ArchState state = new()
        {
            Rip = (segmented ? 0 : FuzzWorld.Code) + (ulong)start,
            Rflags = Flags(mode),
            Cr0 = Cr0(mode),
            Cr2 = Value(),
            Cr3 = isLong ? FuzzWorld.Root64 : mode >= FuzzMode.Pae32 ? FuzzWorld.RootPae : FuzzWorld.Root32,
            Cr4 = Cr4(mode),
            Efer = (isLong ? 0xD01u : 0x801u) & ~(random.Next(8) == 0 ? 0x801u : 0),
            Xcr0 = random.Next(8) == 0 ? 1u : features.Has(CpuFeature.Avx) ? 7u : 3u,
            Gdtr = new DescriptorTableRegister(FuzzWorld.Gdt, 0x7F),
            Idtr = new DescriptorTableRegister(
                isLong ? FuzzWorld.Idt64 : mode == FuzzMode.Real ? 0 : FuzzWorld.Idt32, (ushort)(isLong ? 0xFFF : 0x7FF)),
            Ldtr = new SegmentRegister { Selector = 0x48, Base = FuzzWorld.Ldt, Limit = 0x7F, Attributes = 0x82 },
            Tr = new SegmentRegister { Selector = FuzzWorld.Task, Base = FuzzWorld.Tss, Limit = 0x2FF, Attributes = 0x8B },
            InterruptShadow = random.Next(16) == 0 ? InterruptShadow.Sti : InterruptShadow.None,
            NmiBlocked = random.Next(8) == 0,
        };
        if (mode == FuzzMode.Virtual8086 && random.Next(4) != 0)
        {
            state.Cr3 = FuzzWorld.Root32;
            state.Cr4 &= ~0x20UL;
        }

        SetSegments(state, mode, user, segmented);
        SetRegisters(state);
        if (random.Next(64) == 0)
        {
            state.Cr3 = Value() & 0x1F_FFFF;
        }

        return state;
    }

    private ulong Flags(FuzzMode mode)
    {
        const ulong any = 0x8D5 | 0x400 | 0x200 | 0x3000 | 0x4000 | 0x4_0000 | 0x8_0000 | 0x10_0000 | 0x20_0000 | 0x1_0000;
        ulong flags = 2 | ((ulong)random.NextInt64() & any);
        flags &= random.Next(4) == 0 ? ulong.MaxValue : ~0x1_4000UL; // NT and RF seldom
        flags |= random.Next(16) == 0 ? 0x100u : 0; // TF
        return mode == FuzzMode.Virtual8086 ? flags | 0x2_0000 : flags;
    }

    private ulong Cr0(FuzzMode mode)
    {
        ulong value = 0x30 | (random.Next(4) == 0 ? (ulong)random.NextInt64() & 0x5_002E : 0x2UL);
        value |= mode == FuzzMode.Real ? 0 : ProtectedMode;
        bool paged = mode >= FuzzMode.Paged32 && (mode != FuzzMode.Virtual8086 || random.Next(2) == 0);
        return paged ? value | Paging : value;
    }

    private ulong Cr4(FuzzMode mode)
    {
        const ulong any = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100 | 0x800 | 0x1_0000 | 0x10_0000 | 0x20_0000;
        ulong value = 0x4_0600 | ((ulong)random.NextInt64() & any);
        value &= random.Next(8) == 0 ? ~0x4_0600UL : ulong.MaxValue;
        value &= random.Next(2) == 0 ? ~0x30_0000UL : ulong.MaxValue; // SMEP, SMAP
        return mode is >= FuzzMode.Pae32 ? value | 0x20 : value;
    }

    private void SetSegments(ArchState state, FuzzMode mode, bool user, bool segmented)
    {
        if (segmented)
        {
            for (int i = 0; i < 6; i++)
            {
                ushort selector = (ushort)((i == 1 ? FuzzWorld.Code : i == 2 ? FuzzWorld.Stack - 0x1_0000 : FuzzWorld.Data) >> 4);
                uint attributes = mode == FuzzMode.Real ? i == 1 ? 0x9Bu : 0x93u : 0xF3u;
                state.Segments[i] = new SegmentRegister
                {
                    Selector = selector,
                    Base = (ulong)selector << 4,
                    Limit = 0xFFFF,
                    Attributes = attributes,
                };
            }

            return;
        }

        bool small = mode is FuzzMode.Protected16 or FuzzMode.Protected16User;
        bool is64 = mode is FuzzMode.Long or FuzzMode.LongUser;
        uint level = user ? 0x60u : 0;
        for (int i = 0; i < 6; i++)
        {
            uint attributes = level | (i == 1 ? (is64 ? 0xA09Bu : small ? 0x809Bu : 0xC09Bu) : small ? 0x8093u : 0xC093u);
            ushort code = user ? is64 ? FuzzWorld.UserCode64 : FuzzWorld.UserCode32 : is64 ? FuzzWorld.Code64 : FuzzWorld.Code32;
            state.Segments[i] = new SegmentRegister
            {
                Selector = i == 1 ? code : user ? FuzzWorld.UserData : FuzzWorld.Data0,
                Limit = uint.MaxValue,
                Attributes = attributes,
            };
        }

        // Segments that are not flat, expand down, cannot be written, or are not there.
        if (random.Next(4) == 0)
        {
            int which = random.Next(5) is int i && i > 0 ? i + 1 : 0;
            state.Segments[which] = state.Segments[which] with
            {
                Base = is64 && which < 4 ? 0 : (uint)random.Next(0x1_0000) & ~0xFu,
                Limit = random.Next(2) == 0 ? (uint)random.Next(0x10_0000) : uint.MaxValue,
                Attributes = state.Segments[which].Attributes ^ (random.Next(4) switch
                {
                    0 => 0x4u,
                    1 => which == 2 ? 0x4000u : 0x2u,
                    2 => which == 2 ? 0 : 0x1_0000u,
                    _ => 0,
                }),
            };
        }
    }

    private void SetRegisters(ArchState state)
    {
        for (int i = 0; i < 16; i++)
        {
            state.Gpr[i] = Value();
        }

        state.Gpr[1] = random.Next(2) == 0 ? (ulong)random.Next(64) : state.Gpr[1];
        state.Gpr[4] = random.Next(32) == 0 ? Value() : FuzzWorld.Stack - (ulong)random.Next(0x800);
        if ((state.Cr0 & ProtectedMode) == 0 || (state.Rflags & 0x2_0000) != 0)
        {
            state.Gpr[4] &= 0xFFFF;
        }

        random.NextBytes(state.Fxsave.AsSpan(32, 128)); // x87 registers
        random.NextBytes(state.Fxsave.AsSpan(160, 256));
        state.Fxsave[0] = (byte)(random.Next(4) == 0 ? random.Next(256) : 0x7F);
        state.Fxsave[1] = 3;
        state.Fxsave[24] = (byte)(random.Next(4) == 0 ? random.Next(256) : 0x80);
        state.Fxsave[25] = (byte)(random.Next(4) == 0 ? random.Next(256) : 0x1F);
        if (random.Next(4) == 0 && features.Has(CpuFeature.Avx))
        {
            random.NextBytes(state.YmmHigh);
        }

        foreach (uint msr in (ReadOnlySpan<uint>)[0x174, 0x175, 0x176, 0xC000_0081, 0xC000_0082, 0xC000_0083, 0xC000_0084, 0xC000_0102])
        {
            state.Msrs[msr] = msr switch
            {
                0x174 => FuzzWorld.Code64,
                0xC000_0081 => 0x0020_0008_0000_0000,
                0x175 => FuzzWorld.Stack,
                0x176 or 0xC000_0082 or 0xC000_0083 => FuzzWorld.Code + (ulong)random.Next(FuzzWorld.CodeSize),
                _ => Value(),
            };
        }
    }

    private ulong Value() => random.Next(10) switch
    {
        0 => (ulong)random.Next(0x100),
        1 => (ulong)random.NextInt64() ^ ((ulong)random.Next(2) << 63),
        2 => FuzzWorld.Code + (ulong)random.Next(FuzzWorld.CodeSize),
        3 => FuzzMachine.DeviceAt + (ulong)random.Next(FuzzMachine.DeviceSize),
        4 => (ulong)random.Next((int)FuzzMachine.RamSize + 0x1000),
        5 => FuzzWorld.Data + (ulong)(random.Next(0x20) << 12) - (ulong)random.Next(32),
        6 => random.Next(4) switch { 0 => 0xC000_0080, 1 => 0x1B, 2 => 0x277, _ => (ulong)random.Next(0x1000) },
        _ => FuzzWorld.Data + (ulong)random.Next(0x2_0000),
    };
}
