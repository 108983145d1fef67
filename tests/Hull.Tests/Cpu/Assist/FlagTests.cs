using System;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>PUSHF, POPF, CLI, STI and the rest, with IOPL, virtual-8086 mode and VME; old arithmetic.</summary>
public sealed unsafe class FlagTests : IDisposable
{
    private readonly AssistGuest _guest = new();

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void Pushfq_HidesRfAndVm()
    {
        _guest.Long();
        Cpu->Rflags = 0x3F_7FD7;
        Cpu->SystemFlags &= ~Rflags.Vm;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x9C));
        Assert.Equal(0x3C_7FD7UL, _guest.Stack(0));
    }

    [Theory]
    [InlineData(0, 0, 0x24_7FD7)] // all but VIF, VIP, VM, RF
    [InlineData(3, 0, 0x24_4DD7)] // IOPL and IF stay
    [InlineData(3, 3, 0x24_7FD7)] // IF may change, IOPL stays at 3
    public void Popfq_MasksByPrivilege(int cpl, int iopl, ulong expected)
    {
        _guest.Long(cpl);
        Cpu->Rflags = 2 | ((ulong)iopl << 12);
        _guest.Write(AssistGuest.StackAt, 0x3F_7FD7UL);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x9D));
        Assert.Equal(expected, Cpu->Rflags);
        Assert.Equal(AssistGuest.StackAt + 8, Cpu->Gpr[Gpr.Rsp]);
    }

    [Fact]
    public void Popf16_LeavesTheUpperHalf()
    {
        _guest.Protected();
        Cpu->Rflags = Rflags.Id | Rflags.Ac | 2;
        _guest.Write<ushort>(AssistGuest.StackAt, 0x0244);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x66, 0x9D));
        Assert.Equal(Rflags.Id | Rflags.Ac | 0x246, Cpu->Rflags);
    }

    [Fact]
    public void Sti_MakesAShadow_OnlyWhenItTurnsInterruptsOn()
    {
        _guest.Long();
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xFB));
        Assert.Equal(1, Cpu->InterruptShadow);
        Assert.Equal(1, Cpu->InterruptFlag);
        Cpu->InterruptShadow = 0;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xFB));
        Assert.Equal(0, Cpu->InterruptShadow);
        Assert.Equal(AssistResult.Next, _guest.Execute(0xFA));
        Assert.Equal(0, Cpu->InterruptFlag);
    }

    [Fact]
    public void Virtual8086_NeedsIopl3_OrVme()
    {
        _guest.Virtual8086(0);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xFA));
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x9C));
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x9D));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Cpu->Cr4 |= Cr4.Vme;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xFB));
        Assert.NotEqual(0UL, Cpu->SystemFlags & Rflags.Vif);
        Assert.Equal(0, Cpu->InterruptFlag);
        Assert.Equal(AssistResult.Next, _guest.Execute(0x9C));
        Assert.Equal(Rflags.If | Rflags.Iopl, _guest.Stack(0, 2) & (Rflags.If | Rflags.Iopl));
        Cpu->SystemFlags |= Rflags.Vip;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xFB));
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x66, 0x9C));
    }

    [Fact]
    public void StacClac_AreSupervisors()
    {
        _guest.Long();
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x01, 0xCB));
        Assert.NotEqual(0UL, Cpu->SystemFlags & Rflags.Ac);
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x01, 0xCA));
        _guest.Long(3);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x0F, 0x01, 0xCA));
        Assert.Equal((byte)6, _guest.Fault.Vector);
    }

    [Theory]
    [InlineData(0x27, 0x79, 0x35, 0x14, false, true)] // daa of 79+35=AE
    [InlineData(0x27, 0xAE, 0, 0x14, false, true)]
    public void Daa_Adjusts(byte opcode, byte al, byte ignored, byte expected, bool carryIn, bool carryOut)
    {
        _ = ignored;
        _guest.Protected();
        byte sum = al == 0x79 ? (byte)0xAE : al;
        Cpu->Gpr[Gpr.Rax] = sum;
        Cpu->ArithmeticFlags = carryIn ? Rflags.Cf : 0;
        Assert.Equal(AssistResult.Next, _guest.Execute(opcode));
        Assert.Equal(expected, Cpu->Gpr[Gpr.Rax]);
        Assert.Equal(carryOut, (Cpu->ArithmeticFlags & Rflags.Cf) != 0);
    }

    [Fact]
    public void Das_OfManual()
    {
        _guest.Protected();
        Cpu->Gpr[Gpr.Rax] = 0xEE; // 35 - 47
        Cpu->ArithmeticFlags = Rflags.Cf | Rflags.Af;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x2F));
        Assert.Equal(0x88UL, Cpu->Gpr[Gpr.Rax]);
        Assert.NotEqual(0UL, Cpu->ArithmeticFlags & Rflags.Cf);
    }

    [Fact]
    public void AamAad_ConvertDigits()
    {
        _guest.Protected();
        Cpu->Gpr[Gpr.Rax] = 0x4F;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xD4, 10));
        Assert.Equal(0x0709UL, Cpu->Gpr[Gpr.Rax]);
        Assert.Equal(AssistResult.Next, _guest.Execute(0xD5, 10));
        Assert.Equal(0x4FUL, Cpu->Gpr[Gpr.Rax]);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xD4, 0));
        Assert.Equal((byte)0, _guest.Fault.Vector);
    }

    [Fact]
    public void AaaAas_Adjust()
    {
        _guest.Protected();
        Cpu->Gpr[Gpr.Rax] = 0x000B;
        _guest.Execute(0x37);
        Assert.Equal(0x0101UL, Cpu->Gpr[Gpr.Rax]);
        Cpu->ArithmeticFlags = Rflags.Af;
        Cpu->Gpr[Gpr.Rax] = 0x02FF;
        _guest.Execute(0x3F);
        Assert.Equal(0x0109UL, Cpu->Gpr[Gpr.Rax]);
    }

    [Fact]
    public void PushaPopa_SkipSp()
    {
        _guest.Protected();
        for (int register = 0; register < 8; register++)
        {
            Cpu->Gpr[register] = register == Gpr.Rsp ? AssistGuest.StackAt : 0x100u + (uint)register;
        }

        Assert.Equal(AssistResult.Next, _guest.Execute(0x60));
        Assert.Equal(AssistGuest.StackAt - 32, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(AssistGuest.StackAt, _guest.Stack(3, 4));
        Assert.Equal(0x100UL, _guest.Stack(7, 4));
        Cpu->Gpr[Gpr.Rax] = 0;
        _guest.Write(AssistGuest.StackAt - 20, 0xDEADu);
        Assert.Equal(AssistResult.Next, _guest.Execute(0x61));
        Assert.Equal(0x100UL, Cpu->Gpr[Gpr.Rax]);
        Assert.Equal(AssistGuest.StackAt, Cpu->Gpr[Gpr.Rsp]);
    }

    [Fact]
    public void Enter_CopiesOuterFrames()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rbp] = 0x2_4000;
        _guest.Write<ulong>(0x2_3FF8, 0xAAAA);
        Assert.Equal(AssistResult.Next, _guest.Execute(0xC8, 0x20, 0, 2));
        Assert.Equal(AssistGuest.StackAt - 8, Cpu->Gpr[Gpr.Rbp]);
        Assert.Equal(AssistGuest.StackAt - 24 - 0x20, Cpu->Gpr[Gpr.Rsp]);
        Assert.Equal(0x2_4000UL, _guest.Read<ulong>(AssistGuest.StackAt - 8));
        Assert.Equal(0xAAAAUL, _guest.Read<ulong>(AssistGuest.StackAt - 16));
        Assert.Equal(AssistGuest.StackAt - 8, _guest.Read<ulong>(AssistGuest.StackAt - 24));
    }

    [Fact]
    public void Bound_RaisesOutside()
    {
        _guest.Protected();
        _guest.Write(AssistGuest.DataAt, -5);
        _guest.Write(AssistGuest.DataAt + 4, 5);
        Cpu->Gpr[Gpr.Rbx] = AssistGuest.DataAt;
        Cpu->Gpr[Gpr.Rax] = 0xFFFF_FFFB;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x62, 0x03));
        Cpu->Gpr[Gpr.Rax] = 6;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x62, 0x03));
        Assert.Equal((byte)5, _guest.Fault.Vector);
    }

    [Fact]
    public void Xlat_TakesTheOverride()
    {
        _guest.Long();
        Cpu->Segments[Seg.Fs].Base = AssistGuest.DataAt;
        _guest.Write<byte>(AssistGuest.DataAt + 0x125, 0x77);
        Cpu->Gpr[Gpr.Rbx] = 0x100;
        Cpu->Gpr[Gpr.Rax] = 0xFF25;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x64, 0xD7));
        Assert.Equal(0xFF77UL, Cpu->Gpr[Gpr.Rax]);
    }

    [Fact]
    public void Arpl_RaisesTheRpl()
    {
        _guest.Protected();
        Cpu->Gpr[Gpr.Rax] = 0xFFFF_0010;
        Cpu->Gpr[Gpr.Rbx] = 3;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x63, 0xD8));
        Assert.Equal(0xFFFF_0013UL, Cpu->Gpr[Gpr.Rax]);
        Assert.NotEqual(0UL, Cpu->ArithmeticFlags & Rflags.Zf);
        _guest.Real();
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x63, 0xD8));
        Assert.Equal((byte)6, _guest.Fault.Vector);
    }
}
