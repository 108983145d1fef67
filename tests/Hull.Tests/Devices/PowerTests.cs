using Xunit;

namespace Hull.Tests.Devices;

public sealed class PowerTests
{
    private readonly TestPc _pc = new();

    [Fact]
    public void SleepTypeS5WithEnable_PowersOff()
    {
        _pc.Out16(0x604, (5 << 10) | 1);
        Assert.Equal(0, _pc.PowerOffs);
        _pc.Out16(0x604, (5 << 10) | (1 << 13));
        Assert.Equal(1, _pc.PowerOffs);
        Assert.Equal(5 << 10 | 1, _pc.In16(0x604));
    }

    [Fact]
    public void OtherSleepTypes_DoNothing()
    {
        _pc.Out16(0x604, (1 << 10) | (1 << 13));
        Assert.Equal(0, _pc.PowerOffs);
    }

    [Fact]
    public void PowerButton_RaisesSciUntilCleared()
    {
        _pc.Route(9, 0x49, level: true);
        Assert.False(_pc.Chipset.PowerButton());
        _pc.Out16(0x600, 0x100);
        _pc.Out16(0x602, 0x120);
        Assert.Empty(_pc.TakeAll());
        Assert.True(_pc.Chipset.PowerButton());
        Assert.Equal(0x49, _pc.Chipset.LocalApics[0].Acknowledge());
        Assert.Equal(0x100, _pc.In16(0x600));
        _pc.Out16(0x600, 0x100);
        _pc.Chipset.LocalApics[0].WriteMmio(0xB0, 0);
        Assert.False(_pc.Chipset.LocalApics[0].HasInterrupt);
        Assert.Equal(0, _pc.In16(0x600));
    }

    [Fact]
    public void RtcEvent_CanBeEnabled()
    {
        // Linux: "ACPI Error: Could not enable RealTimeClock event".
        _pc.Out16(0x602, 0x400);
        Assert.Equal(0x400, _pc.In16(0x602));
    }

    [Fact]
    public void PmTimer_RunsAtItsRate_AndWraps()
    {
        Assert.Equal(0u, _pc.In32(0x608));
        _pc.Time.AdvanceMs(1000);
        Assert.Equal(3_579_545u, _pc.In32(0x608));
        Assert.Equal(3_579_545 & 0xFF, _pc.In(0x608));
        _pc.Time.AdvanceMs(1_200_000);
        Assert.Equal(unchecked((uint)(3_579_545UL * 1201)), _pc.In32(0x608));
    }

    [Theory]
    [InlineData(0xCF9, 0x06)]
    [InlineData(0x64, 0xFE)]
    [InlineData(0x92, 0x01)]
    public void ResetPorts_AskForAReset(int port, int value)
    {
        _pc.Out(port, value);
        Assert.Equal(1, _pc.Resets);
    }

    [Fact]
    public void PostPort_TakesCodes()
    {
        _pc.Out(0x80, 0x42);
        Assert.Equal(0x42, _pc.In(0x80));
    }
}
