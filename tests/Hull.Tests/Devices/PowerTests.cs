using Xunit;

namespace Hull.Tests.Devices;

public sealed class PowerTests
{
    private const int S3 = (1 << 10) | (1 << 13);
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
        _pc.Out16(0x604, (2 << 10) | (1 << 13));
        Assert.Equal((0, 0), (_pc.PowerOffs, _pc.Signals[0].Suspends));
    }

    [Fact]
    public void SleepTypeS3_StopsEveryVcpu_UntilAnEnabledEvent()
    {
        TestPc pc = new(2);
        pc.Out16(0x602, 0x100);
        pc.Out16(0x604, S3);
        Assert.Equal((1, 1), (pc.Signals[0].Suspends, pc.Signals[1].Suspends));
        Assert.Equal(0, pc.In16(0x600));
        pc.Out(0x70, 0x0F);
        Assert.Equal(0xFE, pc.In(0x71));
        Assert.Empty(pc.Signals[0].Resumes);

        Assert.True(pc.Chipset.PowerButton());

        Assert.Equal(0x8100, pc.In16(0x600));
        Assert.Equal([0x9A123u], pc.Signals[0].Resumes);
        Assert.Empty(pc.Signals[1].Resumes);
        pc.Chipset.PowerButton();
        Assert.Single(pc.Signals[0].Resumes);
        pc.Out16(0x600, 0x8100);
        Assert.Equal(0, pc.In16(0x600));
        Assert.Equal(0, pc.PowerOffs);
    }

    [Fact]
    public void EventBeforeTheSleep_EndsItAtOnce()
    {
        _pc.Out16(0x602, 0x100);
        _pc.Chipset.PowerButton();
        _pc.Out16(0x604, S3);
        Assert.Equal(1, _pc.Signals[0].Suspends);
        Assert.Single(_pc.Signals[0].Resumes);
    }

    [Fact]
    public void EventThatIsNotEnabled_WakesNobody()
    {
        _pc.Out16(0x604, S3);
        Assert.False(_pc.Chipset.PowerButton());
        Assert.Empty(_pc.Signals[0].Resumes);
    }

    [Fact]
    public void WakeWithoutAPlaceToGoOn_IsAReset()
    {
        _pc.WakingVector = 0;
        _pc.Out16(0x602, 0x100);
        _pc.Out16(0x604, S3);
        _pc.Chipset.PowerButton();
        Assert.Equal(1, _pc.Resets);
        Assert.Empty(_pc.Signals[0].Resumes);
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
    public void RtcAlarm_RaisesSci_OnceAnAlarm()
    {
        // Linux in suspend to idle wakes by this event only: its own interrupt of the clock does not wake it.
        _pc.Route(9, 0x49, level: true);
        _pc.Out16(0x602, 0x400);
        for (int alarm = 0; alarm < 2; alarm++)
        {
            SetAlarmInTwoSeconds();
            _pc.Time.AdvanceMs(1000);
            Assert.Empty(_pc.TakeAll());
            Assert.Equal(0, _pc.In16(0x600));
            _pc.Time.AdvanceMs(1100);
            Assert.Equal(0x400, _pc.In16(0x600));
            Assert.Equal(0x49, _pc.Chipset.LocalApics[0].Acknowledge());
            _pc.Out16(0x600, 0x400);
            _pc.Chipset.LocalApics[0].WriteMmio(0xB0, 0);
            Assert.False(_pc.Chipset.LocalApics[0].HasInterrupt);
            Assert.Equal(0, _pc.In16(0x600));
            Assert.Equal(0xA0, ReadCmos(0x0C) & 0xA0);
            Assert.Equal(0, _pc.In16(0x600));
        }
    }

    [Fact]
    public void RtcAlarm_ThatIsNotEnabled_IsNoEvent()
    {
        SetAlarmInTwoSeconds();
        WriteCmos(0x0B, 0x06);
        _pc.Time.AdvanceMs(5000);
        Assert.Equal(0x20, ReadCmos(0x0C) & 0x20);
        Assert.Equal(0, _pc.In16(0x600));
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

    // Binary, any minute and hour.
    private void SetAlarmInTwoSeconds()
    {
        WriteCmos(0x0B, 0x26);
        WriteCmos(1, (ReadCmos(0) + 2) % 60);
        WriteCmos(3, 0xFF);
        WriteCmos(5, 0xFF);
    }

    private int ReadCmos(int index)
    {
        _pc.Out(0x70, index);
        return _pc.In(0x71);
    }

    private void WriteCmos(int index, int value)
    {
        _pc.Out(0x70, index);
        _pc.Out(0x71, value);
    }
}
