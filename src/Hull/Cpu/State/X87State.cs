using System;

namespace Hull.Cpu.State;

/// <summary>
/// Moves the guest's x87 and MMX state between the host's registers, where it lives while the vCPU's thread runs, and
/// <see cref="CpuState.X87"/>.
/// </summary>
internal static unsafe class X87State
{
    /// <summary>Offset of FCW in the image.</summary>
    internal const int ControlWord = 0;

    /// <summary>Offset of FSW.</summary>
    internal const int StatusWord = 2;

    private const int ErrorSummary = 0x80;

    /// <summary>Offset of the abridged tag byte.</summary>
    internal const int Tags = 4;

    /// <summary>Offset of ST0; the others follow at 16 bytes each.</summary>
    internal const int Stack = 32;

    /// <summary>Copies the host's registers to <see cref="CpuState.X87"/>; they stay as they are.</summary>
    internal static void Capture(SoftVcpu vcpu)
    {
        // SAFETY: X87 is 512 bytes and 16-aligned (a test pins it) inside the state block.
        HostStubs.Fxsave(Image(vcpu.Cpu));
        // QUIRK: FOP, FIP and FDP read as zero: they would show addresses of translated code.
        byte* image = Image(vcpu.Cpu);
        *(ushort*)(image + 6) = 0;
        *(ulong*)(image + 8) = 0;
        *(ulong*)(image + 16) = 0;
    }

    /// <summary>Copies <see cref="CpuState.X87"/> to the host's registers.</summary>
    internal static void Load(SoftVcpu vcpu)
    {
        // SAFETY: X87 is 512 bytes and 16-aligned (a test pins it) inside the state block.
        HostStubs.Fxrstor(Image(vcpu.Cpu));
    }

    /// <summary>
    /// Gives the slots of an image the order of a new TOP: slot 0 is ST0, while the physical registers stay where they
    /// are. SDM vol. 1, "x87 FPU Data Registers".
    /// </summary>
    internal static void Renumber(byte* image, int oldTop, int newTop)
    {
        Span<byte> old = stackalloc byte[128];
        // SAFETY: the eight slots of 16 bytes lie at offset 32 of the 512-byte image.
        Span<byte> slots = new(image + Stack, 128);
        slots.CopyTo(old);
        for (int slot = 0; slot < 8; slot++)
        {
            old.Slice(((slot + newTop - oldTop) & 7) * 16, 16).CopyTo(slots[(slot * 16)..]);
        }
    }

    /// <summary>True when an unmasked exception is pending in an image (FSW.ES).</summary>
    internal static bool HasError(byte* image) => (image[StatusWord] & ErrorSummary) != 0;

    /// <summary>The same of the host's registers, without a copy of them.</summary>
    internal static bool HasError() => (HostStubs.Fnstsw() & ErrorSummary) != 0;

    /// <summary>TOP of an image.</summary>
    internal static int Top(byte* image) => (*(ushort*)(image + StatusWord) >> 11) & 7;

    /// <summary>The image.</summary>
    internal static byte* Image(CpuState* cpu) => (byte*)&cpu->X87;
}
