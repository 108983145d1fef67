using Hull.Bus;
using Hull.Devices.Irq;
using Xunit;

namespace Hull.Tests.Devices;

public sealed class PicPairTests
{
    private readonly TestPc _pc = new();

    private LocalApic Apic => _pc.Chipset.LocalApics[0];

    [Fact]
    public void Mask_ReadsBack()
    {
        _pc.InitializePic(0);
        _pc.Out(0x21, 0xFB);
        Assert.Equal(0xFB, _pc.In(0x21));
    }

    [Fact]
    public void Request_ComesThroughVirtualWire_WithTheVectorOfItsChip()
    {
        _pc.InitializePic(0xFFFF);
        _pc.Chipset.Interrupts.CreateIsaLine(3).Set(true);
        Assert.True(Apic.HasInterrupt);
        Assert.Equal(0x33, Apic.Acknowledge());
        _pc.Out(0x20, 0x20);
        _pc.Chipset.Interrupts.CreateIsaLine(12).Set(true);
        Assert.Equal(0x3C, Apic.Acknowledge());
        _pc.Out(0x20, 0x0B);
        Assert.Equal(0x04, _pc.In(0x20));
        _pc.Out(0xA0, 0x0B);
        Assert.Equal(0x10, _pc.In(0xA0));
    }

    [Fact]
    public void LowerPriority_WaitsForEoi()
    {
        _pc.InitializePic(0xFFFF);
        Line(1).Set(true);
        Assert.Equal(0x31, Apic.Acknowledge());
        Line(5).Set(true);
        Assert.False(Apic.HasInterrupt);
        Line(0).Set(true);
        Assert.Equal(0x30, Apic.Acknowledge());
        _pc.Out(0x20, 0x60);
        Assert.False(Apic.HasInterrupt);
        _pc.Out(0x20, 0x61);
        Assert.Equal(0x35, Apic.Acknowledge());
    }

    [Fact]
    public void Masked_WaitsForTheMaskToGo()
    {
        _pc.InitializePic(0);
        Line(4).Set(true);
        Assert.False(Apic.HasInterrupt);
        _pc.Out(0x21, 0xEF);
        Assert.Equal(0x34, Apic.Acknowledge());
    }

    [Fact]
    public void LevelInput_ThatFallsBeforeAcknowledge_IsSpurious()
    {
        _pc.InitializePic(0xFFFF);
        _pc.Out(0x4D0, 0x20);
        Assert.Equal(0x20, _pc.In(0x4D0));
        IrqLine line = Line(5);
        line.Set(true);
        Assert.True(Apic.HasInterrupt);
        line.Set(false);
        Assert.False(Apic.HasInterrupt);
        Assert.Equal(0x37, _pc.Chipset.Pic.AcknowledgeInterrupt());
        _pc.Out(0x20, 0x0B);
        Assert.Equal(0, _pc.In(0x20));
    }

    [Fact]
    public void LevelInput_ComesAgainAfterEoi()
    {
        _pc.InitializePic(0xFFFF);
        _pc.Out(0x4D1, 0x02);
        Line(9).Set(true);
        Assert.Equal(0x39, Apic.Acknowledge());
        _pc.Out(0xA0, 0x20);
        _pc.Out(0x20, 0x20);
        Assert.Equal(0x39, Apic.Acknowledge());
    }

    [Fact]
    public void RotateOnEoi_MakesTheServedOneLowest()
    {
        _pc.InitializePic(0xFF);
        IrqLine zero = Line(0);
        zero.Pulse();
        Assert.Equal(0x30, Apic.Acknowledge());
        _pc.Out(0x20, 0xA0);
        zero.Pulse();
        Line(1).Pulse();
        Assert.Equal(0x31, Apic.Acknowledge());
    }

    [Fact]
    public void AutoEoi_LeavesNothingInService()
    {
        _pc.Out(0x20, 0x11);
        _pc.Out(0x21, 0x30);
        _pc.Out(0x21, 0x04);
        _pc.Out(0x21, 0x03);
        _pc.Out(0x21, 0x00);
        Line(3).Pulse();
        Assert.Equal(0x33, Apic.Acknowledge());
        _pc.Out(0x20, 0x0B);
        Assert.Equal(0, _pc.In(0x20));
    }

    [Fact]
    public void SpecialMask_LetsLowerOnesThrough()
    {
        _pc.InitializePic(0xFFFF);
        Line(1).Pulse();
        Assert.Equal(0x31, Apic.Acknowledge());
        _pc.Out(0x21, 0x02);
        _pc.Out(0x20, 0x68);
        Line(5).Pulse();
        Assert.Equal(0x35, Apic.Acknowledge());
    }

    [Fact]
    public void Poll_AcknowledgesByReading()
    {
        _pc.InitializePic(0xFFFF);
        Line(6).Pulse();
        _pc.Out(0x20, 0x0C);
        Assert.Equal(0x86, _pc.In(0x20));
        _pc.Out(0x20, 0x0B);
        Assert.Equal(0x40, _pc.In(0x20));
    }

    [Fact]
    public void LintMasked_ShutsThePicOut()
    {
        _pc.InitializePic(0xFFFF);
        Apic.WriteMmio(0x350, 0x10700);
        Line(1).Pulse();
        Assert.False(Apic.HasInterrupt);
    }

    [Fact]
    public void ExtIntThroughIoApic_IsAcknowledgedAtThePic()
    {
        _pc.Chipset.LocalApics[0].WriteMmio(0xF0, 0x1FF);
        Apic.WriteMmio(0x350, 0x10000);
        _pc.InitializePic(0xFFFF);
        Line(1).Pulse();
        Assert.False(Apic.HasInterrupt);
        _pc.Chipset.Messages.Send(new MsiMessage(0xFEE0_0000, 0x700));
        Assert.Equal(0x31, Apic.Acknowledge());
    }

    private IrqLine Line(int irq) => _pc.Chipset.Interrupts.CreateIsaLine(irq);
}
