using System;
using System.Collections.Generic;
using Hull.Memory;
using Hull.Tests.Cpu.Translate;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Assist;

/// <summary>Instructions that ask the processor for numbers, or change what it keeps for itself: values and faults. SDM vol. 2.</summary>
public sealed class ProcessorStateTests
{
    private const int Protection = 13;
    private const ulong Osxsave = 1 << 18;
    private const ulong Pcide = 1 << 17;
    private const ulong Operand = FlatGuest.DataAt;

    [Theory]
    [InlineData("480FC7F0", ulong.MaxValue)] // rdrand rax
    [InlineData("0FC7F0", uint.MaxValue)] // rdrand eax
    [InlineData("480FC7F8", ulong.MaxValue)] // rdseed rax
    [InlineData("0FC7F8", uint.MaxValue)]
    public void RandomNumber_IsAnotherEachTime_AndTheFlagsSaySo(string code, ulong mask)
    {
        using FlatGuest guest = new();
        HashSet<ulong> seen = [];
        for (int i = 0; i < 16; i++)
        {
            guest.State.Rip = FlatGuest.CodeAt;
            guest.State.Halted = false;
            guest.State.Rflags = 0x8D7;
            guest.State.Gpr[0] = ulong.MaxValue;
            guest.Run([.. Convert.FromHexString(code), 0xF4]);
            Assert.Equal(-1, guest.Vector);
            ulong value = guest.State.Gpr[0];
            bool valid = (guest.State.Rflags & 1) != 0;
            Assert.Equal(0UL, guest.State.Rflags & 0x8D4);
            Assert.Equal(0UL, value & ~mask);
            Assert.True(valid || value == 0);
            seen.Add(value);
        }

        Assert.True(seen.Count > 8, $"{seen.Count} numbers of 16 draws");
    }

    [Fact]
    public void Rdtscp_And_Rdpid_TellTheAuxiliaryNumber()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            a.mov(ecx, 0xC000_0103);
            a.mov(eax, 0x8765_4321);
            a.xor(edx, edx);
            a.wrmsr();
            a.rdtsc();
            a.mov(esi, eax);
            a.mov(edi, edx);
            a.rdtscp();
            a.mov(ebx, ecx);
            a.shl(rdx, 32);
            a.or(rax, rdx);
            a.shl(rdi, 32);
            a.or(rsi, rdi);
            a.sub(rax, rsi);
            a.rdpid(rbp);
            a.hlt();
        });
        Assert.Equal(-1, guest.Vector);
        Assert.Equal(0x8765_4321UL, guest.State.Gpr[3]);
        Assert.Equal(0x8765_4321UL, guest.State.Gpr[5]);
        Assert.InRange((long)guest.State.Gpr[0], 0, long.MaxValue);
    }

    // SDM vol. 2, "INVPCID".
    [Theory]
    [InlineData(0, 0, 0x1000, false, -1)]
    [InlineData(0, 1, 0x1000, false, Protection)] // a PCID without CR4.PCIDE
    [InlineData(0, 1, 0x1000, true, -1)]
    [InlineData(0, 0, 0x8000_0000_0000, true, Protection)] // not canonical
    [InlineData(1, 0, 0x8000_0000_0000, false, -1)] // not looked at
    [InlineData(1, 1, 0, false, Protection)]
    [InlineData(1, 4095, 0, true, -1)]
    [InlineData(1, 4096, 0, true, Protection)] // reserved bits
    [InlineData(2, 10, 0, false, -1)]
    [InlineData(2, 10, 0, true, -1)]
    [InlineData(2, 0x1_0000, 0, true, Protection)]
    [InlineData(3, 0, 0x8000_0000_0000, true, -1)]
    [InlineData(3, 4096, 0, false, Protection)]
    [InlineData(4, 0, 0, true, Protection)] // no such type
    [InlineData(0x1_0000_0001, 0, 0, true, Protection)]
    public void Invpcid_Refuses(ulong type, ulong pcid, ulong linear, bool pcide, int vector)
    {
        using FlatGuest guest = new();
        guest.State.Cr4 |= pcide ? Pcide : 0;
        guest.Memory.Write(new GuestPhysical(Operand), pcid);
        guest.Memory.Write(new GuestPhysical(Operand + 8), linear);
        guest.Run(a =>
        {
            a.mov(rbx, type);
            a.invpcid(rbx, __xmmword_ptr[Operand]);
            a.hlt();
        });
        Assert.Equal(vector, guest.Vector);
    }

    // SDM vol. 2, "XSETBV": only ECX counts; vol. 1, "XCR0": x87 always, AVX with SSE.
    [Theory]
    [InlineData(0, 1, -1)]
    [InlineData(0, 3, -1)]
    [InlineData(0, 7, -1)]
    [InlineData(0x1234_0000_0000, 7, -1)]
    [InlineData(0, 0, Protection)]
    [InlineData(0, 2, Protection)]
    [InlineData(0, 4, Protection)]
    [InlineData(0, 5, Protection)]
    [InlineData(0, 6, Protection)]
    [InlineData(0, 0xE7, Protection)] // AVX-512 is not there
    [InlineData(0, 0x207, Protection)] // nor protection keys
    [InlineData(0, 0x8000_0000_0000_0007, Protection)]
    [InlineData(1, 3, Protection)]
    [InlineData(2, 3, Protection)]
    [InlineData(0x8000_0000, 3, Protection)]
    public void Xsetbv_Refuses(ulong rcx, ulong value, int vector)
    {
        using FlatGuest guest = new(avx: true);
        guest.State.Cr4 |= Osxsave;
        guest.Run(a =>
        {
            a.mov(Iced.Intel.AssemblerRegisters.rcx, rcx);
            a.mov(eax, (uint)value);
            a.mov(edx, (uint)(value >> 32));
            a.xsetbv();
            a.xor(eax, eax);
            a.xgetbv();
            a.hlt();
        });
        Assert.Equal(vector, guest.Vector);
        Assert.Equal(vector < 0 ? value : 1, guest.State.Xcr0);
        Assert.Equal(value & uint.MaxValue, guest.State.Gpr[0]);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(31)]
    [InlineData(0x8000_0000)]
    public void Xgetbv_OfAnotherRegister_IsProtection(uint index)
    {
        using FlatGuest guest = new(avx: true);
        guest.State.Cr4 |= Osxsave;
        guest.Run(a =>
        {
            a.mov(ecx, index);
            a.xgetbv();
            a.hlt();
        });
        Assert.Equal(Protection, guest.Vector);
    }
}
