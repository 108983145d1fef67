using System;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>MSRs, CPUID, debug registers, hypercalls, and who may use what.</summary>
public sealed unsafe class ProcessorTests : IDisposable
{
    private readonly AssistGuest _guest = new();

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose() => _guest.Dispose();

    [Theory]
    [InlineData(new byte[] { 0x0F, 0x20, 0xC0 })] // mov rax, cr0
    [InlineData(new byte[] { 0x0F, 0x22, 0xD8 })] // mov cr3, rax
    [InlineData(new byte[] { 0x0F, 0x21, 0xC0 })] // mov rax, dr0
    [InlineData(new byte[] { 0x0F, 0x06 })] // clts
    [InlineData(new byte[] { 0x0F, 0x32 })] // rdmsr
    [InlineData(new byte[] { 0x0F, 0x30 })] // wrmsr
    [InlineData(new byte[] { 0x0F, 0x01, 0x3B })] // invlpg
    [InlineData(new byte[] { 0x0F, 0x01, 0x13 })] // lgdt
    [InlineData(new byte[] { 0x0F, 0x01, 0x1B })] // lidt
    [InlineData(new byte[] { 0x0F, 0x00, 0xD0 })] // lldt
    [InlineData(new byte[] { 0x0F, 0x00, 0xD8 })] // ltr
    [InlineData(new byte[] { 0x0F, 0x01, 0xF0 })] // lmsw
    [InlineData(new byte[] { 0xF4 })] // hlt
    [InlineData(new byte[] { 0xFA })] // cli
    [InlineData(new byte[] { 0xFB })] // sti
    [InlineData(new byte[] { 0x0F, 0x01, 0xF8 })] // swapgs
    [InlineData(new byte[] { 0x48, 0x0F, 0x07 })] // sysret
    [InlineData(new byte[] { 0x0F, 0x08 })] // invd
    [InlineData(new byte[] { 0x0F, 0x09 })] // wbinvd
    [InlineData(new byte[] { 0xEC })] // in al, dx
    [InlineData(new byte[] { 0x66, 0x0F, 0x38, 0x82, 0x03 })] // invpcid
    public void Privileged_FaultsForUsers(byte[] code)
    {
        _guest.Long(3);
        Cpu->Tr.Limit = 0x60; // no I/O map
        Cpu->Gpr[Gpr.Rbx] = AssistGuest.DataAt;
        Assert.Equal(AssistResult.Fault, _guest.Execute(code));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Assert.Equal(AssistGuest.CodeAt, Cpu->Rip);
    }

    [Fact]
    public void DebugRegisters_KeepTheirFixedBits()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rax] = 0xFFFF_FFFF;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x23, 0xF0)); // dr6
        Assert.Equal(0xFFFF_EFFFUL, Cpu->DebugRegisters[6]);
        Cpu->Gpr[Gpr.Rax] = 0;
        _guest.Execute(0x0F, 0x23, 0xF8);
        Assert.Equal(0x400UL, Cpu->DebugRegisters[7]);
        Cpu->Gpr[Gpr.Rax] = 1UL << 32;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x23, 0xF8));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Cpu->Cr4 |= Cr4.De;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x21, 0xE0)); // dr4
        Assert.Equal(((byte)6, 0u), _guest.Fault);
    }

    [Fact]
    public void GeneralDetect_RaisesDebug()
    {
        _guest.Long();
        Cpu->DebugRegisters[7] = 0x2400;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x21, 0xC0));
        Assert.Equal((byte)1, _guest.Fault.Vector);
        Assert.NotEqual(0UL, Cpu->DebugRegisters[6] & (1 << 13));
    }

    [Fact]
    public void Msrs_ReachTheirOwners()
    {
        _guest.Long();
        Assert.True(Msrs.TryWrite(_guest.Vcpu, 0xC000_0100, 0xFFFF_8000_0000_0000));
        Assert.Equal(0xFFFF_8000_0000_0000UL, Cpu->Segments[Seg.Fs].Base);
        Assert.False(Msrs.TryWrite(_guest.Vcpu, 0xC000_0100, 0x8000_0000_0000));
        Assert.True(Msrs.TryWrite(_guest.Vcpu, 0x80B, 0));
        Assert.True(_guest.Apic.Msrs.ContainsKey(0x80B));
        Assert.True(Msrs.TryWrite(_guest.Vcpu, 0x4000_0001, 99));
        Assert.Equal(99UL, _guest.Personality.Msr);
        Assert.False(Msrs.TryRead(_guest.Vcpu, 0x4000_0002, out _));
        Assert.False(Msrs.TryWrite(_guest.Vcpu, 0xC000_0103, 1UL << 32));
    }

    [Fact]
    public void Tsc_WritesMoveTheAdjustment()
    {
        _guest.Long();
        Assert.True(Msrs.TryWrite(_guest.Vcpu, 0x3B, 1000));
        ulong offset = Cpu->TscOffset;
        Assert.True(Msrs.TryWrite(_guest.Vcpu, 0x3B, 0));
        Assert.Equal(1000UL, offset - Cpu->TscOffset);
        Assert.True(Msrs.TryWrite(_guest.Vcpu, 0x10, 0));
        Assert.True(Msrs.TryRead(_guest.Vcpu, 0x10, out ulong tsc));
        Assert.InRange(tsc, 0UL, 100_000_000_000UL);
        Assert.NotEqual(0UL, Cpu->TscAdjust);
    }

    [Fact]
    public void Efer_KeepsLma_AndRefusesLmeWhilePaging()
    {
        _guest.Long();
        Assert.False(Msrs.TryWrite(_guest.Vcpu, 0xC000_0080, Efer.Sce));
        Assert.True(Msrs.TryWrite(_guest.Vcpu, 0xC000_0080, Efer.Lme));
        Assert.Equal(Efer.Lme | Efer.Lma, Cpu->Efer);
        Assert.False(Msrs.TryWrite(_guest.Vcpu, 0xC000_0080, Efer.Lme | (1 << 12)));
    }

    [Fact]
    public void Cpuid_AsksThePersonalityFirst()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rax] = 0x4000_0000;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x0F, 0xA2));
        Assert.Equal(2UL, Cpu->Gpr[Gpr.Rbx]);
        Cpu->Cr4 |= Cr4.Osxsave;
        Cpu->Gpr[Gpr.Rax] = 0xFFFF_FFFF_0000_0001;
        _guest.Execute(0x0F, 0xA2);
        Assert.NotEqual(0UL, Cpu->Gpr[Gpr.Rcx] & (1 << 27));
    }

    [Fact]
    public void Hypercall_GoesToThePersonality_ElseUndefined()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rdi] = 41;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x01, 0xC1));
        Assert.Equal(42UL, Cpu->Gpr[Gpr.Rax]);
        _guest.Long(3);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x01, 0xD9));
        Assert.Equal((byte)6, _guest.Fault.Vector);
    }

    [Theory]
    [InlineData(new byte[] { 0x0F, 0x01, 0xC8 })] // monitor
    [InlineData(new byte[] { 0x0F, 0x01, 0xC9 })] // mwait
    [InlineData(new byte[] { 0x0F, 0x0B })] // ud2
    [InlineData(new byte[] { 0xC4 })] // nothing
    [InlineData(new byte[] { 0x0F, 0x01, 0xEE })] // rdpkru
    [InlineData(new byte[] { 0xF3, 0x0F, 0xAE, 0xC0 })] // rdfsbase without CR4
    public void HiddenOrUnknown_IsUndefined(byte[] code)
    {
        _guest.Long();
        Assert.Equal(AssistResult.Fault, _guest.Execute(code));
        Assert.Equal(((byte)6, 0u), _guest.Fault);
    }
}
