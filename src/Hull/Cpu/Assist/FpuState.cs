using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Assist;

/// <summary>
/// FXSAVE, FXRSTOR, FNSTENV, FLDENV, FNSAVE, FRSTOR, LDMXCSR, STMXCSR. SDM vol. 1, "FXSAVE and FXRSTOR Instructions",
/// "x87 FPU State".
/// </summary>
internal static unsafe class FpuState
{
    /// <summary>Where XMM registers start in FXSAVE's image.</summary>
    internal const int XmmOffset = 160;

    private const int MxcsrOffset = 24;
    private const int ImageBytes = 512;

    /// <summary>FXSAVE and FXSAVE64: bytes 416-511 and, outside 64-bit mode, XMM8-15 are not written.</summary>
    internal static AssistResult Fxsave(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        if (!Locate(vcpu, instruction, Access.Store, out ulong at))
        {
            return AssistResult.Fault;
        }

        // All of the image must be writable, though its last bytes are left to the program.
        if (!vcpu.Mmu.Probe(at, ImageBytes, Access.Store))
        {
            return AssistResult.Fault;
        }

        Span<byte> image = stackalloc byte[ImageBytes];
        FillLegacy(vcpu, image);
        int xmmBytes = CpuMode.Is64Bit(cpu) ? 256 : 128;
        // SAFETY: Xmm is 256 bytes in the state block, which outlives the call.
        new ReadOnlySpan<byte>(&cpu->Xmm, xmmBytes).CopyTo(image[XmmOffset..]);
        return Outcome.NextIf(vcpu.Mmu.Store(at, image[..(XmmOffset + xmmBytes)]));
    }

    /// <summary>FXRSTOR and FXRSTOR64.</summary>
    internal static AssistResult Fxrstor(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        if (!Locate(vcpu, instruction, Access.Load, out ulong at))
        {
            return AssistResult.Fault;
        }

        Span<byte> image = stackalloc byte[ImageBytes];
        if (!vcpu.Mmu.Load(at, image))
        {
            return AssistResult.Fault;
        }

        uint mxcsr = BitConverter.ToUInt32(image[MxcsrOffset..]);
        if ((mxcsr & ~vcpu.Cpuid.MxcsrMask) != 0)
        {
            return Outcome.Protection(vcpu);
        }

        cpu->Mxcsr = mxcsr;
        // SAFETY: Xmm is 256 bytes in the state block, which outlives the call.
        image.Slice(XmmOffset, CpuMode.Is64Bit(cpu) ? 256 : 128).CopyTo(new Span<byte>(&cpu->Xmm, 256));
        LoadLegacy(vcpu, image);
        return AssistResult.Next;
    }

    /// <summary>Captures x87 and puts it, MXCSR and its mask into the first 160 bytes of an image.</summary>
    internal static void FillLegacy(SoftVcpu vcpu, Span<byte> image)
    {
        X87State.Capture(vcpu);
        // SAFETY: the image in the state block is 512 bytes.
        new ReadOnlySpan<byte>(X87State.Image(vcpu.Cpu), XmmOffset).CopyTo(image);
        BitConverter.TryWriteBytes(image[MxcsrOffset..], vcpu.Cpu->Mxcsr);
        BitConverter.TryWriteBytes(image[(MxcsrOffset + 4)..], vcpu.Cpuid.MxcsrMask);
    }

    /// <summary>Loads x87 from the first 160 bytes of an image.</summary>
    internal static void LoadLegacy(SoftVcpu vcpu, ReadOnlySpan<byte> image)
    {
        byte* own = X87State.Image(vcpu.Cpu);
        // SAFETY: the image in the state block is 512 bytes.
        image[..XmmOffset].CopyTo(new Span<byte>(own, XmmOffset));
        *(ushort*)(own + 6) = 0;
        *(ulong*)(own + 8) = 0;
        *(ulong*)(own + 16) = 0;
        X87State.Load(vcpu);
    }

    /// <summary>FNSTENV (and FSTENV after its FWAIT): exceptions are masked afterwards.</summary>
    internal static AssistResult StoreEnvironment(SoftVcpu vcpu, in Instruction instruction, bool wide)
    {
        if (!IsAvailable(vcpu))
        {
            return AssistResult.Fault;
        }

        Span<byte> image = stackalloc byte[28];
        X87State.Capture(vcpu);
        FillEnvironment(vcpu, image, wide);
        if (!StoreImage(vcpu, instruction, image[..(wide ? 28 : 14)]))
        {
            return AssistResult.Fault;
        }

        *(ushort*)(X87State.Image(vcpu.Cpu) + X87State.ControlWord) |= 0x3F;
        X87State.Load(vcpu);
        return AssistResult.Next;
    }

    /// <summary>FLDENV.</summary>
    internal static AssistResult LoadEnvironment(SoftVcpu vcpu, in Instruction instruction, bool wide)
    {
        Span<byte> image = stackalloc byte[wide ? 28 : 14];
        if (!IsAvailable(vcpu) || !HasNoPendingError(vcpu) || !LoadImage(vcpu, instruction, image))
        {
            return AssistResult.Fault;
        }

        byte* own = X87State.Image(vcpu.Cpu);
        int top = X87State.Top(own);
        TakeEnvironment(vcpu, image, wide);
        X87State.Renumber(own, top, X87State.Top(own));
        X87State.Load(vcpu);
        return AssistResult.Next;
    }

    /// <summary>FNSAVE (and FSAVE after its FWAIT): the FPU is as after FNINIT afterwards.</summary>
    internal static AssistResult Save(SoftVcpu vcpu, in Instruction instruction, bool wide)
    {
        if (!IsAvailable(vcpu))
        {
            return AssistResult.Fault;
        }

        int environment = wide ? 28 : 14;
        Span<byte> image = stackalloc byte[108];
        X87State.Capture(vcpu);
        FillEnvironment(vcpu, image, wide);
        byte* own = X87State.Image(vcpu.Cpu);
        for (int index = 0; index < 8; index++)
        {
            // SAFETY: eight registers of 16 bytes follow offset 32 of the 512-byte image.
            new ReadOnlySpan<byte>(own + X87State.Stack + (index * 16), 10).CopyTo(image[(environment + (index * 10))..]);
        }

        if (!StoreImage(vcpu, instruction, image[..(environment + 80)]))
        {
            return AssistResult.Fault;
        }

        X87State.Renumber(own, X87State.Top(own), 0);
        *(ushort*)(own + X87State.ControlWord) = 0x37F;
        *(ushort*)(own + X87State.StatusWord) = 0;
        own[X87State.Tags] = 0;
        X87State.Load(vcpu);
        return AssistResult.Next;
    }

    /// <summary>FRSTOR.</summary>
    internal static AssistResult Restore(SoftVcpu vcpu, in Instruction instruction, bool wide)
    {
        int environment = wide ? 28 : 14;
        Span<byte> image = stackalloc byte[environment + 80];
        if (!IsAvailable(vcpu) || !HasNoPendingError(vcpu) || !LoadImage(vcpu, instruction, image))
        {
            return AssistResult.Fault;
        }

        TakeEnvironment(vcpu, image, wide);
        byte* own = X87State.Image(vcpu.Cpu);
        for (int index = 0; index < 8; index++)
        {
            // SAFETY: eight registers of 16 bytes follow offset 32 of the 512-byte image.
            image.Slice(environment + (index * 10), 10).CopyTo(new Span<byte>(own + X87State.Stack + (index * 16), 10));
        }

        X87State.Load(vcpu);
        return AssistResult.Next;
    }

    /// <summary>LDMXCSR.</summary>
    internal static AssistResult Ldmxcsr(SoftVcpu vcpu, in Instruction instruction)
    {
        if (!IsSseAvailable(vcpu, instruction)
            || !Segmentation.TryLinear(vcpu, instruction, 4, Access.Load, out ulong at)
            || !vcpu.Mmu.Load(at, out uint value))
        {
            return AssistResult.Fault;
        }

        if ((value & ~vcpu.Cpuid.MxcsrMask) != 0)
        {
            return Outcome.Protection(vcpu);
        }

        vcpu.Cpu->Mxcsr = value;
        return AssistResult.Next;
    }

    /// <summary>STMXCSR.</summary>
    internal static AssistResult Stmxcsr(SoftVcpu vcpu, in Instruction instruction) =>
        Outcome.NextIf(
            IsSseAvailable(vcpu, instruction)
            && Segmentation.TryLinear(vcpu, instruction, 4, Access.Store, out ulong at)
            && vcpu.Mmu.Store(at, vcpu.Cpu->Mxcsr));

    private static bool Locate(SoftVcpu vcpu, in Instruction instruction, Access access, out ulong at)
    {
        at = 0;

        // The limit is checked for the first four bytes, then the alignment, then the limit for all: as on the CPUs
        // that we measured.
        return IsAvailable(vcpu)
            && Segmentation.TryLinear(vcpu, instruction, 4, access, out at)
            && ((at & 15) == 0 || vcpu.Raise(Vector.GeneralProtection, 0))
            && Segmentation.TryLinear(vcpu, instruction, ImageBytes, access, out at);
    }

    /// <summary>#NM for CR0.TS and CR0.EM.</summary>
    private static bool IsAvailable(SoftVcpu vcpu) =>
        (vcpu.Cpu->Cr0 & (Cr0.Ts | Cr0.Em)) == 0 || vcpu.Raise(Vector.NotAvailable);

    private static bool IsSseAvailable(SoftVcpu vcpu, in Instruction instruction)
    {
        CpuState* cpu = vcpu.Cpu;
        bool vex = instruction.Encoding != EncodingKind.Legacy;
        bool enabled = vex
            ? (cpu->Cr4 & Cr4.Osxsave) != 0 && (cpu->Xcr0 & 6) == 6 && !CpuMode.IsRealLike(cpu)
            : (cpu->Cr0 & Cr0.Em) == 0 && (cpu->Cr4 & Cr4.Osfxsr) != 0;
        if (!enabled)
        {
            return vcpu.Raise(Vector.InvalidOpcode);
        }

        return (cpu->Cr0 & Cr0.Ts) == 0 || vcpu.Raise(Vector.NotAvailable);
    }

    /// <summary>FLDENV and FRSTOR wait, so a pending exception comes first.</summary>
    private static bool HasNoPendingError(SoftVcpu vcpu)
    {
        X87State.Capture(vcpu);
        return !X87State.HasError(X87State.Image(vcpu.Cpu)) || vcpu.Raise(Vector.FloatingPoint);
    }

    private static bool StoreImage(SoftVcpu vcpu, in Instruction instruction, ReadOnlySpan<byte> image) =>
        Segmentation.TryLinear(vcpu, instruction, (uint)image.Length, Access.Store, out ulong at)
        && vcpu.Mmu.Store(at, image);

    private static bool LoadImage(SoftVcpu vcpu, in Instruction instruction, Span<byte> image) =>
        Segmentation.TryLinear(vcpu, instruction, (uint)image.Length, Access.Load, out ulong at)
        && vcpu.Mmu.Load(at, image);

    /// <summary>The environment from the captured state; the pointers read as zero.</summary>
    private static void FillEnvironment(SoftVcpu vcpu, Span<byte> image, bool wide)
    {
        byte* own = X87State.Image(vcpu.Cpu);
        int step = wide ? 4 : 2;
        ushort status = *(ushort*)(own + X87State.StatusWord);
        image[..(7 * step)].Clear();
        if (wide)
        {
            // The upper halves of the words that have only 16 bits read as ones.
            image[2] = image[3] = image[6] = image[7] = image[10] = image[11] = image[26] = image[27] = 0xFF;
        }

        BitConverter.TryWriteBytes(image, *(ushort*)(own + X87State.ControlWord));
        BitConverter.TryWriteBytes(image[step..], status);
        BitConverter.TryWriteBytes(image[(2 * step)..], FullTags(own, (status >> 11) & 7));
    }

    private static void TakeEnvironment(SoftVcpu vcpu, ReadOnlySpan<byte> image, bool wide)
    {
        byte* own = X87State.Image(vcpu.Cpu);
        int step = wide ? 4 : 2;
        *(ushort*)(own + X87State.ControlWord) = BitConverter.ToUInt16(image);
        *(ushort*)(own + X87State.StatusWord) = BitConverter.ToUInt16(image[step..]);
        ushort tags = BitConverter.ToUInt16(image[(2 * step)..]);
        byte abridged = 0;
        for (int register = 0; register < 8; register++)
        {
            if (((tags >> (register * 2)) & 3) != 3)
            {
                abridged |= (byte)(1 << register);
            }
        }

        own[X87State.Tags] = abridged;
    }

    /// <summary>Two bits a physical register: valid 0, zero 1, special 2, empty 3. SDM vol. 1, "x87 FPU Tag Word".</summary>
    private static ushort FullTags(byte* image, int top)
    {
        int tags = 0;
        for (int register = 0; register < 8; register++)
        {
            int tag = 3;
            if ((image[X87State.Tags] & (1 << register)) != 0)
            {
                byte* at = image + X87State.Stack + (((register - top) & 7) * 16);
                ulong significand = *(ulong*)at;
                int exponent = *(ushort*)(at + 8) & 0x7FFF;
                tag = exponent == 0 && significand == 0 ? 1
                    : exponent is 0 or 0x7FFF || (significand >> 63) == 0 ? 2 : 0;
            }

            tags |= tag << (register * 2);
        }

        return (ushort)tags;
    }
}
