using System;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>FXSAVE, XSAVE and their kin; the x87 state is really in the host's FPU.</summary>
public sealed unsafe class FpuStateTests : IDisposable
{
    private const ulong Area = AssistGuest.DataAt;
    private readonly AssistGuest _guest = new();

    public FpuStateTests()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rbx] = Area;
        Cpu->Gpr[Gpr.Rdx] = 0;
        Cpu->Mxcsr = 0x1F80;
        SetX87();
        for (int index = 0; index < 256; index++)
        {
            ((byte*)&Cpu->Xmm)[index] = (byte)(index + 1);
        }
    }

    private CpuState* Cpu => _guest.Cpu;

    private bool HasAvx => (_guest.Cpuid.SupportedXcr0 & 4) != 0;

    public void Dispose()
    {
        new Span<byte>(X87State.Image(Cpu), 160).Clear();
        *(ushort*)X87State.Image(Cpu) = 0x37F;
        X87State.Load(_guest.Vcpu);
        _guest.Dispose();
    }

    [Fact]
    public void Fxsave_WritesTheImage_AndFxrstorTakesItBack()
    {
        _guest.Write(Area + 416, 0xAAAA_BBBBu);
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xAE, 0x03));
        Assert.Equal(0x37F, _guest.Read<ushort>(Area));
        Assert.Equal(0x3800, _guest.Read<ushort>(Area + 2));
        Assert.Equal(0x80, _guest.Read<byte>(Area + 4));
        Assert.Equal(0x1F80u, _guest.Read<uint>(Area + 24));
        Assert.Equal(0x4000_0000_0000_0000UL | (1UL << 63), _guest.Read<ulong>(Area + 32));
        Assert.Equal(0x0807_0605_0403_0201UL, _guest.Read<ulong>(Area + 160));
        Assert.Equal(0xAAAA_BBBBu, _guest.Read<uint>(Area + 416));

        _guest.Write(Area + 24, 0x1FA0u);
        _guest.Write<byte>(Area + 160, 0x99);
        _guest.Write<ushort>(Area, 0x27F);
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xAE, 0x0B));
        Assert.Equal(0x1FA0u, Cpu->Mxcsr);
        Assert.Equal(0x99, *(byte*)&Cpu->Xmm);
        X87State.Capture(_guest.Vcpu);
        Assert.Equal(0x27F, *(ushort*)X87State.Image(Cpu));
    }

    [Fact]
    public void Fxrstor_RefusesReservedMxcsr_Misalignment_AndTs()
    {
        _guest.Write(Area + 24, 0x1_0000u);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0xAE, 0x0B));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Cpu->Gpr[Gpr.Rbx] = Area + 8;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0xAE, 0x03));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Cpu->Cr0 |= Cr0.Ts;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0xAE, 0x03));
        Assert.Equal((byte)7, _guest.Fault.Vector);
    }

    [Fact]
    public void Fnstenv_MasksExceptions_AndFldenvBringsThemBack()
    {
        *(ushort*)X87State.Image(Cpu) = 0x37E;
        X87State.Load(_guest.Vcpu);
        Assert.Equal(AssistResult.Next, _guest.Execute(0xD9, 0x33));
        Assert.Equal(0xFFFF_037Eu, _guest.Read<uint>(Area));
        Assert.Equal(0xFFFF_3800u, _guest.Read<uint>(Area + 4));
        Assert.Equal(0xFFFF_3FFFu, _guest.Read<uint>(Area + 8)); // only register 7, valid
        Assert.Equal(0u, _guest.Read<uint>(Area + 12));
        X87State.Capture(_guest.Vcpu);
        Assert.Equal(0x37F, *(ushort*)X87State.Image(Cpu));
        Assert.Equal(AssistResult.Next, _guest.Execute(0xD9, 0x23));
        X87State.Capture(_guest.Vcpu);
        Assert.Equal(0x37E, *(ushort*)X87State.Image(Cpu));
        Assert.Equal(0x80, X87State.Image(Cpu)[X87State.Tags]);
    }

    [Fact]
    public void Fnsave_Initialises_AndFrstorRestores()
    {
        Assert.Equal(AssistResult.Next, _guest.Execute(0xDD, 0x33));
        Assert.Equal(0xC000_0000_0000_0000UL, _guest.Read<ulong>(Area + 28));
        X87State.Capture(_guest.Vcpu);
        Assert.Equal(0, X87State.Image(Cpu)[X87State.Tags]);
        Assert.Equal(AssistResult.Next, _guest.Execute(0xDD, 0x23));
        X87State.Capture(_guest.Vcpu);
        Assert.Equal(0x80, X87State.Image(Cpu)[X87State.Tags]);
        Assert.Equal(0xC000_0000_0000_0000UL, *(ulong*)(X87State.Image(Cpu) + 32));
    }

    [Fact]
    public void Xsave_NeedsOsxsave_AndAlignment()
    {
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0xAE, 0x23));
        Assert.Equal((byte)6, _guest.Fault.Vector);
        Enable(3);
        Cpu->Gpr[Gpr.Rbx] = Area + 16;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0xAE, 0x23));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
    }

    [Fact]
    public void Xsave_Xrstor_RoundTrip_WithAvx()
    {
        if (!HasAvx)
        {
            return;
        }

        Enable(7);
        *(ulong*)&Cpu->YmmHigh = 0x1111;
        Cpu->YmmDirty = 1;
        _guest.Write<ulong>(Area + 512, 0x8000_0000_0000_0000);
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xAE, 0x23));
        Assert.Equal(0x8000_0000_0000_0007UL, _guest.Read<ulong>(Area + 512));
        Assert.Equal(0x1111UL, _guest.Read<ulong>(Area + 576));
        _guest.Write<ulong>(Area + 512, 3); // AVX in its initial state
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xAE, 0x2B));
        Assert.Equal(0UL, *(ulong*)&Cpu->YmmHigh);
        Assert.Equal(0u, Cpu->YmmDirty);
        Assert.Equal(0x0807_0605_0403_0201UL, *(ulong*)&Cpu->Xmm);
    }

    [Fact]
    public void Xsavec_WritesItsLayout_AndXrstorReadsIt()
    {
        Enable(3);
        _guest.Write<ulong>(Area + 528, 99);
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xC7, 0x23));
        Assert.Equal(3UL, _guest.Read<ulong>(Area + 512));
        Assert.Equal(0x8000_0000_0000_0003UL, _guest.Read<ulong>(Area + 520));
        Assert.Equal(99UL, _guest.Read<ulong>(Area + 528)); // not written
        _guest.Write<ulong>(Area + 528, 0);
        Cpu->Xmm = default;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xC7, 0x1B)); // xrstors
        Assert.Equal(0x0807_0605_0403_0201UL, *(ulong*)&Cpu->Xmm);
    }

    [Fact]
    public void Xsaveopt_SkipsInitialComponents()
    {
        Enable(3);
        Cpu->Xmm = default;
        _guest.Write<byte>(Area + 160, 0x55);
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xAE, 0x33));
        Assert.Equal(1UL, _guest.Read<ulong>(Area + 512));
        Assert.Equal(0x55, _guest.Read<byte>(Area + 160));
    }

    [Theory]
    [InlineData(512, 8UL)] // a component that XCR0 has not
    [InlineData(520, 1UL)] // XCOMP_BV without bit 63
    [InlineData(24, 0xFFFF_FFFFUL)] // MXCSR
    public void Xrstor_RefusesBadHeaders(int offset, ulong value)
    {
        Enable(3);
        _guest.Execute(0x0F, 0xAE, 0x23);
        _guest.Write(Area + (uint)offset, value);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0xAE, 0x2B));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
    }

    [Theory]
    [InlineData(0x2B)] // xsaves
    [InlineData(0x23)] // xsavec
    public void CompactedImage_ComesBack_WithAvx(byte save)
    {
        Enable(7);
        Cpu->YmmDirty = 1;
        ((ulong*)&Cpu->YmmHigh)[3] = 0x1122_3344_5566_7788;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xC7, save));
        Assert.Equal(0x8000_0000_0000_0007UL, _guest.Read<ulong>(Area + 520));
        _guest.Write<ulong>(Area + 528, 0);
        Cpu->Xmm = default;
        Cpu->YmmHigh = default;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xC7, 0x1B)); // xrstors
        Assert.Equal(0x0807_0605_0403_0201UL, *(ulong*)&Cpu->Xmm);
        Assert.Equal(0x1122_3344_5566_7788UL, ((ulong*)&Cpu->YmmHigh)[3]);
    }

    [Theory]
    [InlineData(512, 8UL)] // a component that XCR0 has not
    [InlineData(520, 3UL)] // XCOMP_BV without bit 63: not a compacted image
    [InlineData(520, 0x8000_0000_0000_0001)] // less than XSTATE_BV has
    [InlineData(520, 0x8000_0000_0000_000B)] // a component that XCR0 has not
    [InlineData(520, 0xC000_0000_0000_0003)]
    [InlineData(528, 1UL)] // reserved
    [InlineData(568, 1UL << 63)]
    public void Xrstors_RefusesBadHeaders_AndLoadsNothing(int offset, ulong value)
    {
        Enable(3);
        _guest.Write<ulong>(Area + 528, 0);
        _guest.Write<ulong>(Area + 568, 0);
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xC7, 0x2B));
        *(ulong*)&Cpu->Xmm = 5;
        _guest.Write(Area + (uint)offset, value);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0xC7, 0x1B));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Assert.Equal(5UL, *(ulong*)&Cpu->Xmm);
    }

    [Fact]
    public void Xgetbv1_TellsWhatIsInUse()
    {
        Enable(3);
        Cpu->Gpr[Gpr.Rcx] = 1;
        Cpu->Xmm = default;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0x01, 0xD0));
        Assert.Equal(1UL, Cpu->Gpr[Gpr.Rax]);
    }

    [Fact]
    public void Ldmxcsr_RefusesReservedBits()
    {
        _guest.Write(Area, 0x1_1F80u);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0xAE, 0x13));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        _guest.Write(Area, 0x9F80u);
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xAE, 0x13));
        Assert.Equal(0x9F80u, Cpu->Mxcsr);
        Cpu->Cr4 &= ~Cr4.Osfxsr;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0xAE, 0x13));
        Assert.Equal((byte)6, _guest.Fault.Vector);
    }

    [Fact]
    public void Maskmovdqu_StoresSelectedBytes()
    {
        Cpu->Gpr[Gpr.Rdi] = Area;
        new Span<byte>((byte*)&Cpu->Xmm + 16, 16).Clear();
        ((byte*)&Cpu->Xmm)[16 + 3] = 0x80;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x66, 0x0F, 0xF7, 0xC1));
        Assert.Equal(0x0400_0000u, _guest.Read<uint>(Area));
        Cpu->Gpr[Gpr.Rdi] = 0x4000_0000;
        ((byte*)&Cpu->Xmm)[16 + 3] = 0;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x66, 0x0F, 0xF7, 0xC1)); // as Intel's CPUs, with no byte selected
    }

    [Fact]
    public void Vmaskmovps_FaultsOnlyOnSelectedElements()
    {
        Cpu->Gpr[Gpr.Rbx] = 0x40_0000 - 8;
        _guest.Write<ulong>(0x3000 + (2 * 8), 0); // 4 MiB and up not mapped
        _guest.Write(0x40_0000 - 8, 0x1234_5678u);
        new Span<byte>((byte*)&Cpu->Xmm + 16, 16).Clear();
        ((byte*)&Cpu->Xmm)[16 + 3] = 0x80;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xC4, 0xE2, 0x71, 0x2C, 0x13)); // vmaskmovps xmm2, xmm1, [rbx]
        Assert.Equal(0x1234_5678UL, *(ulong*)((byte*)&Cpu->Xmm + 32));
        ((byte*)&Cpu->Xmm)[16 + 11] = 0x80;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xC4, 0xE2, 0x71, 0x2C, 0x13));
        Assert.Equal(0x40_0000UL, Cpu->Cr2);
    }

    [Fact]
    public void Gather_FaultKeepsWhatWasLoaded()
    {
        _guest.Write(Area + 4, 0xAAAAu);
        new Span<byte>((byte*)&Cpu->Xmm, 48).Clear();
        int* index = (int*)((byte*)&Cpu->Xmm + 16);
        index[0] = 1;
        index[1] = 0x1000_0000;
        int* mask = (int*)((byte*)&Cpu->Xmm + 32);
        mask[0] = mask[1] = -1;
        // vpgatherdd xmm0, [rbx + xmm1*4], xmm2
        byte[] code = [0xC4, 0xE2, 0x69, 0x90, 0x04, 0x8B];
        Assert.Equal(AssistResult.Fault, _guest.Execute(code));
        Assert.Equal(0xAAAA, *(int*)&Cpu->Xmm);
        Assert.Equal(0, mask[0]);
        Assert.Equal(-1, mask[1]);
        index[1] = 0;
        _guest.Write(Area, 0xBBBBu);
        Assert.Equal(AssistResult.Next, _guest.Execute(code));
        Assert.Equal(0x0000_BBBB_0000_AAAAUL, *(ulong*)&Cpu->Xmm);
        Assert.Equal(0, mask[1]);
    }

    private void Enable(ulong xcr0)
    {
        Cpu->Cr4 |= Cr4.Osxsave;
        Cpu->Xcr0 = xcr0;
        Cpu->Gpr[Gpr.Rax] = 7;
    }

    /// <summary>One register, 3.0, on the stack.</summary>
    private void SetX87()
    {
        byte* image = X87State.Image(Cpu);
        new Span<byte>(image, 160).Clear();
        *(ushort*)image = 0x37F;
        *(ushort*)(image + X87State.StatusWord) = 0x3800;
        image[X87State.Tags] = 0x80;
        *(ulong*)(image + X87State.Stack) = 0xC000_0000_0000_0000;
        *(ushort*)(image + X87State.Stack + 8) = 0x4000;
        X87State.Load(_guest.Vcpu);
    }
}
