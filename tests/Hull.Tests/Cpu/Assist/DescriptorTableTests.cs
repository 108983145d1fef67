using System;
using Hull.Cpu;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>GDT, IDT, LDT, TSS, and what asks about their descriptors.</summary>
public sealed unsafe class DescriptorTableTests : IDisposable
{
    private readonly AssistGuest _guest = new();

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose() => _guest.Dispose();

    // SDM vol. 2, LLDT and LTR: a descriptor of 16 bytes has a base of 64 bits, which must be canonical.
    [Theory]
    [InlineData(0xD0, 0x82, 0xFFFF_8000u, true)] // lldt
    [InlineData(0xD0, 0x82, 0x0000_7FFFu, true)]
    [InlineData(0xD0, 0x82, 0x0000_8000u, false)]
    [InlineData(0xD0, 0x82, 0xFFFF_7FFFu, false)]
    [InlineData(0xD0, 0x82, 0x4000_0000u, false)]
    [InlineData(0xD8, 0x89, 0xFFFF_8000u, true)] // ltr
    [InlineData(0xD8, 0x89, 0x0000_8000u, false)]
    public void SystemSegment_HasACanonicalBase(byte form, byte type, uint high, bool isCanonical)
    {
        const ushort Selector = 0x80;
        _guest.Long();
        Cpu->Gdtr.Base = AssistGuest.DataAt;
        Cpu->Gdtr.Limit = 0xFF;
        _guest.Memory.Write(new GuestPhysical(AssistGuest.DataAt + Selector), 0x1234_0067u | ((ulong)type << 40));
        _guest.Memory.Write(new GuestPhysical(AssistGuest.DataAt + Selector + 8), (ulong)high);
        Cpu->Gpr[Gpr.Rax] = Selector;
        AssistResult result = _guest.Execute(0x0F, 0x00, form);
        Assert.Equal(isCanonical ? AssistResult.Next : AssistResult.Fault, result);
        if (isCanonical)
        {
            ref CpuSegment loaded = ref form == 0xD0 ? ref Cpu->Ldtr : ref Cpu->Tr;
            Assert.Equal(((ulong)high << 32) | 0x1234, loaded.Base);
        }
        else
        {
            Assert.Equal(((byte)13, (uint)Selector), _guest.Fault);
        }
    }

    [Theory]
    [InlineData(new byte[] { 0x0F, 0x01, 0x03 })] // sgdt
    [InlineData(new byte[] { 0x0F, 0x01, 0x0B })] // sidt
    [InlineData(new byte[] { 0x0F, 0x01, 0xE0 })] // smsw
    [InlineData(new byte[] { 0x0F, 0x00, 0xC0 })] // sldt
    [InlineData(new byte[] { 0x0F, 0x00, 0xC8 })] // str
    public void Umip_HidesTablesFromUsers(byte[] code)
    {
        _guest.Long(3);
        Cpu->Gpr[Gpr.Rbx] = AssistGuest.DataAt;
        Assert.Equal(AssistResult.Next, _guest.Execute(code));
        Cpu->Cr4 |= Cr4.Umip;
        Assert.Equal(AssistResult.Fault, _guest.Execute(code));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
    }

    [Fact]
    public void Lgdt_ReadsTenBytes_AndChecksTheBase()
    {
        _guest.Long();
        _guest.Write<ushort>(AssistGuest.DataAt, 0x1FF);
        _guest.Write(AssistGuest.DataAt + 2, 0xFFFF_8000_1234_5678UL);
        Cpu->Gpr[Gpr.Rbx] = AssistGuest.DataAt;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0x01, 0x13));
        Assert.Equal(0xFFFF_8000_1234_5678UL, Cpu->Gdtr.Base);
        Assert.Equal(0x1FFUL, Cpu->Gdtr.Limit);
        _guest.Write(AssistGuest.DataAt + 2, 0x0FFF_8000_1234_5678UL);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x01, 0x13));
    }

    [Fact]
    public void Sgdt_InProtectedMode_WritesSixBytes()
    {
        _guest.Protected();
        Cpu->Gdtr = new CpuTable { Base = 0x1234_5678, Limit = 0xABCD };
        Cpu->Gpr[Gpr.Rbx] = AssistGuest.DataAt;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0x01, 0x03));
        Assert.Equal(0x0000_1234_5678_ABCDUL, _guest.Read<ulong>(AssistGuest.DataAt));
    }

    [Fact]
    public void Ltr_MarksTheTssBusy()
    {
        _guest.Long();
        _guest.Describe(AssistGuest.Free, AssistGuest.Segment(0x7000, 0x67, 0x89), 0xFFFF_8000, true);
        Cpu->Gpr[Gpr.Rax] = AssistGuest.Free;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0x00, 0xD8));
        Assert.Equal(0xFFFF_8000_0000_7000UL, Cpu->Tr.Base);
        Assert.Equal(0x8Bu, Cpu->Tr.Attributes);
        Assert.Equal(0x8B, _guest.Read<byte>(AssistGuest.GdtAt + AssistGuest.Free + 5));
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x00, 0xD8));
        Assert.Equal(((byte)13, (uint)AssistGuest.Free), _guest.Fault);
    }

    [Fact]
    public void Lldt_TakesNull_AndRefusesOtherTypes()
    {
        _guest.Protected();
        Cpu->Gpr[Gpr.Rax] = 0;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0x00, 0xD0));
        Cpu->Gpr[Gpr.Rax] = AssistGuest.Data0;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x00, 0xD0));
        Assert.Equal(((byte)13, (uint)AssistGuest.Data0), _guest.Fault);
        _guest.Describe(AssistGuest.Free, AssistGuest.Segment((uint)AssistGuest.LdtAt, 0xF, 0x02));
        Cpu->Gpr[Gpr.Rax] = AssistGuest.Free;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x00, 0xD0));
        Assert.Equal(((byte)11, (uint)AssistGuest.Free), _guest.Fault);
    }

    [Fact]
    public void LarLslVerr_AnswerThroughZf()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rax] = AssistGuest.UserData;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0x02, 0xD8)); // lar ebx, eax
        Assert.Equal(HostCpu.IsIntel ? 0x00C0_F300UL : 0x00CF_F300UL, Cpu->Gpr[Gpr.Rbx]);
        Assert.Equal(Rflags.Zf, Cpu->ArithmeticFlags & Rflags.Zf);
        _guest.Execute(0x0F, 0x03, 0xD8); // lsl ebx, eax
        Assert.Equal(0xFFFF_FFFFUL, Cpu->Gpr[Gpr.Rbx]);
        _guest.Execute(0x0F, 0x00, 0xE8); // verw ax
        Assert.Equal(Rflags.Zf, Cpu->ArithmeticFlags & Rflags.Zf);
        Cpu->Gpr[Gpr.Rax] = AssistGuest.Code64;
        _guest.Execute(0x0F, 0x00, 0xE8);
        Assert.Equal(0UL, Cpu->ArithmeticFlags & Rflags.Zf);
        Cpu->Gpr[Gpr.Rax] = 0xFFF8;
        Cpu->Gpr[Gpr.Rbx] = 77;
        _guest.Execute(0x0F, 0x03, 0xD8);
        Assert.Equal(77UL, Cpu->Gpr[Gpr.Rbx]);
    }
}
