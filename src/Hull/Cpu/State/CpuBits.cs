namespace Hull.Cpu.State;

/// <summary>Bits of CR0. SDM vol. 3A, "Control Registers".</summary>
internal static class Cr0
{
    internal const ulong Pe = 1;
    internal const ulong Mp = 1 << 1;
    internal const ulong Em = 1 << 2;
    internal const ulong Ts = 1 << 3;
    internal const ulong Et = 1 << 4;
    internal const ulong Ne = 1 << 5;
    internal const ulong Wp = 1 << 16;
    internal const ulong Am = 1 << 18;
    internal const ulong Nw = 1 << 29;
    internal const ulong Cd = 1 << 30;
    internal const ulong Pg = 1UL << 31;

    /// <summary>The bits that exist; others are dropped.</summary>
    internal const ulong Defined = Pe | Mp | Em | Ts | Et | Ne | Wp | Am | Nw | Cd | Pg;
}

/// <summary>Bits of CR4. SDM vol. 3A, "Control Registers".</summary>
internal static class Cr4
{
    internal const ulong Vme = 1;
    internal const ulong Pvi = 1 << 1;
    internal const ulong Tsd = 1 << 2;
    internal const ulong De = 1 << 3;
    internal const ulong Pse = 1 << 4;
    internal const ulong Pae = 1 << 5;
    internal const ulong Mce = 1 << 6;
    internal const ulong Pge = 1 << 7;
    internal const ulong Pce = 1 << 8;
    internal const ulong Osfxsr = 1 << 9;
    internal const ulong Osxmmexcpt = 1 << 10;
    internal const ulong Umip = 1 << 11;
    internal const ulong Fsgsbase = 1 << 16;
    internal const ulong Pcide = 1 << 17;
    internal const ulong Osxsave = 1 << 18;
    internal const ulong Smep = 1 << 20;
    internal const ulong Smap = 1 << 21;
}

/// <summary>Bits of IA32_EFER. SDM vol. 3A, "Extended Feature Enable Register"; APM vol. 2 for FFXSR.</summary>
internal static class Efer
{
    internal const ulong Sce = 1;
    internal const ulong Lme = 1 << 8;
    internal const ulong Lma = 1 << 10;
    internal const ulong Nxe = 1 << 11;
    internal const ulong Ffxsr = 1 << 14;
}

/// <summary>Bits of RFLAGS. SDM vol. 1, "EFLAGS Register".</summary>
internal static class Rflags
{
    internal const ulong Cf = 1;
    internal const ulong Pf = 1 << 2;
    internal const ulong Af = 1 << 4;
    internal const ulong Zf = 1 << 6;
    internal const ulong Sf = 1 << 7;
    internal const ulong Tf = 1 << 8;
    internal const ulong If = 1 << 9;
    internal const ulong Df = 1 << 10;
    internal const ulong Of = 1 << 11;
    internal const ulong Iopl = 3 << 12;
    internal const ulong Nt = 1 << 14;
    internal const ulong Rf = 1 << 16;
    internal const ulong Vm = 1 << 17;
    internal const ulong Ac = 1 << 18;
    internal const ulong Vif = 1 << 19;
    internal const ulong Vip = 1 << 20;
    internal const ulong Id = 1 << 21;
}

/// <summary>Exception vectors. SDM vol. 3A, "Exception and Interrupt Reference".</summary>
internal static class Vector
{
    internal const byte DivideError = 0;
    internal const byte Debug = 1;
    internal const byte Nmi = 2;
    internal const byte Breakpoint = 3;
    internal const byte Overflow = 4;
    internal const byte Bound = 5;
    internal const byte InvalidOpcode = 6;
    internal const byte NotAvailable = 7;
    internal const byte DoubleFault = 8;
    internal const byte InvalidTss = 10;
    internal const byte NotPresent = 11;
    internal const byte Stack = 12;
    internal const byte GeneralProtection = 13;
    internal const byte Page = 14;
    internal const byte FloatingPoint = 16;
    internal const byte Alignment = 17;
    internal const byte MachineCheck = 18;
    internal const byte Simd = 19;
}

/// <summary>Indexes of general registers in <see cref="CpuState.Gpr"/>.</summary>
internal static class Gpr
{
    internal const int Rax = 0;
    internal const int Rcx = 1;
    internal const int Rdx = 2;
    internal const int Rbx = 3;
    internal const int Rsp = 4;
    internal const int Rbp = 5;
    internal const int Rsi = 6;
    internal const int Rdi = 7;
    internal const int R11 = 11;
}

/// <summary>Indexes in <see cref="CpuState.Segments"/>.</summary>
internal static class Seg
{
    internal const int Es = 0;
    internal const int Cs = 1;
    internal const int Ss = 2;
    internal const int Ds = 3;
    internal const int Fs = 4;
    internal const int Gs = 5;
}

/// <summary>Attributes of a segment, as <see cref="CpuSegment.Attributes"/> keeps them.</summary>
internal static class SegmentAttributes
{
    internal const uint Accessed = 1;

    /// <summary>Data: writable. Code: readable.</summary>
    internal const uint WritableOrReadable = 2;

    /// <summary>Data: expand-down. Code: conforming.</summary>
    internal const uint ExpandDownOrConforming = 4;

    internal const uint Code = 8;
    internal const uint NotSystem = 16;
    internal const uint Present = 128;
    internal const uint Long = 1 << 13;

    /// <summary>Code: 32-bit operands; stack: ESP; expand-down data: up to 4 GiB.</summary>
    internal const uint Big = 1 << 14;

    internal const uint Granular = 1 << 15;

    /// <summary>A null selector was loaded.</summary>
    internal const uint Unusable = 1 << 16;
}

/// <summary>The questions about the mode that everything asks. SDM vol. 3A, "Modes of Operation".</summary>
internal static unsafe class CpuMode
{
    /// <summary>EFER.LMA: IA-32e mode, 64-bit or compatibility.</summary>
    internal static bool IsLong(CpuState* cpu) => (cpu->Efer & Efer.Lma) != 0;

    /// <summary>64-bit mode: IA-32e and CS.L.</summary>
    internal static bool Is64Bit(CpuState* cpu) =>
        (cpu->Efer & Efer.Lma) != 0 && (cpu->Segments[Seg.Cs].Attributes & SegmentAttributes.Long) != 0;

    /// <summary>CR0.PE is set (virtual-8086 mode included).</summary>
    internal static bool IsProtected(CpuState* cpu) => (cpu->Cr0 & Cr0.Pe) != 0;

    /// <summary>Virtual-8086 mode.</summary>
    internal static bool IsVirtual8086(CpuState* cpu) => (cpu->SystemFlags & Rflags.Vm) != 0;

    /// <summary>Segments are loaded as in an 8086: real or virtual-8086 mode.</summary>
    internal static bool IsRealLike(CpuState* cpu) => !IsProtected(cpu) || IsVirtual8086(cpu);

    /// <summary>RFLAGS.IOPL.</summary>
    internal static int Iopl(CpuState* cpu) => (int)((cpu->SystemFlags >> 12) & 3);

    /// <summary>The operand and address size that code has by default: 16, 32 or 64.</summary>
    internal static int CodeBits(CpuState* cpu) =>
        Is64Bit(cpu) ? 64 : (cpu->Segments[Seg.Cs].Attributes & SegmentAttributes.Big) != 0 ? 32 : 16;

    /// <summary>The bits of the stack pointer that count: all, 32 or 16.</summary>
    internal static ulong StackMask(CpuState* cpu) =>
        Is64Bit(cpu) ? ulong.MaxValue
        : (cpu->Segments[Seg.Ss].Attributes & SegmentAttributes.Big) != 0 ? uint.MaxValue : 0xFFFF;

    /// <summary>Bits 63:47 are equal.</summary>
    internal static bool IsCanonical(ulong linear) => (ulong)((long)(linear << 16) >> 16) == linear;

    /// <summary>The address of the instruction behind one of <paramref name="length"/> bytes at RIP.</summary>
    internal static ulong Next(CpuState* cpu, int length)
    {
        ulong next = cpu->Rip + (uint)length;
        return Is64Bit(cpu) ? next : (cpu->Segments[Seg.Cs].Attributes & SegmentAttributes.Big) != 0
            ? (uint)next : next & 0xFFFF;
    }
}
