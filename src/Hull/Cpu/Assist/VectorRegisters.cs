using System;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>XMM and YMM registers in the state, whose halves are kept apart.</summary>
internal static unsafe class VectorRegisters
{
    /// <summary>Copies a register out; returns its bytes, 16 or 32.</summary>
    internal static int Read(CpuState* cpu, Register register, Span<byte> destination)
    {
        int number = register.GetNumber() & 15;
        // SAFETY: 16 registers of 16 bytes in each half.
        new ReadOnlySpan<byte>((byte*)&cpu->Xmm + (number * 16), 16).CopyTo(destination);
        if (!register.IsYMM())
        {
            return 16;
        }

        Settle(cpu);
        new ReadOnlySpan<byte>((byte*)&cpu->YmmHigh + (number * 16), 16).CopyTo(destination[16..]);
        return 32;
    }

    /// <summary>Writes 16 or 32 bytes as a VEX instruction does: 16 bytes clear the upper half.</summary>
    internal static void Write(CpuState* cpu, Register register, ReadOnlySpan<byte> source)
    {
        Merge(cpu, register, source);
        if (source.Length == 16)
        {
            int number = register.GetNumber() & 15;
            // SAFETY: 16 registers of 16 bytes in each half.
            new Span<byte>((byte*)&cpu->YmmHigh + (number * 16), 16).Clear();
        }
    }

    /// <summary>Writes 16 or 32 bytes and keeps the others.</summary>
    internal static void Merge(CpuState* cpu, Register register, ReadOnlySpan<byte> source)
    {
        int number = register.GetNumber() & 15;
        // SAFETY: 16 registers of 16 bytes in each half.
        source[..16].CopyTo(new Span<byte>((byte*)&cpu->Xmm + (number * 16), 16));
        if (source.Length > 16)
        {
            Settle(cpu);
            source[16..].CopyTo(new Span<byte>((byte*)&cpu->YmmHigh + (number * 16), 16));
            cpu->YmmDirty = 1;
        }
    }

    /// <summary>Writes the zeros that YmmHigh stands for while <see cref="CpuState.YmmDirty"/> is clear: its bytes are old.</summary>
    internal static void Settle(CpuState* cpu)
    {
        if (cpu->YmmDirty == 0)
        {
            cpu->YmmHigh = default;
        }
    }
}
