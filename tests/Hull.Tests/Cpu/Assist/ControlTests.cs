using System;
using Hull.Cpu;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>Control and debug registers, MSRs, CPUID, descriptor tables.</summary>
public sealed unsafe class ControlTests : IDisposable
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
