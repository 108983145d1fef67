using System;
using System.Runtime.InteropServices;
using Hull.Engine;
using Hull.Memory;

namespace Hull.Cpu.State;

/// <summary>Between the engine-neutral <see cref="ArchState"/> and <see cref="CpuState"/>.</summary>
internal static unsafe class StateTransfer
{
    private const int XmmInFxsave = 160;

    /// <summary>The state as any engine describes it.</summary>
    internal static ArchState Read(CpuState* cpu)
    {
        ArchState state = new()
        {
            Rip = cpu->Rip,
            Rflags = cpu->Rflags,
            Ldtr = ToArch(cpu->Ldtr),
            Tr = ToArch(cpu->Tr),
            Gdtr = new DescriptorTableRegister(cpu->Gdtr.Base, (ushort)cpu->Gdtr.Limit),
            Idtr = new DescriptorTableRegister(cpu->Idtr.Base, (ushort)cpu->Idtr.Limit),
            Cr0 = cpu->Cr0,
            Cr2 = cpu->Cr2,
            Cr3 = cpu->Cr3,
            Cr4 = cpu->Cr4,
            Efer = cpu->Efer,
            Xcr0 = cpu->Xcr0,
            InterruptShadow = (InterruptShadow)cpu->InterruptShadow,
            NmiBlocked = cpu->NmiBlocked != 0,
        };
        for (int i = 0; i < 16; i++)
        {
            state.Gpr[i] = cpu->Gpr[i];
        }

        for (int i = 0; i < 6; i++)
        {
            state.Segments[i] = ToArch(cpu->Segments[i]);
        }

        for (int i = 0; i < 8; i++)
        {
            state.DebugRegisters[i] = cpu->DebugRegisters[i];
        }

        Bytes(ref cpu->X87).CopyTo(state.Fxsave);
        Bytes(ref cpu->Xmm).CopyTo(state.Fxsave.AsSpan(XmmInFxsave));
        MemoryMarshal.Write(state.Fxsave.AsSpan(24), cpu->Mxcsr);
        if (cpu->YmmDirty != 0)
        {
            Bytes(ref cpu->YmmHigh).CopyTo(state.YmmHigh);
        }

        ReadMsrs(cpu, state);
        return state;
    }

    /// <summary>A hash of all that the guest can see of the registers.</summary>
    internal static ulong Hash(CpuState* cpu, bool halted)
    {
        StateHash hash = default;
        hash.Add(new ReadOnlySpan<byte>(cpu->Gpr, 128));
        hash.Add(cpu->Rip);
        hash.Add(cpu->Rflags);
        hash.Add(MemoryMarshal.AsBytes(new ReadOnlySpan<CpuSegments>(in cpu->Segments)));
        hash.Add(MemoryMarshal.AsBytes(new ReadOnlySpan<CpuSegment>(in cpu->Ldtr)));
        hash.Add(MemoryMarshal.AsBytes(new ReadOnlySpan<CpuSegment>(in cpu->Tr)));
        hash.Add(MemoryMarshal.AsBytes(new ReadOnlySpan<CpuTable>(in cpu->Gdtr)));
        hash.Add(MemoryMarshal.AsBytes(new ReadOnlySpan<CpuTable>(in cpu->Idtr)));

        // CR0 to XCR0, DR0 to DR7 and the MSRs up to the counter's offset lie one behind the other.
        hash.Add(new ReadOnlySpan<byte>(&cpu->Cr0, (int)((byte*)&cpu->Mxcsr - (byte*)&cpu->Cr0)));
        hash.Add(new ReadOnlySpan<byte>(cpu->Msrs, MsrPolicy.SlotCount * sizeof(ulong)));
        hash.Add(cpu->Mxcsr);
        hash.Add(Bytes(ref cpu->Xmm));

        // MXCSR in the image is the host's.
        hash.Add(Bytes(ref cpu->X87)[..24]);
        hash.Add(Bytes(ref cpu->X87)[32..160]);
        if (cpu->YmmDirty != 0 && Bytes(ref cpu->YmmHigh).ContainsAnyExcept((byte)0))
        {
            hash.Add(Bytes(ref cpu->YmmHigh));
        }

        hash.Add(cpu->NmiBlocked | ((ulong)cpu->InterruptShadow << 1) | (halted ? 4UL : 0));
        return hash.Value;
    }

    /// <summary>Replaces the architectural state; what belongs to the translator stays.</summary>
    /// <param name="cpu">The state.</param>
    /// <param name="state">What replaces it.</param>
    /// <param name="mxcsrMask">The bits that MXCSR may have; others are dropped.</param>
    internal static void Write(CpuState* cpu, ArchState state, uint mxcsrMask)
    {
        cpu->Rip = state.Rip;
        cpu->Rflags = state.Rflags;
        cpu->Ldtr = FromArch(state.Ldtr);
        cpu->Tr = FromArch(state.Tr);
        cpu->Gdtr = new CpuTable { Base = state.Gdtr.Base, Limit = state.Gdtr.Limit };
        cpu->Idtr = new CpuTable { Base = state.Idtr.Base, Limit = state.Idtr.Limit };
        cpu->Cr0 = state.Cr0;
        cpu->Cr2 = state.Cr2;
        cpu->Cr3 = state.Cr3;
        cpu->Cr4 = state.Cr4;
        cpu->Efer = state.Efer;
        cpu->Xcr0 = state.Xcr0 | 1;
        cpu->InterruptShadow = (byte)state.InterruptShadow;
        cpu->NmiBlocked = state.NmiBlocked ? 1u : 0;
        for (int i = 0; i < 16; i++)
        {
            cpu->Gpr[i] = state.Gpr[i];
        }

        for (int i = 0; i < 6; i++)
        {
            cpu->Segments[i] = FromArch(state.Segments[i]);
        }

        for (int i = 0; i < 8; i++)
        {
            cpu->DebugRegisters[i] = state.DebugRegisters[i];
        }

        // Real mode runs at privilege 0 whatever the attributes say; virtual-8086 mode at 3.
        const ulong ProtectedMode = 1;
        cpu->Cpl = (state.Rflags & Rflags.Vm) != 0 ? (byte)3
            : (state.Cr0 & ProtectedMode) == 0 ? (byte)0 : (byte)((state.Segments[Seg.Ss].Attributes >> 5) & 3);
        state.Fxsave.CopyTo(Bytes(ref cpu->X87));
        state.Fxsave.AsSpan(XmmInFxsave, 256).CopyTo(Bytes(ref cpu->Xmm));
        cpu->Mxcsr = MemoryMarshal.Read<uint>(state.Fxsave.AsSpan(24)) & mxcsrMask;
        state.YmmHigh.CopyTo(Bytes(ref cpu->YmmHigh));
        cpu->YmmDirty = state.YmmHigh.AsSpan().ContainsAnyExcept((byte)0) ? 1u : 0;
        WriteMsrs(cpu, state);
    }

    private static void ReadMsrs(CpuState* cpu, ArchState state)
    {
        foreach (uint index in MsrIndexes)
        {
            state.Msrs[index] = *Slot(cpu, index);
        }
    }

    private static void WriteMsrs(CpuState* cpu, ArchState state)
    {
        foreach (uint index in MsrIndexes)
        {
            if (state.Msrs.TryGetValue(index, out ulong value))
            {
                *Slot(cpu, index) = value;
            }
        }
    }

    private static ReadOnlySpan<uint> MsrIndexes =>
        [0x174, 0x175, 0x176, 0xC000_0081, 0xC000_0082, 0xC000_0083, 0xC000_0084, 0xC000_0102, 0xC000_0103];

    private static ulong* Slot(CpuState* cpu, uint index) => index switch
    {
        0x174 => &cpu->SysenterCs,
        0x175 => &cpu->SysenterEsp,
        0x176 => &cpu->SysenterEip,
        0xC000_0081 => &cpu->Star,
        0xC000_0082 => &cpu->Lstar,
        0xC000_0083 => &cpu->Cstar,
        0xC000_0084 => &cpu->Sfmask,
        0xC000_0102 => &cpu->KernelGsBase,
        _ => &cpu->TscAux,
    };

    private static Span<byte> Bytes<T>(ref T block)
        where T : unmanaged => MemoryMarshal.AsBytes(new Span<T>(ref block));

    private static SegmentRegister ToArch(in CpuSegment segment) => new()
    {
        Selector = (ushort)segment.Selector,
        Attributes = segment.Attributes,
        Limit = segment.Limit,
        Base = segment.Base,
    };

    private static CpuSegment FromArch(in SegmentRegister segment) => new()
    {
        Selector = segment.Selector,
        Attributes = segment.Attributes,
        Limit = segment.Limit,
        Base = segment.Base,
    };
}
