using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>Accesses whose address the translator knows: their slot is at a fixed place, and is emptied with all others.</summary>
public sealed class ConstantAddressTests
{
    // In the first of the slots that an address chooses, and in another.
    private const ulong First = 2UL << 21;
    private const ulong Other = (30UL << 21) + 0x5000;
    private const ulong Elsewhere = 10UL << 21;

    [Theory]
    [InlineData(First + 8, false)]
    [InlineData(First + 8, true)]
    [InlineData(Other, false)]
    [InlineData(Other + 0xFF8, true)]
    public void RemappedPage_IsReadAnew(ulong address, bool all)
    {
        using FlatGuest guest = new();
        ulong page = address >> 21;
        guest.Memory.Write(new GuestPhysical(address), 111UL);
        guest.Memory.Write(new GuestPhysical(Elsewhere + (address & 0x1F_FFFF)), 222UL);
        guest.Run(a =>
        {
            Label again = a.CreateLabel();
            Label end = a.CreateLabel();
            a.xor(ebx, ebx);
            a.Label(ref again);
            a.mov(rcx, rax);
            a.mov(rax, __qword_ptr[address]);
            a.add(__dword_ptr[address], 1);
            a.inc(ebx);
            a.cmp(ebx, 2);
            a.je(end);
            a.mov(__qword_ptr[0x3000 + (8 * page)], 0xE7 + (int)Elsewhere);
            if (all)
            {
                a.mov(rdx, cr3);
                a.mov(cr3, rdx);
            }
            else
            {
                a.mov(rdx, address);
                a.invlpg(__[rdx]);
            }

            a.jmp(again);
            a.Label(ref end);
            a.hlt();
        });
        Assert.Equal(-1, guest.Vector);
        Assert.Equal(111UL, guest.State.Gpr[1]);
        Assert.Equal(222UL, guest.State.Gpr[0]);
        Assert.Equal(112UL, guest.Memory.Read<ulong>(new GuestPhysical(address)));
        Assert.Equal(223UL, guest.Memory.Read<ulong>(new GuestPhysical(Elsewhere + (address & 0x1F_FFFF))));
    }

    [Fact]
    public void OperandInTwoPages_IsWhole()
    {
        using FlatGuest guest = new();
        guest.Memory.Write(new GuestPhysical(Other + 0xFFC), 0x1122_3344_5566_7788UL);
        guest.Run(a =>
        {
            a.mov(rax, __qword_ptr[Other + 0xFFC]);
            a.mov(__qword_ptr[Other + 0x1FFC], rax);
            a.mov(ebx, __dword_ptr[Other + 0x2000]);
            a.hlt();
        });
        Assert.Equal(0x1122_3344_5566_7788UL, guest.State.Gpr[0]);
        Assert.Equal(0x1122_3344UL, guest.State.Gpr[3]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AbsentPage_FaultsAtTheInstruction(bool store)
    {
        using FlatGuest guest = new();
        guest.WithTss().Gate(14, ist: 1);
        guest.Memory.Write<ulong>(new GuestPhysical(0x3000 + (8 * 30)), 0);
        guest.Run(a =>
        {
            a.xor(ecx, ecx);
            if (store)
            {
                a.mov(__byte_ptr[Other + 3], cl);
            }
            else
            {
                a.mov(cl, __byte_ptr[Other + 3]);
            }

            a.hlt();
        });
        Assert.Equal(14, guest.Vector);
        Assert.Equal(FlatGuest.CodeAt + 2, guest.Stack(1));
        Assert.Equal(store ? 2UL : 0UL, guest.Stack(0));
        Assert.Equal(Other + 3, guest.State.Cr2);
    }
}
