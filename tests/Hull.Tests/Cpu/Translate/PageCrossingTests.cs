using System;
using System.Linq;
using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>Operands that lie in two pages which do not follow each other in RAM: whole, and without leaving generated code.</summary>
public sealed class PageCrossingTests : IDisposable
{
    // Two large pages side by side for the guest; in RAM the second comes before the first.
    private const ulong Edge = 21UL << 21;
    private const ulong First = 30UL << 21;
    private const ulong Second = 10UL << 21;
    private const int Turns = 1000;
    private readonly FlatGuest _guest = new();

    public PageCrossingTests()
    {
        _guest.WithTss().Gate(14, ist: 1);
        _guest.Memory.Write(new GuestPhysical(0x3000 + (8 * 20)), First | 0x83);
        _guest.Memory.Write(new GuestPhysical(0x3000 + (8 * 21)), Second | 0x83);
    }

    public void Dispose() => _guest.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(7)]
    public void StoresAndLoads_AreWhole(int before)
    {
        ulong at = Edge - (ulong)before;
        _guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(rbx, at);
            a.mov(rax, 0x0102_0304_0506_0708);
            a.xor(ebp, ebp);
            a.mov(ecx, Turns);
            a.Label(ref again);
            a.add(rax, 0x0101_0101);
            a.mov(__qword_ptr[rbx], rax);
            a.cmp(__qword_ptr[rbx], rax);
            a.setne(dl);
            a.or(ebp, edx);
            a.add(__qword_ptr[rbx], 3);
            a.movdqu(xmm0, __[rbx]);
            a.movdqu(__[rbx + 64], xmm0);
            a.movdqu(__[rbx], xmm0);
            a.mov(rsi, __qword_ptr[rbx]);
            a.dec(ecx);
            a.jne(again);
            a.hlt();
        });
        ulong last = 0x0102_0304_0506_0708 + (Turns * 0x0101_0101UL);
        Assert.Equal(-1, _guest.Vector);
        Assert.Equal(last, _guest.State.Gpr[0]);
        Assert.Equal(0UL, _guest.State.Gpr[5] & 0xFF);
        Assert.Equal(last + 3, _guest.State.Gpr[6]);
        Span<byte> bytes = stackalloc byte[8];
        _guest.Memory.TryRead(new GuestPhysical(First + 0x20_0000 - (ulong)before), bytes[..before]);
        _guest.Memory.TryRead(new GuestPhysical(Second), bytes[before..]);
        Assert.Equal(last + 3, BitConverter.ToUInt64(bytes));
        Assert.InRange(Careful(), 0UL, 20UL);
    }

    [Fact]
    public void StoresThatAlternateBetweenManyEdges_AreWhole()
    {
        // More pairs of pages than there are seams: each 4 KiB page of the first is next to one of the second.
        const ulong Tables = 12UL << 21;
        const int Pages = 512;
        _guest.Memory.Write(new GuestPhysical(0x3000 + (8 * 20)), Tables | 3);
        for (ulong i = 0; i < Pages; i++)
        {
            ulong page = i % 2 == 0 ? First + (i * 4096) : Second + ((Pages - i) * 4096);
            _guest.Memory.Write(new GuestPhysical(Tables + (8 * i)), page | 3);
        }

        _guest.Run(a =>
        {
            Label again = a.CreateLabel();
            Label next = a.CreateLabel();
            a.xor(ebp, ebp);
            a.mov(ecx, 20);
            a.Label(ref again);
            a.mov(rbx, (20UL << 21) + 4093);
            a.Label(ref next);
            a.lea(rax, __[rbx + rcx]);
            a.mov(__qword_ptr[rbx], rax);
            a.cmp(__qword_ptr[rbx], rax);
            a.setne(dl);
            a.or(ebp, edx);
            a.add(rbx, 4096);
            a.cmp(rbx, (int)((20 << 21) + ((Pages - 1) * 4096)));
            a.jb(next);
            a.dec(ecx);
            a.jne(again);
            a.hlt();
        });
        Assert.Equal(0UL, _guest.State.Gpr[5] & 0xFF);
        for (int i = 0; i < Pages - 2; i++)
        {
            ulong expected = (20UL << 21) + 4093 + ((ulong)i * 4096) + 1;
            ulong page = i % 2 == 0 ? First + ((ulong)i * 4096) : Second + ((ulong)(Pages - i) * 4096);
            byte[] low = new byte[3];
            _guest.Memory.TryRead(new GuestPhysical(page + 4093), low);
            Assert.Equal(BitConverter.GetBytes(expected)[..3], low);
        }
    }

    [Theory]
    [InlineData(0UL, 0UL, false)] // absent
    [InlineData(0UL, 2UL, true)]
    [InlineData(Second | 0x81, 3UL, true)] // read-only
    public void FaultOfTheSecondPage_LeavesTheFirst(ulong entry, ulong error, bool store)
    {
        _guest.Memory.Write(new GuestPhysical(0x3000 + (8 * 21)), entry);
        _guest.Memory.Write(new GuestPhysical(First + 0x20_0000 - 4), 0x1111_1111u);
        _guest.Run(a =>
        {
            a.mov(rbx, Edge - 4);
            a.mov(rax, -1L);
            if (store)
            {
                a.mov(__qword_ptr[rbx], rax);
            }
            else
            {
                a.mov(rax, __qword_ptr[rbx]);
            }

            a.hlt();
        });
        Assert.Equal(14, _guest.Vector);
        Assert.Equal(error, _guest.Stack(0));
        Assert.Equal(Edge, _guest.State.Cr2);
        Assert.Equal(ulong.MaxValue, _guest.State.Gpr[0]);
        Assert.Equal(0x1111_1111u, _guest.Memory.Read<uint>(new GuestPhysical(First + 0x20_0000 - 4)));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void StringElement_IsWhole(bool moves)
    {
        _guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(rbx, Edge - 4);
            a.mov(rax, 0x0102_0304_0506_0708);
            a.mov(ecx, 5);
            a.Label(ref again);
            a.mov(__qword_ptr[rbx - 0x100], rax);
            a.mov(rdi, rbx);
            if (moves)
            {
                a.lea(rsi, __[rbx - 0x100]);
                a.movsq();
                a.lea(rsi, __[rbx]);
                a.lea(rdi, __[rbx - 0x200]);
                a.movsq();
            }
            else
            {
                a.stosq();
            }

            a.dec(ecx);
            a.jne(again);
            a.mov(rdx, __qword_ptr[rbx]);
            a.hlt();
        });
        Assert.Equal(-1, _guest.Vector);
        Assert.Equal(0x0102_0304_0506_0708UL, _guest.State.Gpr[2]);
    }

    [Fact]
    public void AtomicAccess_IsCareful()
    {
        _guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(rbx, Edge - 4);
            a.mov(ecx, Turns);
            a.Label(ref again);
            a.@lock.add(__qword_ptr[rbx], 1);
            a.dec(ecx);
            a.jne(again);
            a.mov(rax, __qword_ptr[rbx]);
            a.hlt();
        });
        Assert.Equal((ulong)Turns, _guest.State.Gpr[0]);
        Assert.InRange(Careful(), (ulong)Turns, (ulong)Turns + 5);
    }

    [Fact]
    public void StoreOverCodeInTheSecondPage_IsSeen()
    {
        // mov eax, imm32; ret: the first byte of the number is the first page's last.
        _guest.Memory.Write<byte>(new GuestPhysical(First + 0x20_0000 - 2), 0xB8);
        _guest.Memory.Write<byte>(new GuestPhysical(Second + 3), 0xC3);
        _guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(rbx, Edge - 1);
            a.lea(rsi, __[rbx - 1]);
            a.xor(ebp, ebp);
            a.mov(ecx, Turns);
            a.Label(ref again);
            a.mov(__dword_ptr[rbx], ecx);
            a.call(rsi);
            a.cmp(eax, ecx);
            a.setne(dl);
            a.or(ebp, edx);
            a.dec(ecx);
            a.jne(again);
            a.hlt();
        });
        Assert.Equal(-1, _guest.Vector);
        Assert.Equal(0UL, _guest.State.Gpr[5] & 0xFF);
        Assert.Equal(1UL, _guest.State.Gpr[0]);
    }

    [Fact]
    public void OperandWhoseSecondPageIsADevice_GoesToTheBus()
    {
        _guest.Memory.Write(new GuestPhysical(0x3000 + (8 * 21)), 0xE000_0083UL);
        _guest.Memory.Write(new GuestPhysical(First + 0x20_0000 - 4), 0x1234_5678u);
        _guest.Run(a =>
        {
            a.mov(rbx, Edge - 4);
            a.mov(rax, __qword_ptr[rbx]);
            a.hlt();
        });
        Assert.Equal(0xFFFF_FFFF_1234_5678, _guest.State.Gpr[0]);
    }

    private ulong Careful() => _guest.Engine.ReadCounters().First(static counter => counter.Name == "exits-careful").Value;
}
