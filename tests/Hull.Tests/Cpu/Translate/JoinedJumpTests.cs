using Hull.Cpu.State;
using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>A block goes on behind conditional jumps forward: nothing but its length tells.</summary>
public sealed class JoinedJumpTests
{
    private const ulong Hole = 30UL << 21;
    private const ulong Arithmetic = Rflags.Cf | Rflags.Pf | Rflags.Af | Rflags.Zf | Rflags.Sf | Rflags.Of;

    // CMP of 1 and 2, and of 0x8000_0000 and 1: SDM vol. 1, "Status Flags".
    [Theory]
    [InlineData(1, 2, Rflags.Cf | Rflags.Pf | Rflags.Af | Rflags.Sf)]
    [InlineData(int.MinValue, 1, Rflags.Pf | Rflags.Af | Rflags.Of)]
    public void FaultBehindAJump_HasItsRipAndTheComparesFlags(int left, int right, ulong flags)
    {
        using FlatGuest guest = new();
        guest.Memory.Write<ulong>(new GuestPhysical(0x3000 + (8 * 30)), 0);
        guest.State.Gpr[0] = (uint)left;
        guest.State.Gpr[1] = (uint)right;
        guest.State.Gpr[3] = Hole;
        guest.Run(
        [
            0x39, 0xC8,             // cmp eax, ecx
            0x74, 0x05,             // je
            0x48, 0x8B, 0x13,       // mov rdx, [rbx]
            0x31, 0xC0,             // xor eax, eax
            0xF4,
        ]);
        Assert.Equal(14, guest.Vector);
        Assert.Equal(FlatGuest.CodeAt + 4, guest.Stack(1));
        Assert.Equal(flags, guest.Stack(3) & Arithmetic);
    }

    // More jumps than a block goes on behind; each is taken once, and none in the last turn.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void EveryJumpOfAChain_GoesWhereItShould(bool user)
    {
        const int Jumps = 7;
        using FlatGuest guest = new();
        if (user)
        {
            guest.AsUser().Handle(6, static a => a.hlt());
        }

        guest.State.Gpr[3] = FlatGuest.DataAt;
        guest.Run(a =>
        {
            Label again = a.CreateLabel();
            Label next = a.CreateLabel();
            a.xor(ecx, ecx);
            a.Label(ref again);
            Label[] targets = new Label[Jumps];
            for (int i = 0; i < Jumps; i++)
            {
                targets[i] = a.CreateLabel();
                a.cmp(ecx, i);
                a.je(targets[i]);
                a.add(__dword_ptr[rbx], 1);
            }

            a.jmp(next);
            for (int i = 0; i < Jumps; i++)
            {
                a.Label(ref targets[i]);
                a.setb(al); // not below: equal
                a.add(__byte_ptr[rbx + 8 + i], al);
                a.add(__byte_ptr[rbx + 8 + i], 1);
                a.jmp(next);
            }

            a.Label(ref next);
            a.inc(ecx);
            a.cmp(ecx, Jumps);
            a.jbe(again);
            a.ud2();
        });
        Assert.Equal(6, user ? 6 : guest.Vector);
        Assert.Equal((uint)(Jumps * (Jumps + 1) / 2), guest.Memory.Read<uint>(new GuestPhysical(FlatGuest.DataAt)));
        Assert.Equal(0x0001_0101_0101_0101UL, guest.Memory.Read<ulong>(new GuestPhysical(FlatGuest.DataAt + 8)));
    }

    [Fact]
    public void StoreOverCodeBehindAJump_IsSeenThere()
    {
        using FlatGuest guest = new();
        guest.State.Gpr[3] = FlatGuest.CodeAt + 8;
        guest.Run(
        [
            0x85, 0xC0,             // test eax, eax
            0x75, 0x09,             // jne
            0xC6, 0x03, 0x2A,       // mov byte [rbx], 42: the MOV's immediate
            0xB9, 0x01, 0x00, 0x00, 0x00, // mov ecx, 1
            0xF4,
            0xF4,
        ]);
        Assert.Equal(42UL, guest.State.Gpr[1]);
    }

    [Fact]
    public void JumpsForward_DoNotEndABlock_AndBackwardOnesDo()
    {
        using FlatGuest guest = new();
        guest.Run(
        [
            0xFF, 0xC9,             // dec ecx
            0x74, 0x08,             // je
            0x78, 0x06,             // js
            0x70, 0x04,             // jo
            0x75, 0xF6,             // jne to the start
            0x90,
            0xF4,
            0xF4,
        ]);
        Assert.Equal(4, guest.Engine.Cache.Blocks[0].Instructions - 1);
    }
}
