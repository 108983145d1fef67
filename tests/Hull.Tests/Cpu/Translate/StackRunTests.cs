using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>Several PUSH or POP share a check: what they store, load and raise is as one by one.</summary>
public sealed class StackRunTests
{
    private const ulong Hole = 31UL << 21;
    private const ulong End = 64UL << 20;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void PushesAndPops_MoveTheirRegisters(bool user)
    {
        using FlatGuest guest = new();
        if (user)
        {
            guest.AsUser();
        }

        guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(r13d, 3);
            a.Label(ref again);
            a.lea(rax, __[r13 + 10]);
            a.lea(rbx, __[r13 + 20]);
            a.lea(r10, __[r13 + 30]);
            a.lea(r12, __[r13 + 40]);
            a.push(rax);
            a.push(rbx);
            a.push(r10);
            a.push(r12);
            a.pop(rcx);
            a.pop(rdx);
            a.pop(r9);
            a.pop(rsi);
            a.dec(r13d);
            a.jne(again);
            a.hlt();
        });
        Assert.Equal(41UL, guest.State.Gpr[1]);
        Assert.Equal(31UL, guest.State.Gpr[2]);
        Assert.Equal(21UL, guest.State.Gpr[9]);
        Assert.Equal(11UL, guest.State.Gpr[6]);
    }

    [Fact]
    public void PushIntoAnAbsentPage_FaultsAlone()
    {
        using FlatGuest guest = new();
        guest.WithTss().Gate(14, ist: 1);
        guest.Memory.Write<ulong>(new GuestPhysical(0x3000 + (8 * 30)), 0);
        guest.State.Gpr[4] = Hole + 16;
        guest.State.Gpr[0] = 1;
        guest.State.Gpr[3] = 2;
        guest.Run(a =>
        {
            a.push(rax);
            a.pop(rax);
            a.push(rax);
            a.push(rbx);
            a.push(rcx);
            a.push(rdx);
            a.hlt();
        });
        Assert.Equal(14, guest.Vector);
        Assert.Equal(FlatGuest.CodeAt + 4, guest.Stack(1));
        Assert.Equal(Hole, guest.Stack(4));
        Assert.Equal(1UL, guest.Memory.Read<ulong>(new GuestPhysical(Hole + 8)));
        Assert.Equal(2UL, guest.Memory.Read<ulong>(new GuestPhysical(Hole)));
    }

    [Fact]
    public void PopFromAnAbsentPage_FaultsAlone()
    {
        using FlatGuest guest = new();
        guest.State.Gpr[4] = End - 16;
        guest.State.Gpr[1] = 3;
        guest.Memory.Write(new GuestPhysical(End - 16), 1UL);
        guest.Memory.Write(new GuestPhysical(End - 8), 2UL);
        guest.Run(a =>
        {
            a.mov(rax, __[rsp]);
            a.pop(r10);
            a.pop(rbx);
            a.pop(rcx);
            a.hlt();
        });
        Assert.Equal(14, guest.Vector);
        Assert.Equal(FlatGuest.CodeAt + 7, guest.Stack(1));
        Assert.Equal(End, guest.Stack(4));
        Assert.Equal(1UL, guest.State.Gpr[10]);
        Assert.Equal(2UL, guest.State.Gpr[3]);
        Assert.Equal(3UL, guest.State.Gpr[1]);
    }

    [Fact]
    public void PushToANonCanonicalAddress_IsAStackFault()
    {
        using FlatGuest guest = new();
        guest.WithTss().Gate(12, ist: 1);
        guest.State.Gpr[4] = 0x8000_0000_0000_0100;
        guest.Run([0x50, 0x53, 0x51, 0xF4]); // push rax; push rbx; push rcx; hlt
        Assert.Equal(12, guest.Vector);
        Assert.Equal(FlatGuest.CodeAt, guest.Stack(1));
        Assert.Equal(0x8000_0000_0000_0100, guest.Stack(4));
    }
}
