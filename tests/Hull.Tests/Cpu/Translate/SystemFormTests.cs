using System;
using Hull.Cpu.State;
using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>
/// What the supervisor's code does to user pages, and string instructions: in loops, so that the slots are filled.
/// </summary>
public sealed class SystemFormTests : IDisposable
{
    private const ulong UserDataAt = 0x4A_0000;
    private readonly FlatGuest _guest = new();

    public SystemFormTests()
    {
        // From 4 MiB on the user's.
        Write(0x1000, 0x2007);
        Write(0x2000, 0x3007);
        Write(0x3010, 0x40_0087);
    }

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void UserPage_IsClosedToTheSupervisor_AfterClac()
    {
        _guest.State.Cr4 |= Cr4.Smap;
        Write(UserDataAt, 0x1234);
        _guest.Run(a =>
        {
            Loop(a, 4, () =>
            {
                a.mov(rdi, UserDataAt);
                a.stac();
                a.mov(rax, __[rdi]);
                a.mov(__[rdi + 8], rax);
                a.inc(__qword_ptr[rdi + 8]);
                a.mov(rsi, __[rdi + 8]);
                a.clac();
            });
            a.mov(rax, __[rdi]);
            a.hlt();
        });
        Assert.Equal(14, _guest.Vector);
        Assert.Equal(1UL, _guest.Stack(0));
        Assert.Equal(0x1235UL, _guest.State.Gpr[6]);
    }

    [Fact]
    public void ReadOnlyUserPage_IsRefused_WhenOnlyItsLoadsAreKnown()
    {
        _guest.State.Cr4 |= Cr4.Smap;
        Write(0x3010, 0x40_0085);
        _guest.Run(a =>
        {
            Loop(a, 3, () =>
            {
                a.mov(rdi, UserDataAt);
                a.stac();
                a.mov(rax, __[rdi]);
                a.mov(rax, __[rdi + 8]);
            });
            a.mov(__[rdi], rax);
            a.hlt();
        });
        Assert.Equal(14, _guest.Vector);
        Assert.Equal(3UL, _guest.Stack(0));
    }

    [Fact]
    public void ReadOnlyUserPage_IsWrittenWithoutWriteProtect_AndNotAfter()
    {
        _guest.State.Cr4 |= Cr4.Smap;
        _guest.State.Cr0 &= ~Cr0.Wp;
        Write(0x3010, 0x40_0085);
        _guest.Run(a =>
        {
            a.mov(rdi, UserDataAt);
            a.stac();
            a.mov(__qword_ptr[rdi], 5);
            a.inc(__qword_ptr[rdi]);
            a.mov(rax, cr0);
            a.or(rax, 0x1_0000);
            a.mov(cr0, rax);
            a.mov(rbx, __[rdi]);
            a.mov(__[rdi], rax);
            a.hlt();
        });
        Assert.Equal(14, _guest.Vector);
        Assert.Equal(6UL, _guest.State.Gpr[3]);
    }

    [Fact]
    public void RepStosb_BetweenPagesOfOneRegister_FillsBoth()
    {
        _guest.Run(a =>
        {
            Loop(a, 4, () =>
            {
                a.push(rcx);
                foreach (ulong at in (ulong[])[0x30_0010, 0x31_0020])
                {
                    a.mov(rdi, at);
                    a.mov(ecx, 16);
                    a.mov(al, 7);
                    a.rep.stosb();
                }

                a.pop(rcx);
            });
            a.hlt();
        });
        Assert.Equal(0x0707_0707_0707_0707UL, Read(0x30_0018));
        Assert.Equal(0x0707_0707_0707_0707UL, Read(0x31_0028));
        Assert.Equal(0UL, Read(0x31_0030));
    }

    [Fact]
    public void Stosq_ToAnAddressThatIsNotCanonical_IsNoStackFault()
    {
        _guest.Run(a =>
        {
            a.mov(rdi, 0x10_0000_0000_0244UL);
            a.stosq();
            a.hlt();
        });
        Assert.Equal(13, _guest.Vector);
    }

    [Theory]
    [InlineData(0, -1)]
    [InlineData(1, 14)]
    public void RepMovsb_ToAnUnmappedPage_FaultsOnlyIfItMoves(int count, int vector)
    {
        _guest.Run(a =>
        {
            a.mov(rsi, FlatGuest.DataAt);
            a.mov(rdi, 0x1000_0000);
            a.mov(ecx, count);
            a.rep.movsb();
            a.hlt();
        });
        Assert.Equal(vector, _guest.Vector);
        Assert.Equal((ulong)count, _guest.State.Gpr[1]);
        Assert.Equal(FlatGuest.DataAt, _guest.State.Gpr[6]);
        Assert.Equal(0x1000_0000UL, _guest.State.Gpr[7]);
    }

    private static void Loop(Assembler a, int times, Action body)
    {
        Label again = a.CreateLabel();
        a.mov(ecx, times);
        a.Label(ref again);
        body();
        a.dec(ecx);
        a.jnz(again);
    }

    private void Write(ulong at, ulong value) => _guest.Memory.Write(new GuestPhysical(at), value);

    private ulong Read(ulong at) => _guest.Memory.Read<ulong>(new GuestPhysical(at));
}
