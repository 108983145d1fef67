using System;
using System.Linq;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Cpu.Translate;
using Hull.Engine;
using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>
/// Blocks of one page that a program maps at another rip: copied, with all that depends on the place. The guest's memory is
/// mapped at two more places, far from the first.
/// </summary>
public sealed unsafe class BlockCopierTests
{
    private const ulong One = (1UL << 39) + FlatGuest.CodeAt;
    private const ulong Two = (77UL << 39) + FlatGuest.CodeAt;
    private const int ToData = (int)(FlatGuest.DataAt - FlatGuest.CodeAt);

    [Fact]
    public void CopiedBlocks_AreByteForByteWhatIsTranslated()
    {
        // A block of 64 instructions may be copied, one that is held to 63 not.
        using FlatGuest copying = Guest(Translator.MaximumInstructions);
        using FlatGuest translating = Guest(Translator.MaximumInstructions - 1);
        copying.Run(Everything);
        translating.Run(Everything);
        Assert.Equal(6, copying.Vector);
        Assert.Equal(0UL, Copies(translating));
        Assert.InRange(Copies(copying), 10UL, 200UL);
        Assert.True(Code(copying, false).SequenceEqual(Code(translating, false)));
        Assert.True(Code(copying, true).SequenceEqual(Code(translating, true)));
        Assert.Equal(copying.State.Gpr, translating.State.Gpr);
        Assert.Equal(copying.State.Gpr[12], copying.State.Gpr[13]);
        Assert.NotEqual(0UL, copying.State.Gpr[12]);
    }

    [Fact]
    public void FaultInACopy_HasTheCopysRip()
    {
        using FlatGuest guest = Guest(Translator.MaximumInstructions);
        guest.State.Gpr[3] = FlatGuest.DataAt;
        guest.State.Gpr[5] = 1UL << 46;
        guest.Run(static a => Twice(a, static a =>
        {
            a.cmp(rbx, rbp);                // CF, PF
            a.mov(rdx, __[rbx]);            // of the second round: nothing is mapped there
            a.mov(rbx, rbp);
        }));
        Assert.Equal(14, guest.Vector);
        Assert.Equal(Two + 3, guest.Stack(1));
        Assert.Equal(0UL, guest.Stack(3) & Rflags.Cf);
        Assert.NotEqual(0UL, guest.Stack(3) & Rflags.Zf);
        Assert.InRange(Copies(guest), 1UL, 9UL);
    }

    [Fact]
    public void CodeThatHasChanged_IsNotCopied()
    {
        using FlatGuest guest = Guest(Translator.MaximumInstructions);
        guest.Run(static a => Twice(a, static a =>
        {
            Label function = a.CreateLabel();
            Label over = a.CreateLabel();
            a.call(function);
            a.shl(r12, 8);
            a.or(r12, rax);
            a.lea(rdi, __[function]);
            a.inc(__byte_ptr[rdi + 1]);
            a.jmp(over);
            a.Label(ref function);
            a.mov(eax, 1);
            a.ret();
            a.Label(ref over);
        }));
        Assert.Equal(6, guest.Vector);
        Assert.Equal(0x0102UL, guest.State.Gpr[12]);
    }

    [Fact]
    public void CopyAndItsSource_BothGoWhenTheirBytesChange()
    {
        using FlatGuest guest = Guest(Translator.MaximumInstructions);
        guest.Run(static a =>
        {
            Label other = a.CreateLabel();
            Label function = a.CreateLabel();
            a.lea(rdi, __[function]);
            a.lea(rsi, __[rdi + r14]);
            a.mov(ecx, 3);
            a.Label(ref other);
            a.call(rdi);
            a.call(rsi);
            a.inc(__byte_ptr[rdi + 3]);
            a.dec(ecx);
            a.jne(other);
            a.ud2();
            a.Label(ref function);
            a.shl(r12, 4);
            a.add(r12, 1);
            a.ret();
        });
        Assert.Equal(6, guest.Vector);
        Assert.Equal(3UL, Copies(guest));

        // shl r12, 4; 5; 6: the count is what changes.
        ulong expected = 0;
        for (int i = 0; i < 6; i++)
        {
            expected = (expected << (4 + (i / 2))) + 1;
        }

        Assert.Equal(expected, guest.State.Gpr[12]);
    }

    // What stands behind a call is translated with it: not when that would need a page that nobody has come to.
    [Fact]
    public void CallAtTheEndOfItsPage_DoesNotTouchTheNext()
    {
        using FlatGuest guest = new();
        guest.Memory.Write<ulong>(new GuestPhysical(0x3000 + (8 * 30)), 0);
        ulong end = (30UL << 21) - 1;
        guest.Memory.TryWrite(new GuestPhysical(end - 5), [0xE8, 0xF5, 0xFF, 0xFF, 0xFF, 0x48]);
        guest.Memory.TryWrite(new GuestPhysical(end - 11), [0xF4]);
        guest.State.Cr2 = 42;
        guest.Run(a =>
        {
            a.mov(rax, end - 5);
            a.jmp(rax);
        });
        Assert.Equal(-1, guest.Vector);
        Assert.Equal(end - 10, guest.State.Rip);
        Assert.Equal(42UL, guest.State.Cr2);
    }

    private static FlatGuest Guest(int limit)
    {
        FlatGuest guest = new FlatGuest(CpuModel.HostSafe, blockLimit: limit, windows: WindowUse.Never).AsUser();
        foreach (ulong at in (ReadOnlySpan<ulong>)[One, Two])
        {
            guest.Memory.Write<ulong>(new GuestPhysical(0x1000 + (8 * (at >> 39))), 0x2007);
        }

        guest.State.Cr4 |= 1 << 18; // OSXSAVE
        guest.State.Xcr0 = 7;
        guest.State.Rip = One;
        guest.State.Gpr[14] = Two - One;
        return guest;
    }

    private static ulong Copies(FlatGuest guest) =>
        guest.Engine.ReadCounters().Single(static counter => counter.Name == "copied-blocks").Value;

    private static ReadOnlySpan<byte> Code(FlatGuest guest, bool cold)
    {
        CodeCache cache = guest.Engine.Cache;
        return cold
            ? new ReadOnlySpan<byte>(cache.ColdAt - cache.ColdBytes, (int)cache.ColdBytes)
            : new ReadOnlySpan<byte>(cache.CodeStart, (int)cache.CodeBytes);
    }

    // Runs a body at one place and then at the other; R14 is the way between them, R12 and R13 are kept.
    private static void Twice(Assembler a, Action<Assembler> body)
    {
        Label start = a.CreateLabel();
        Label end = a.CreateLabel();
        a.Label(ref start);
        body(a);
        a.lea(rax, __[start]);
        a.mov(rcx, r14);
        a.xor(r14d, r14d);
        a.test(rcx, rcx);
        a.je(end);
        a.add(rax, rcx);
        a.jmp(rax);
        a.Label(ref end);
        a.ud2();
    }

    // Whatever depends on the place: calls, returns, tables, jumps in the page and out of it, addresses relative to RIP, as
    // operands that are read, written and only computed, with the flags alive and not.
    private static void Everything(Assembler a) => Twice(a, static a =>
    {
        Label loop = a.CreateLabel();
        Label near = a.CreateLabel();
        Label far = a.CreateLabel();
        Label back = a.CreateLabel();
        Label constant = a.CreateLabel();
        Label over = a.CreateLabel();
        Label odd = a.CreateLabel();
        Label even = a.CreateLabel();
        Label done = a.CreateLabel();
        a.mov(r13, r12);
        a.xor(r12d, r12d);
        a.mov(ecx, 5);
        a.Label(ref loop);
        a.push(rcx);
        a.push(rbx);
        a.push(r10);
        a.call(near);
        a.pop(r10);
        a.pop(rbx);
        a.pop(rcx);
        a.add(r12, rax);
        a.mov(rdx, __[constant]);
        a.add(rdx, rcx);
        a.mov(rbx, __[constant]);               // the flags live on
        a.adc(r12, rbx);
        a.lea(rsi, __[constant]);
        a.movzx(eax, __byte_ptr[rsi + 3]);
        a.vmovdqu(ymm1, __[constant]);
        a.vmovd(eax, xmm1);
        a.add(r12, rax);
        a.db(0x48, 0x89, 0x15);                 // mov [rip+disp32], rdx
        a.dd(ToData);
        a.db(0x48, 0x03, 0x05);                 // add rax, [rip+disp32]
        a.dd(ToData - 0x800);
        a.db(0x48, 0x8B, 0x04, 0x25);           // mov rax, [disp32]: stays
        a.dd((int)FlatGuest.DataAt);
        a.add(r12, rax);
        a.lea(rdx, __[odd]);
        a.lea(rsi, __[even]);
        a.test(cl, 1);
        a.cmove(rdx, rsi);
        a.jmp(rdx);
        a.Label(ref even);
        a.push(0x1234);
        a.pop(rax);
        a.add(r12, rax);
        a.Label(ref odd);
        a.jmp(far);
        a.Label(ref back);
        a.ror(r12, 5);
        a.dec(ecx);
        a.jne(loop);
        a.mov(ecx, 4);
        a.Label(ref done);
        a.add(r12, rcx);
        a.loop(done);
        a.jmp(over);
        a.Label(ref constant);
        foreach (ulong value in (ReadOnlySpan<ulong>)[0x1122_3344_5566_7788, 3, 0xFFFF_FFFF_FFFF_FFF0, 9])
        {
            a.dq(value);
        }

        a.Label(ref near);
        a.mov(rax, __[rsp]);
        a.and(eax, 0xFFF);                      // of the return address, what does not move
        a.ret();
        for (int i = 0; i < 4096; i++)
        {
            a.nop();
        }

        a.Label(ref far);
        a.cmp(r12, rcx);
        a.ja(back);
        a.jmp(back);
        a.Label(ref over);
    });
}
