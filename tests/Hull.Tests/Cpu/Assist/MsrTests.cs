using System;
using Hull.Tests.Cpu.Translate;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Assist;

/// <summary>
/// MSRs as Linux and Xen probe them, with guest code: what reads back, and what raises #GP and changes nothing. SDM vol. 4;
/// vol. 3A, "Memory Type Range Registers" and "Page Attribute Table"; vol. 3B, "Machine-Check Architecture".
/// </summary>
public sealed class MsrTests : IDisposable
{
    private const int Protection = 13;
    private readonly FlatGuest _guest = new();

    public void Dispose() => _guest.Dispose();

    [Theory]
    [InlineData(0xFE, 0x508)] // MTRRCAP: 8 pairs, fixed ranges, write-combining
    [InlineData(0x179, 0x104)] // MCG_CAP: four banks, MCG_CTL
    [InlineData(0x17A, 0)]
    [InlineData(0x17B, 0)]
    [InlineData(0x400, 0)] // MC0_CTL: the system turns its reports on
    [InlineData(0x401, 0)]
    [InlineData(0x40F, 0)] // MC3_MISC
    [InlineData(0x277, 0x0007_0406_0007_0406)]
    [InlineData(0x2FF, 0xC06)]
    public void Probe_FindsTheValue(uint index, ulong value)
    {
        _guest.Run(a =>
        {
            a.mov(ecx, index);
            a.rdmsr();
            a.hlt();
        });
        Assert.Equal(-1, _guest.Vector);
        Assert.Equal(value, Read());
    }

    [Theory]
    [InlineData(0x180)] // MCG_RAX
    [InlineData(0x410)] // MC4_CTL: a fifth bank
    [InlineData(0x413)]
    [InlineData(0x47F)]
    [InlineData(0x280)] // MC0_CTL2
    [InlineData(0x210)] // a ninth pair of MTRRs
    [InlineData(0x251)] // between the fixed MTRRs
    [InlineData(0x25A)]
    [InlineData(0x270)]
    [InlineData(0x1F2)] // SMRR
    [InlineData(0xC1)] // PMC0
    [InlineData(0x186)] // PERFEVTSEL0
    [InlineData(0x309)] // FIXED_CTR0
    [InlineData(0x345)] // PERF_CAPABILITIES
    [InlineData(0x38D)] // FIXED_CTR_CTRL
    [InlineData(0x38F)] // PERF_GLOBAL_CTRL
    [InlineData(0x4C1)] // A_PMC0
    [InlineData(0xC001_0000)] // PERFEVTSEL0 of AMD
    [InlineData(0xC001_0004)] // PERFCTR0 of AMD
    [InlineData(0xC001_0200)]
    [InlineData(0x480)] // VMX_BASIC
    [InlineData(0xC001_0117)] // VM_HSAVE_PA
    public void Absent_IsProtection_ForReadsAndWrites(uint index)
    {
        _guest.Run(a =>
        {
            a.mov(ecx, index);
            a.rdmsr();
            a.hlt();
        });
        Assert.Equal(Protection, _guest.Vector);
        using FlatGuest second = new();
        second.Run(a =>
        {
            a.mov(ecx, index);
            a.xor(eax, eax);
            a.xor(edx, edx);
            a.wrmsr();
            a.hlt();
        });
        Assert.Equal(Protection, second.Vector);
        Assert.Equal(0UL, second.Stack(0)); // the error code
    }

    [Theory]
    [InlineData(0x277, 0x0106_0504_0700_0106)] // PAT: every type
    [InlineData(0x200, 0x8000_0006)] // a base
    [InlineData(0x20F, 0xF_8000_0800)] // a mask
    [InlineData(0x250, 0x0605_0401_0006_0606)]
    [InlineData(0x26F, 0)]
    [InlineData(0x2FF, 0)]
    [InlineData(0x17A, 7)]
    [InlineData(0x17B, ulong.MaxValue)]
    [InlineData(0x400, ulong.MaxValue)]
    [InlineData(0x40C, 0)]
    [InlineData(0x401, 0)]
    [InlineData(0x402, 0xAAAA_AAAA_AAAA_AAAA)]
    [InlineData(0x40F, 0xAAAA_AAAA_AAAA_AAAA)]
    [InlineData(0x1A0, 0x4_00C5_1889)] // MISC_ENABLE
    [InlineData(0xC000_0084, 0xFFFF_FFFF)]
    [InlineData(0xC000_0082, 0xFFFF_8000_0000_0000)]
    public void Written_ReadsBack(uint index, ulong value)
    {
        WriteThenRead(index, value);
        Assert.Equal(-1, _guest.Vector);
        Assert.Equal(value, Read());
    }

    [Theory]
    [InlineData(0xFE, 0)] // MTRRCAP
    [InlineData(0x179, 0)] // MCG_CAP
    [InlineData(0x17B, 1)]
    [InlineData(0x400, 1)] // neither none nor all
    [InlineData(0x404, 0xFFFF_FFFF)]
    [InlineData(0x401, 1)] // a status can only be cleared
    [InlineData(0x40D, 0xB200_0000_0000_0000)]
    [InlineData(0x17A, 8)]
    [InlineData(0x277, 0x0007_0406_0007_0402)] // PAT: type 2
    [InlineData(0x277, 0x0307_0406_0007_0406)] // type 3
    [InlineData(0x277, 0x0807_0406_0007_0406)] // reserved bits of a field
    [InlineData(0x200, 0x8000_0007)] // UC- is PAT's alone
    [InlineData(0x200, 0x8000_0106)]
    [InlineData(0x200, 1UL << 60)]
    [InlineData(0x201, 0x8000_0001)]
    [InlineData(0x250, 0x0702_0000_0000_0000)]
    [InlineData(0x2FF, 0x1000)]
    [InlineData(0x2FF, 0x2)] // type 2
    [InlineData(0xC000_0080, 1UL << 20)] // EFER
    [InlineData(0xC000_0082, 1UL << 62)] // LSTAR, not canonical
    [InlineData(0xC000_0084, 1UL << 32)] // SFMASK
    [InlineData(0x176, 1UL << 62)] // SYSENTER_EIP
    public void Refused_ChangesNothing(uint index, ulong value)
    {
        _guest.Handle(Protection, static a =>
        {
            a.inc(rbx);
            a.add(rsp, 8);
            a.add(__qword_ptr[rsp], 2); // over WRMSR
            a.iretq();
        });
        _guest.Run(a =>
        {
            a.mov(ecx, index);
            a.rdmsr();
            a.mov(esi, eax);
            a.mov(edi, edx);
            a.mov(eax, (uint)value);
            a.mov(edx, (uint)(value >> 32));
            a.wrmsr();
            a.rdmsr();
            a.hlt();
        });
        Assert.Equal(1UL, _guest.State.Gpr[3]);
        Assert.Equal((_guest.State.Gpr[7] << 32) | _guest.State.Gpr[6], Read());
    }

    [Fact]
    public void Rdpmc_IsProtection()
    {
        _guest.Run(static a =>
        {
            a.xor(ecx, ecx);
            a.rdpmc();
            a.hlt();
        });
        Assert.Equal(Protection, _guest.Vector);
    }

    private ulong Read() => (_guest.State.Gpr[2] << 32) | _guest.State.Gpr[0];

    private void WriteThenRead(uint index, ulong value) => _guest.Run(a =>
    {
        a.mov(ecx, index);
        a.mov(eax, (uint)value);
        a.mov(edx, (uint)(value >> 32));
        a.wrmsr();
        a.xor(eax, eax);
        a.xor(edx, edx);
        a.rdmsr();
        a.hlt();
    });
}
