using System;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Cpu.Translate;

/// <summary>LOCK is for read-modify-write forms with a memory destination; else #UD. SDM vol. 2A, "LOCK".</summary>
public sealed class LockPrefixTests : IDisposable
{
    private const int Undefined = 6;
    private readonly FlatGuest _guest = new();

    public void Dispose() => _guest.Dispose();

    [Theory]
    [InlineData(0x90)] // nop
    [InlineData(0x01, 0xD8)] // add eax, ebx: no memory
    [InlineData(0x03, 0x03)] // add eax, [rbx]: not the destination
    [InlineData(0x39, 0x03)] // cmp [rbx], eax
    [InlineData(0x83, 0x3B, 0x01)] // cmp dword [rbx], 1
    [InlineData(0x85, 0x03)] // test [rbx], eax
    [InlineData(0x87, 0xD8)] // xchg eax, ebx
    [InlineData(0x89, 0x03)] // mov [rbx], eax
    [InlineData(0xC7, 0x03, 0, 0, 0, 0)] // mov dword [rbx], 0
    [InlineData(0x8D, 0x03)] // lea eax, [rbx]
    [InlineData(0x8F, 0x03)] // pop [rbx]
    [InlineData(0x50)] // push rax
    [InlineData(0xD1, 0x23)] // shl dword [rbx], 1
    [InlineData(0xF7, 0x23)] // mul dword [rbx]
    [InlineData(0xFF, 0x13)] // call [rbx]
    [InlineData(0xFF, 0x33)] // push [rbx]
    [InlineData(0xEB, 0x00)] // jmp
    [InlineData(0xA4)] // movsb
    [InlineData(0xF3, 0xA4)] // rep movsb
    [InlineData(0xF4)] // hlt
    [InlineData(0xD9, 0x03)] // fld [rbx]
    [InlineData(0x0F, 0x20, 0xC0)] // mov rax, cr0: CR8 where the CPU has that form, which is not told
    [InlineData(0x0F, 0x22, 0xC0)] // mov cr0, rax
    [InlineData(0x0F, 0x58, 0x03)] // addps xmm0, [rbx]
    [InlineData(0x0F, 0xA3, 0x03)] // bt [rbx], eax
    [InlineData(0x0F, 0xBA, 0x23, 0x01)] // bt dword [rbx], 1
    [InlineData(0x0F, 0xAB, 0xC3)] // bts ebx, eax
    [InlineData(0x0F, 0xA4, 0x03, 0x01)] // shld [rbx], eax, 1
    [InlineData(0x0F, 0xAF, 0x03)] // imul eax, [rbx]
    [InlineData(0x0F, 0xB1, 0xC3)] // cmpxchg ebx, eax
    [InlineData(0x0F, 0xC1, 0xC3)] // xadd ebx, eax
    [InlineData(0x0F, 0xC3, 0x03)] // movnti [rbx], eax
    [InlineData(0x0F, 0xAE, 0x03)] // fxsave [rbx]
    [InlineData(0x0F, 0x38, 0xF1, 0x03)] // movbe [rbx], eax
    [InlineData(0xC5, 0xF8, 0x58, 0x03)] // vaddps xmm0, xmm0, [rbx]
    [InlineData(0xC4, 0xE2, 0x78, 0xF3, 0x1B)] // blsi eax, [rbx]
    public void OtherForms_AreUndefined(params int[] code)
    {
        Run(code);
        Assert.Equal(Undefined, _guest.Vector);
        Assert.Equal(FlatGuest.CodeAt, _guest.Stack(0));
    }

    [Theory]
    [InlineData(0x01, 0x03)] // add
    [InlineData(0x09, 0x03)] // or
    [InlineData(0x11, 0x03)] // adc
    [InlineData(0x19, 0x03)] // sbb
    [InlineData(0x21, 0x03)] // and
    [InlineData(0x29, 0x03)] // sub
    [InlineData(0x31, 0x03)] // xor
    [InlineData(0x83, 0x33, 0x01)] // xor dword [rbx], 1
    [InlineData(0x87, 0x03)] // xchg
    [InlineData(0xFF, 0x03)] // inc
    [InlineData(0xFE, 0x0B)] // dec byte
    [InlineData(0xF7, 0x13)] // not
    [InlineData(0xF7, 0x1B)] // neg
    [InlineData(0x0F, 0xAB, 0x03)] // bts
    [InlineData(0x0F, 0xB3, 0x03)] // btr
    [InlineData(0x0F, 0xBA, 0x3B, 0x01)] // btc
    [InlineData(0x0F, 0xB1, 0x03)] // cmpxchg
    [InlineData(0x0F, 0xC1, 0x03)] // xadd
    [InlineData(0x0F, 0xC7, 0x0B)] // cmpxchg8b
    [InlineData(0x48, 0x0F, 0xC7, 0x0B)] // cmpxchg16b
    public void ReadModifyWrite_Runs(params int[] code)
    {
        Run(code);
        Assert.Equal(-1, _guest.Vector);
    }

    private void Run(int[] code)
    {
        _guest.State.Gpr[3] = FlatGuest.DataAt;
        _guest.Memory.Write(new GuestPhysical(FlatGuest.DataAt), FlatGuest.CodeAt);
        _guest.Run([0xF0, .. Array.ConvertAll(code, static part => (byte)part), 0xF4]);
    }
}
