using Xunit;

namespace Hull.Tests.Devices;

public sealed class RtcMc146818Tests
{
    // The stepped clock starts at 2024-02-28 23:59:57, a Wednesday before a leap day.
    private readonly TestPc _pc = new();

    [Fact]
    public void Time_IsBcdIn24Hours()
    {
        Assert.Equal(0x57, Read(0));
        Assert.Equal(0x59, Read(2));
        Assert.Equal(0x23, Read(4));
        Assert.Equal(0x04, Read(6));
        Assert.Equal(0x28, Read(7));
        Assert.Equal(0x02, Read(8));
        Assert.Equal(0x24, Read(9));
        Assert.Equal(0x20, Read(0x32));
    }

    [Fact]
    public void Midnight_RollsOverIntoTheLeapDay()
    {
        _pc.Time.AdvanceMs(3000);
        Assert.Equal(0x00, Read(0));
        Assert.Equal(0x00, Read(4));
        Assert.Equal(0x29, Read(7));
    }

    [Fact]
    public void BinaryAnd12Hours_AreHonoured()
    {
        Write(0x0B, 0x04);
        Assert.Equal(57, Read(0));
        Assert.Equal(0x80 | 11, Read(4));
        Assert.Equal(24, Read(9));
    }

    [Fact]
    public void Set_FreezesAndThenStartsFromWhatWasWritten()
    {
        Write(0x0B, 0x82);
        Write(0, 0x30);
        Write(2, 0x15);
        Write(4, 0x08);
        Write(7, 0x01);
        Write(8, 0x07);
        Write(9, 0x31);
        _pc.Time.AdvanceMs(5000);
        Assert.Equal(0x30, Read(0));
        Write(0x0B, 0x02);
        _pc.Time.AdvanceMs(2000);
        Assert.Equal(0x32, Read(0));
        Assert.Equal(0x08, Read(4));
        Assert.Equal(0x31, Read(9));
    }

    [Fact]
    public void FirstWaitForASecondsEnd_IsShort_AndTheTimeNearlyRight()
    {
        _pc.Time.AdvanceMs(300);
        Assert.Equal(0x26, Read(0x0A));
        _pc.Time.Advance(800_000);
        Assert.Equal(0xA6, Read(0x0A));
        _pc.Time.Advance(300_000);
        Assert.Equal(0x26, Read(0x0A));
        Assert.Equal(0x57, Read(0));
        _pc.Time.AdvanceMs(998);
        Assert.Equal(0x57, Read(0));
        _pc.Time.AdvanceMs(2);
        Assert.Equal(0x58, Read(0));
    }

    // The host had no time for the guest while UIP was set.
    [Fact]
    public void EndOfTheFirstSecond_ThatNobodySaw_IsSeenAtTheNextLook()
    {
        _pc.Time.AdvanceMs(300);
        Assert.Equal(0x26, Read(0x0A));
        _pc.Time.AdvanceMs(40);
        Assert.Equal(0xA6, Read(0x0A));
        Assert.Equal(0x26, Read(0x0A));
        Assert.Equal(0x57, Read(0));
    }

    [Theory]
    [InlineData(0x82)] // SET
    [InlineData(0x12)] // an interrupt at each second's end
    public void Look_WhileTheSecondIsInUse_LeavesIt(byte registerB)
    {
        _pc.Time.AdvanceMs(300);
        Write(0x0B, registerB);
        Read(0x0A);
        Write(0x0B, 0x02);
        _pc.Time.AdvanceMs(2);
        Assert.Equal(0x57, Read(0));
    }

    [Fact]
    public void UpdateInProgress_ShowsBeforeTheSecondEnds()
    {
        Write(0x0B, 0x82);
        Write(0x0B, 0x02); // a second begins
        Assert.Equal(0x26, Read(0x0A));
        _pc.Time.Advance(999_800_000);
        Assert.Equal(0xA6, Read(0x0A));
        _pc.Time.Advance(300_000);
        Assert.Equal(0x26, Read(0x0A));
    }

    [Fact]
    public void UpdateEndedInterrupt_ComesEachSecond_UntilFlagsAreRead()
    {
        _pc.Route(8, 0x48, level: false);
        Write(0x0B, 0x12);
        _pc.Time.AdvanceMs(1001);
        Assert.Equal([0x48], _pc.TakeAll());
        _pc.Time.AdvanceMs(3000);
        Assert.Empty(_pc.TakeAll());
        Assert.Equal(0x90, Read(0x0C) & 0x90);
        Assert.Equal(0, Read(0x0C) & 0xF0 & ~0x40);
        _pc.Time.AdvanceMs(1000);
        Assert.Equal([0x48], _pc.TakeAll());
    }

    [Fact]
    public void PeriodicInterrupt_ComesAtItsRate()
    {
        _pc.Route(8, 0x48, level: false);
        Write(0x0A, 0x26); // 1024 Hz
        Write(0x0B, 0x42);
        int count = 0;
        for (int i = 0; i < 100; i++)
        {
            _pc.Time.Advance(976_563);
            count += _pc.TakeAll().Count;
            Assert.Equal(0xC0, Read(0x0C) & 0xC0);
        }

        Assert.Equal(100, count);
    }

    [Fact]
    public void Alarm_ComesAtItsTime()
    {
        _pc.Route(8, 0x48, level: false);
        Write(1, 0x02);
        Write(3, 0x00);
        Write(5, 0xFF);
        Write(0x0B, 0x22);
        _pc.Time.AdvanceMs(4900);
        Assert.Empty(_pc.TakeAll());
        _pc.Time.AdvanceMs(200);
        Assert.Equal([0x48], _pc.TakeAll());
        Assert.Equal(0xA0, Read(0x0C) & 0xA0);
    }

    [Fact]
    public void Ram_KeepsBytes_AndRegisterDIsValid()
    {
        Write(0x40, 0x5A);
        Assert.Equal(0x5A, Read(0x40));
        Write(0x0D, 0);
        Assert.Equal(0x80, Read(0x0D));
    }

    [Fact]
    public void Memory_IsInCmos()
    {
        // 512 MiB: 496 MiB above 16 MiB, in 64 KiB.
        Assert.Equal(0x1F00, Read(0x34) | (Read(0x35) << 8));
    }

    private int Read(int index)
    {
        _pc.Out(0x70, index);
        return _pc.In(0x71);
    }

    private void Write(int index, int value)
    {
        _pc.Out(0x70, index);
        _pc.Out(0x71, value);
    }
}
