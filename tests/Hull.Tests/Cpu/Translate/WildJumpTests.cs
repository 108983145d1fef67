using Hull.Cpu.Mmu;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>
/// Jumps to addresses that are not canonical. Some of them are keys of the jump cache: they hit its empty lines and ended
/// the host process.
/// </summary>
public sealed class WildJumpTests
{
    private const ulong Keys = Tlb.LastGeneration + 1;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void IndirectJumpToEveryKey_IsProtection(bool user)
    {
        using FlatGuest guest = NewGuest(user);
        guest.Run(a =>
        {
            Start(a);
            a.jmp(rax);
        });
        Assert.Equal(Keys, guest.State.Gpr[12]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ReturnToEveryKey_IsProtection(bool user)
    {
        using FlatGuest guest = NewGuest(user);
        guest.Run(a =>
        {
            Start(a);
            a.push(rax);
            a.ret();
        });
        Assert.Equal(Keys, guest.State.Gpr[12]);
    }

    // Each #GP takes the next key; the first one is 0, a good address, and left out.
    private static FlatGuest NewGuest(bool user)
    {
        FlatGuest guest = new();
        guest.Handle(13, a =>
        {
            Label last = a.CreateLabel();
            a.inc(r12);
            a.cmp(r12, (int)Keys);
            a.je(last);
            a.add(rsp, 8); // the error code
            a.mov(__qword_ptr[rsp], r13);
            a.mov(__qword_ptr[rsp + 24], r14);
            a.iretq();
            a.Label(ref last);
            a.hlt();
        });
        guest.State.Gpr[12] = 1;
        guest.State.Gpr[13] = FlatGuest.CodeAt;
        guest.State.Gpr[14] = FlatGuest.StackAt;
        return user ? guest.AsUser() : guest;
    }

    private static void Start(Assembler a)
    {
        a.mov(rax, r12);
        a.shl(rax, Tlb.KeyShift);
    }
}
