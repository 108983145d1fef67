using System;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>MOV CR, the PDPTE registers, XSETBV.</summary>
public sealed unsafe class ControlRegisterTests : IDisposable
{
    private readonly AssistGuest _guest = new();

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void MovCr0_EntersLongMode_AsAKernelDoes()
    {
        _guest.Protected();
        Cpu->Cr3 = 0x1000;
        Cpu->Cr4 = Cr4.Pae;
        Cpu->Efer = Efer.Lme;
        Cpu->Gpr[Gpr.Rax] = Cr0.Pg | Cr0.Pe | Cr0.Et;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x22, 0xC0));
        Assert.Equal(Efer.Lme | Efer.Lma, Cpu->Efer);
        Assert.Equal(AssistGuest.CodeAt + 3, Cpu->Rip);
        Assert.False(CpuMode.Is64Bit(Cpu));
    }

    [Theory]
    [InlineData(0x8000_0000UL)] // PG without PE
    [InlineData(0x2000_0001UL)] // NW without CD
    [InlineData(0x1_0000_0001UL)] // reserved
    [InlineData(0x1UL)] // PG off in 64-bit mode
    public void MovCr0_Refuses(ulong value)
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rax] = value;
        ulong before = Cpu->Cr0;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x22, 0xC0));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Assert.Equal(before, Cpu->Cr0);
    }

    [Theory]
    [InlineData(0UL)] // PAE off in long mode
    [InlineData(0x1020UL)] // LA57
    [InlineData(0x40_0020UL)] // PKE
    public void MovCr4_Refuses(ulong value)
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rax] = value;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x22, 0xE0));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
    }

    [Fact]
    public void Pcide_NeedsALowlessCr3()
    {
        _guest.Long();
        Cpu->Cr3 = 0x1001;
        Cpu->Gpr[Gpr.Rax] = Cr4.Pae | Cr4.Pcide;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x22, 0xE0));
        Cpu->Cr3 = 0x1000;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x22, 0xE0));
        Cpu->Gpr[Gpr.Rax] = (1UL << 63) | 0x1005;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x22, 0xD8));
        Assert.Equal(0x1005UL, Cpu->Cr3);
    }

    [Fact]
    public void MovCr3_ReservedBits_Fault()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rax] = 1UL << 50;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x22, 0xD8));
    }

    // SDM vol. 3A, "PDPTE Registers": only these writes read the table again.
    [Theory]
    [InlineData(0xD8, AssistGuest.DataAt, true)] // CR3
    [InlineData(0xC0, 0x8000_0033, false)] // CR0: nothing changes
    [InlineData(0xC0, 0xC000_0033, true)] // CD
    [InlineData(0xC0, 0x8001_0033, false)] // WP
    [InlineData(0xE0, 0x30, true)] // CR4: PSE
    [InlineData(0xE0, 0xA0, true)] // PGE
    [InlineData(0xE0, 0x10_0020, true)] // SMEP
    [InlineData(0xE0, 0x220, false)] // OSFXSR
    public void PaePointers_AreReadWhenAControlRegisterSaysSo(byte register, uint value, bool reads)
    {
        PaePaging();
        _guest.Write(AssistGuest.DataAt + 8, 0x3007UL); // bits 1 and 2 are reserved
        Cpu->Gpr[Gpr.Rax] = value;
        Assert.Equal(reads ? AssistResult.Fault : AssistResult.Jump, _guest.Execute(0x0F, 0x22, register));
        Assert.True(_guest.Vcpu.Mmu.Load(0x1000, out ulong _)); // the old ones go on
        Assert.False(_guest.Vcpu.Mmu.Load(0x4000_1000, out ulong _));
        _guest.Write(AssistGuest.DataAt + 8, 0x3001UL);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x22, register));
        Assert.Equal(reads, _guest.Vcpu.Mmu.Load(0x4000_1000, out ulong _));
    }

    [Fact]
    public void PaePointers_AreReadWhenPagingGoesOn()
    {
        PaePaging();
        Cpu->Cr0 = 0x33;
        _guest.Write(AssistGuest.DataAt, 0x3003UL);
        Cpu->Gpr[Gpr.Rax] = 0x8000_0033;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x22, 0xC0));
        Assert.Equal(0x33UL, Cpu->Cr0);
        _guest.Write(AssistGuest.DataAt, 0x3001UL);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x22, 0xC0));
    }

    [Fact]
    public void Cr8_IsTheTaskPriority()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rax] = 9;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x44, 0x0F, 0x22, 0xC0));
        Assert.Equal(9, _guest.Apic.TaskPriority);
        Assert.Equal(AssistResult.Next, _guest.Execute(0x44, 0x0F, 0x20, 0xC3));
        Assert.Equal(9UL, Cpu->Gpr[Gpr.Rbx]);
        Cpu->Gpr[Gpr.Rax] = 16;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x44, 0x0F, 0x22, 0xC0));
    }

    [Fact]
    public void Xsetbv_ChecksCombinations()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rdx] = 0;
        Cpu->Gpr[Gpr.Rax] = 3;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x01, 0xD1));
        Assert.Equal((byte)6, _guest.Fault.Vector);
        Cpu->Cr4 |= Cr4.Osxsave;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x01, 0xD1));
        Cpu->Gpr[Gpr.Rax] = 5;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x01, 0xD1));
        Cpu->Gpr[Gpr.Rax] = 2;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x01, 0xD1));
        Assert.Equal(3UL, Cpu->Xcr0);
    }

    // 32-bit code with PAE paging: the first gigabyte one to one, the table at DataAt.
    private void PaePaging()
    {
        _guest.Protected();
        _guest.Write(AssistGuest.DataAt, 0x3001UL);
        Cpu->Cr3 = AssistGuest.DataAt;
        Cpu->Cr4 = Cr4.Pae;
        Cpu->Cr0 = 0x8000_0033;
        Assert.True(_guest.Vcpu.Mmu.TryLoadPdptes(AssistGuest.DataAt));
        _guest.Vcpu.Mmu.FlushAll();
    }
}
