using Hull.Cpu.Mmu;
using Hull.Engine;
using Hull.Memory;
using Hull.Tests.Cpu.Translate;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Mmu;

/// <summary>What programs reach through windows is what they would reach through checks, whatever the kernel does to their pages.</summary>
public sealed class WindowTests
{
    private const ulong DirectoryAt = 0x3000;
    private const ulong Data = FlatGuest.DataAt;
    private const ulong Page = 0x80_0000;
    private const ulong Other = 0xA0_0000;
    private const byte Call = 0x80;
    private const byte OpenGate = 0xEE;

    [Fact]
    public void Pages_ComeByFaults_OnceEach()
    {
        using FlatGuest guest = User();
        guest.Run(static a =>
        {
            Label again = a.CreateLabel();
            a.mov(rbx, Data);
            a.mov(ecx, 10_000);
            a.Label(ref again);
            a.add(__qword_ptr[rbx], rcx);
            a.dec(ecx);
            a.jne(again);
            a.mov(rax, __[rbx]);
            a.@int(Call);
        });
        Assert.Equal(10_000UL * 10_001 / 2, guest.State.Gpr[0]);
        Assert.InRange(guest.Vcpu.Tlb.Windows.Faults, 1UL, 10UL);
        Assert.InRange(guest.Vcpu.Tlb.Windows.Mapped, 1UL, 200UL);
    }

    [Fact]
    public void BaseOfAnotherRegionThanTheOperand_ReachesTheOperand()
    {
        using FlatGuest guest = User();
        guest.Memory.Write<ulong>(new GuestPhysical(Data), 77);
        guest.Run(static a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, 100);
            a.Label(ref again);
            a.mov(rbx, -16L);
            a.mov(rax, __[rbx + (int)(Data + 16)]);
            a.mov(rdx, (1L << 34) + 8);
            a.mov(rsi, __[rdx + (int)-((1L << 31) - 8)]);
            a.dec(ecx);
            a.jne(again);
            a.@int(Call);
        });
        Assert.Equal(14, guest.Vector);
        Assert.Equal(77UL, guest.State.Gpr[0]);
        Assert.Equal((1UL << 34) - (1UL << 31) + 16, guest.State.Cr2);
    }

    [Theory]
    [InlineData(0xFFFF_8000_0000_1000, 14)]
    [InlineData(0x0000_7FFF_FFFF_F000, 14)]
    [InlineData(0x0000_8000_0000_0000, 13)]
    [InlineData(0x4000_0000_0030_0000, 13)]
    [InlineData(0x0001_0000_0030_0000, 13)]
    public void WhatIsNotTheUsers_Faults(ulong address, int vector)
    {
        using FlatGuest guest = User();
        guest.State.Gpr[3] = address;
        guest.Run(static a =>
        {
            a.cmp(rbx, rbx);
            a.nop();
            a.mov(rax, __[rbx]);
            a.@int(Call);
        });
        Assert.Equal(vector, guest.Vector);
        Assert.Equal(FlatGuest.CodeAt + 4, guest.Stack(1));
        Assert.NotEqual(0UL, guest.Stack(3) & 0x40);
        if (vector == 14)
        {
            Assert.Equal(address, guest.State.Cr2);
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void PageThatIsMappedAnew_IsTheNewOne(bool invlpg)
    {
        using FlatGuest guest = User();
        guest.Memory.Write<ulong>(new GuestPhysical(Page), 1);
        guest.Memory.Write<ulong>(new GuestPhysical(Other), 2);
        guest.Handle(Call + 1, a =>
        {
            a.mov(__qword_ptr[(long)(DirectoryAt + (8 * (Page >> 21)))], (int)Other | 0x87);
            if (invlpg)
            {
                a.invlpg(__byte_ptr[(long)Page]);
            }
            else
            {
                a.mov(rdx, cr3);
                a.mov(cr3, rdx);
            }

            a.iretq();
        }, OpenGate);
        guest.Run(static a =>
        {
            a.mov(rbx, Page);
            a.mov(rax, __[rbx]);
            a.@int(Call + 1);
            a.mov(rcx, __[rbx]);
            a.mov(__qword_ptr[rbx], 3);
            a.@int(Call);
        });
        Assert.Equal(1UL, guest.State.Gpr[0]);
        Assert.Equal(2UL, guest.State.Gpr[1]);
        Assert.Equal(1UL, guest.Memory.Read<ulong>(new GuestPhysical(Page)));
        Assert.Equal(3UL, guest.Memory.Read<ulong>(new GuestPhysical(Other)));
    }

    [Fact]
    public void PageThatBecomesReadOnly_TakesNoStore()
    {
        using FlatGuest guest = User();
        guest.Handle(Call + 1, static a =>
        {
            a.and(__qword_ptr[(long)(DirectoryAt + (8 * (Page >> 21)))], ~2);
            a.mov(rdx, cr3);
            a.mov(cr3, rdx);
            a.iretq();
        }, OpenGate);
        guest.Run(static a =>
        {
            a.mov(rbx, Page);
            a.mov(__qword_ptr[rbx], 1);
            a.@int(Call + 1);
            a.mov(rax, __[rbx]);
            a.mov(__qword_ptr[rbx], 2);
            a.@int(Call);
        });
        Assert.Equal(14, guest.Vector);
        Assert.Equal(7UL, guest.Stack(0));
        Assert.Equal(1UL, guest.State.Gpr[0]);
        Assert.Equal(1UL, guest.Memory.Read<ulong>(new GuestPhysical(Page)));
    }

    [Fact]
    public void CodeThatAProgramWrites_IsWhatItRuns()
    {
        using FlatGuest guest = User();
        guest.Run(static a =>
        {
            Label again = a.CreateLabel();
            a.mov(rbx, Page);
            a.mov(__dword_ptr[rbx], 0x00C0_C748);        // mov rax, imm32; ret
            a.mov(__dword_ptr[rbx + 4], 0);
            a.mov(__byte_ptr[rbx + 7], 0xC3);
            a.xor(r12d, r12d);
            a.mov(ecx, 200);
            a.Label(ref again);
            a.mov(__byte_ptr[rbx + 3], cl);
            a.call(rbx);
            a.add(r12, rax);
            a.mov(__qword_ptr[rbx + 64], rcx);           // beside the code
            a.dec(ecx);
            a.jne(again);
            a.@int(Call);
        });
        Assert.Equal(Call, guest.Vector);
        Assert.Equal(200UL * 201 / 2, guest.State.Gpr[12] & 0xFFFF_FFFF);
    }

    [Fact]
    public void StateWithOtherTables_HasItsOwnWindows()
    {
        using FlatGuest guest = User();
        guest.Memory.Write<ulong>(new GuestPhysical(Page), 1);
        guest.Memory.Write<ulong>(new GuestPhysical(Other), 2);
        guest.Run(Look);
        Assert.Equal(1UL, guest.State.Gpr[0]);

        // The same tables at another place, but for one entry.
        const ulong apart = 0x9_0000;
        foreach (ulong table in (ulong[])[0x1000, 0x2000, 0x3000])
        {
            for (ulong at = table; at < table + 0x1000; at += 8)
            {
                ulong entry = guest.Memory.Read<ulong>(new GuestPhysical(at));
                guest.Memory.Write(new GuestPhysical(at + apart), table == 0x3000 || entry == 0 ? entry : entry + apart);
            }
        }

        guest.Memory.Write(new GuestPhysical(DirectoryAt + apart + (8 * (Page >> 21))), Other | 0x87);
        ArchState state = guest.State;
        FlatGuest.MakeUser(guest.Memory, state);
        state.Cr3 += apart;
        state.Rip = FlatGuest.CodeAt;
        state.Halted = false;
        guest.Run(Look);
        Assert.Equal(2UL, guest.State.Gpr[0]);
    }

    private static void Look(Assembler a)
    {
        a.mov(rbx, Page);
        a.mov(rax, __[rbx]);
        a.@int(Call);
    }

    private static FlatGuest User() => new FlatGuest(CpuModel.HostSafe, windows: WindowUse.Always).AsUser().Gate(Call, access: OpenGate);
}
