using System;
using System.Collections.Generic;
using Hull.Bus;
using Hull.Devices.Irq;
using Xunit;

namespace Hull.Tests.Devices;

public sealed class IoApicTests
{
    private readonly TestPc _pc = new();

    [Fact]
    public void AfterPowerOn_AllInputsAreMasked()
    {
        Assert.Equal(0x0017_0020u, _pc.ReadIoApic(1));
        for (int i = 0; i < 24; i++)
        {
            Assert.Equal(0x10000u, _pc.ReadIoApic(0x10 + (i * 2)));
        }
    }

    [Fact]
    public void Edge_SendsOnceEach_AndNothingWhileMasked()
    {
        _pc.Route(5, 0x45, level: false);
        IrqLine line = _pc.Chipset.Interrupts.CreateIsaLine(5);
        line.Set(true);
        Assert.Equal([0x45], _pc.TakeAll());
        line.Set(false);
        _pc.WriteIoApic(0x1A, 0x10045);
        line.Pulse();
        _pc.WriteIoApic(0x1A, 0x45);
        Assert.Empty(_pc.TakeAll());
        line.Pulse();
        Assert.Equal([0x45], _pc.TakeAll());
    }

    [Fact]
    public void Level_ComesAgainAfterEoi_WhileAsserted()
    {
        _pc.Route(17, 0x55, level: true);
        IrqLine line = _pc.Chipset.Interrupts.CreateIoApicLine(17);
        line.Set(true);
        Assert.Equal(0x55, _pc.Chipset.LocalApics[0].Acknowledge());
        Assert.Equal(0x4000u, _pc.ReadIoApic(0x32) & 0x4000);
        Assert.False(_pc.Chipset.LocalApics[0].HasInterrupt);
        _pc.Chipset.LocalApics[0].WriteMmio(0xB0, 0);
        Assert.Equal(0x55, _pc.Chipset.LocalApics[0].Acknowledge());
        line.Set(false);
        _pc.Chipset.LocalApics[0].WriteMmio(0xB0, 0);
        Assert.False(_pc.Chipset.LocalApics[0].HasInterrupt);
        Assert.Equal(0u, _pc.ReadIoApic(0x32) & 0x4000);
    }

    [Fact]
    public void Level_AssertedWhileMasked_ComesOnUnmask()
    {
        _pc.Route(17, 0x55, level: true);
        _pc.WriteIoApic(0x32, 0x18055);
        _pc.Chipset.Interrupts.CreateIoApicLine(17).Set(true);
        Assert.False(_pc.Chipset.LocalApics[0].HasInterrupt);
        _pc.WriteIoApic(0x32, 0x8055);
        Assert.True(_pc.Chipset.LocalApics[0].HasInterrupt);
    }

    [Fact]
    public void LevelInput_IsRoutedBeforeItsFirstMessage_AndAnEdgeIsNot()
    {
        List<string> seen = [];
        IoApic chip = new(new Recorder(seen)) { Routes = new Recorder(seen) };
        chip.SetInput(17, true);
        foreach ((ulong register, ulong value) in (ReadOnlySpan<(ulong, ulong)>)[(0x33, 1UL << 24), (0x32, 0x8055), (0x1A, 0x45)])
        {
            chip.WriteMmio(0, 4, register);
            chip.WriteMmio(0x10, 4, value);
        }

        chip.SetInput(5, true);
        Assert.Equal(["route 17 fee01000 c055", "send fee01000 c055", "send fee00000 45"], seen);
    }

    [Fact]
    public void SharedInput_StaysAssertedUntilTheLastLineFalls()
    {
        _pc.Route(17, 0x55, level: true);
        IrqLine one = _pc.Chipset.Interrupts.CreateIoApicLine(17);
        IrqLine two = _pc.Chipset.Interrupts.CreateIoApicLine(17);
        one.Set(true);
        two.Set(true);
        one.Set(false);
        Assert.Equal(0x55, _pc.Chipset.LocalApics[0].Acknowledge());
        _pc.Chipset.LocalApics[0].WriteMmio(0xB0, 0);
        Assert.True(_pc.Chipset.LocalApics[0].HasInterrupt);
        two.Set(false);
        Assert.Equal(0x55, _pc.Chipset.LocalApics[0].Acknowledge());
        _pc.Chipset.LocalApics[0].WriteMmio(0xB0, 0);
        Assert.False(_pc.Chipset.LocalApics[0].HasInterrupt);
    }

    [Fact]
    public void IsaInterruptZero_ArrivesAtInputTwo()
    {
        _pc.Route(2, 0x42, level: false);
        _pc.Chipset.Interrupts.CreateIsaLine(0).Pulse();
        Assert.Equal([0x42], _pc.TakeAll());
    }

    [Fact]
    public void EoiRegister_ClearsRemoteIrr()
    {
        _pc.Route(17, 0x55, level: true);
        IrqLine line = _pc.Chipset.Interrupts.CreateIoApicLine(17);
        line.Set(true);
        line.Set(false);
        _pc.Bus.WriteMmio(new Hull.Memory.GuestPhysical(0xFEC0_0040), 4, 0x55);
        Assert.Equal(0u, _pc.ReadIoApic(0x32) & 0x4000);
    }

    /// <summary>Writes down messages and routes in their order.</summary>
    private sealed class Recorder(List<string> seen) : IMsiSink, IIoApicRoutes
    {
        public void Send(MsiMessage message) => seen.Add($"send {message.Address:x} {message.Data:x}");

        public void Route(int input, MsiMessage message) =>
            seen.Add($"route {input} {message.Address:x} {message.Data:x}");
    }
}
