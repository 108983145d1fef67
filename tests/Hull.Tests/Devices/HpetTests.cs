using Hull.Memory;
using Hull.Platform;
using Xunit;

namespace Hull.Tests.Devices;

public sealed class HpetTests
{
    private readonly TestPc _pc = new();

    [Fact]
    public void Capabilities_NamePeriodAndTimers()
    {
        Assert.Equal(10_000_000u, (uint)(Read(0) >> 32));
        Assert.Equal(0x8086_2201u, (uint)Read(0));
        Assert.Equal(0x00F0_0000u, (uint)_pc.Bus.ReadMmio(new GuestPhysical(PlatformMap.HpetBase + 0x104), 4));
    }

    [Fact]
    public void Counter_RunsWhileEnabled()
    {
        _pc.Time.AdvanceMs(1);
        Assert.Equal(0UL, Read(0xF0));
        Write(0x10, 1);
        _pc.Time.AdvanceMs(1);
        Assert.Equal(100_000UL, Read(0xF0));
        Write(0x10, 0);
        _pc.Time.AdvanceMs(1);
        Assert.Equal(100_000UL, Read(0xF0));
    }

    [Fact]
    public void OneShot_Interrupts_Once()
    {
        _pc.Route(20, 0x60, level: false);
        Write(0x10, 1);
        Write(0x100, (20 << 9) | 4);
        Write(0x108, 50_000);
        _pc.Time.AdvanceUs(499);
        Assert.Empty(_pc.TakeAll());
        _pc.Time.AdvanceUs(2);
        Assert.Equal([0x60], _pc.TakeAll());
        _pc.Time.AdvanceMs(100);
        Assert.Empty(_pc.TakeAll());
    }

    [Fact]
    public void Periodic_ProgrammedAsLinuxDoes_InterruptsEachPeriod()
    {
        _pc.Route(21, 0x61, level: false);
        Write(0x10, 1);
        Write(0x120, (21 << 9) | 4 | 8 | 0x40 | 0x100);
        _pc.Bus.WriteMmio(new GuestPhysical(PlatformMap.HpetBase + 0x128), 4, 100_000);
        _pc.Bus.WriteMmio(new GuestPhysical(PlatformMap.HpetBase + 0x128), 4, 100_000);
        for (int i = 0; i < 5; i++)
        {
            _pc.Time.AdvanceMs(1);
            Assert.Equal([0x61], _pc.TakeAll());
        }
    }

    [Fact]
    public void Level_StaysUntilItsStatusIsCleared()
    {
        _pc.Route(22, 0x62, level: true);
        Write(0x10, 1);
        Write(0x140, (22 << 9) | 4 | 2);
        Write(0x148, 1000);
        _pc.Time.AdvanceUs(11);
        Assert.Equal(4UL, Read(0x20));
        Assert.Equal(0x62, _pc.Chipset.LocalApics[0].Acknowledge());
        Write(0x20, 4);
        _pc.Chipset.LocalApics[0].WriteMmio(0xB0, 0);
        Assert.False(_pc.Chipset.LocalApics[0].HasInterrupt);
    }

    [Fact]
    public void Message_GoesToTheLocalApic()
    {
        _pc.Chipset.LocalApics[0].WriteMmio(0xF0, 0x1FF);
        Write(0x10, 1);
        Write(0x110, (0xFEE0_0000UL << 32) | 0x63);
        Write(0x100, 0x4004);
        Write(0x108, 1000);
        _pc.Time.AdvanceUs(11);
        Assert.Equal([0x63], _pc.TakeAll());
    }

    private ulong Read(ulong offset) => _pc.Bus.ReadMmio(new GuestPhysical(PlatformMap.HpetBase + offset), 8);

    private void Write(ulong offset, ulong value) =>
        _pc.Bus.WriteMmio(new GuestPhysical(PlatformMap.HpetBase + offset), 8, value);
}
