using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.TestKernels;

/// <summary>MOVS and STOS in 32-bit code with flat segments, as boot loaders and firmware copy.</summary>
public sealed class FlatStringTests
{
    private const int From = TestKernel.Data + 0xFF0;
    private const int To = TestKernel.Data + 0x8_0FF9;
    private const int Length = 0x2100;

    [Fact]
    public void SingleMovsb_CopiesOverPages_AndAdvancesBothRegisters() => Assert.Equal(1u, Copy(a =>
    {
        Label next = a.CreateLabel("next");
        a.mov(ecx, Length);
        a.Label(ref next);
        a.movsb();
        a.dec(ecx);
        a.jnz(next);
    }));

    [Fact]
    public void RepMovs_OfEachSize_CopiesOverPages() => Assert.Equal(1u, Copy(a =>
    {
        a.mov(ecx, (Length / 4) - 8);
        a.rep.movsd();
        a.mov(ecx, 8);
        a.rep.movsw();
        a.mov(ecx, 16);
        a.rep.movsb();
    }));

    [Fact]
    public void RepStosd_OverPages_IsReadBack() => Assert.Equal(0x5A5A_5A5Au, TestKernel.Run(EngineKind.Soft, a =>
    {
        a.cld();
        a.mov(edi, To);
        a.mov(eax, 0x5A5A_5A5A);
        a.mov(ecx, Length / 4);
        a.rep.stosd();
        a.sub(edi, To + Length);
        a.mov(eax, __dword_ptr[To + Length - 4]);
        a.add(eax, edi);
    }).Value);

    [Fact]
    public void MovsbDownwards_GoesDown() => Assert.Equal(1u, TestKernel.Run(EngineKind.Soft, a =>
    {
        Fill(a);
        a.std();
        a.mov(esi, From + Length - 1);
        a.mov(edi, To + Length - 1);
        a.mov(ecx, Length);
        a.rep.movsb();
        a.cld();
        Compare(a);
    }).Value);

    [Fact]
    public void MovsbOntoItsOwnFollowingByte_SpreadsTheFirst() => Assert.Equal(7u, TestKernel.Run(EngineKind.Soft, a =>
    {
        a.cld();
        a.mov(__byte_ptr[From], 7);
        a.mov(esi, From);
        a.mov(edi, From + 1);
        a.mov(ecx, Length);
        a.rep.movsb();
        a.movzx(eax, __byte_ptr[From + Length]);
    }).Value);

    // The result is 1 when the copy is right and both registers point behind it.
    private static uint? Copy(System.Action<Assembler> copy) => TestKernel.Run(EngineKind.Soft, a =>
    {
        Fill(a);
        a.mov(esi, From);
        a.mov(edi, To);
        copy(a);
        a.sub(esi, From + Length);
        a.sub(edi, To + Length);
        a.or(esi, edi);
        Label good = a.CreateLabel("good");
        a.mov(eax, 2);
        a.jz(good);
        a.mov(dx, TestKernel.ExitPort);
        a.@out(dx, eax);
        a.Label(ref good);
        Compare(a);
    }).Value;

    private static void Fill(Assembler a)
    {
        Label next = a.CreateLabel("fill");
        a.cld();
        a.mov(edi, From);
        a.mov(ecx, Length);
        a.mov(eax, 1);
        a.Label(ref next);
        a.mov(__byte_ptr[edi], al);
        a.inc(edi);
        a.imul(eax, eax, 17);
        a.add(eax, 29);
        a.dec(ecx);
        a.jnz(next);
    }

    private static void Compare(Assembler a)
    {
        a.mov(esi, From);
        a.mov(edi, To);
        a.mov(ecx, Length);
        a.repe.cmpsb();
        a.sete(al);
        a.movzx(eax, al);
    }
}
