using Xunit;

namespace Hull.Tests.Devices;

public sealed class Pit8254Tests
{
    /// <summary>A count of 11932 is 10 ms, less 1.7 us.</summary>
    private const int TenMs = 11932;

    private readonly TestPc _pc = new();

    [Fact]
    public void Mode2_InterruptsEveryPeriod()
    {
        Program(0, mode: 2, TenMs);
        _pc.Time.AdvanceMs(9);
        Assert.Empty(_pc.TakeAll());
        for (int i = 0; i < 5; i++)
        {
            _pc.Time.AdvanceMs(10);
            Assert.Equal([0x42], _pc.TakeAll());
        }
    }

    [Fact]
    public void Mode3_InterruptsEveryPeriod()
    {
        Program(0, mode: 3, TenMs);
        _pc.Time.AdvanceMs(11);
        Assert.Equal([0x42], _pc.TakeAll());
    }

    [Fact]
    public void Mode0_InterruptsOnce()
    {
        Program(0, mode: 0, TenMs);
        _pc.Time.AdvanceMs(11);
        Assert.Equal([0x42], _pc.TakeAll());
        _pc.Time.AdvanceMs(100);
        Assert.Empty(_pc.TakeAll());
    }

    [Fact]
    public void Mode4_InterruptsOnce()
    {
        Program(0, mode: 4, TenMs);
        _pc.Time.AdvanceMs(200);
        Assert.Equal([0x42], _pc.TakeAll());
    }

    [Fact]
    public void ControlWord_StopsTheOldCount()
    {
        Program(0, mode: 2, TenMs);
        _pc.Out(0x43, 0x30);
        _pc.Time.AdvanceMs(100);
        Assert.Empty(_pc.TakeAll());
    }

    [Fact]
    public void Count_GoesDownWithTime_LowByteFirst()
    {
        Program(0, mode: 2, 0);
        _pc.Time.AdvanceUs(1000); // 1193 ticks
        int count = _pc.In(0x40) | (_pc.In(0x40) << 8);
        Assert.Equal(65536 - 1193, count);
    }

    [Fact]
    public void Latch_HoldsTheCountUntilRead()
    {
        Program(0, mode: 2, 0);
        _pc.Time.AdvanceUs(1000);
        _pc.Out(0x43, 0x00);
        _pc.Time.AdvanceMs(5);
        int count = _pc.In(0x40) | (_pc.In(0x40) << 8);
        Assert.Equal(65536 - 1193, count);
        count = _pc.In(0x40) | (_pc.In(0x40) << 8);
        Assert.Equal(65536 - 7159, count);
    }

    [Fact]
    public void ReadBack_GivesStatusThenCount()
    {
        Program(0, mode: 2, 0);
        _pc.Time.AdvanceUs(1000);
        _pc.Out(0x43, 0xC2);
        Assert.Equal(0xB4, _pc.In(0x40));
        int count = _pc.In(0x40) | (_pc.In(0x40) << 8);
        Assert.Equal(65536 - 1193, count);
    }

    [Fact]
    public void Channel2_CountsOnlyWithItsGate_AndShowsItsOutput()
    {
        _pc.Out(0x61, 0);
        _pc.Out(0x43, 0xB0);
        _pc.Out(0x42, TenMs & 0xFF);
        _pc.Out(0x42, TenMs >> 8);
        _pc.Time.AdvanceMs(50);
        Assert.Equal(0, _pc.In(0x61) & 0x20);
        _pc.Out(0x61, 1);
        _pc.Time.AdvanceMs(5);
        Assert.Equal(0, _pc.In(0x61) & 0x20);
        _pc.Time.AdvanceMs(6);
        Assert.Equal(0x20, _pc.In(0x61) & 0x20);
        Assert.Equal(1, _pc.In(0x61) & 0x0F);
    }

    [Fact]
    public void GateInMode0_FreezesTheCount()
    {
        _pc.Out(0x61, 1);
        _pc.Out(0x43, 0xB0);
        _pc.Out(0x42, 0xFF);
        _pc.Out(0x42, 0xFF);
        _pc.Time.AdvanceMs(10);
        _pc.Out(0x61, 0);
        int before = _pc.In(0x42) | (_pc.In(0x42) << 8);
        _pc.Time.AdvanceMs(10);
        int after = _pc.In(0x42) | (_pc.In(0x42) << 8);
        Assert.Equal(before, after);
        Assert.Equal(65535 - 11931, before);
    }

    [Fact]
    public void Bcd_CountsInDecimal()
    {
        _pc.Out(0x43, 0x35);
        _pc.Out(0x40, 0x00);
        _pc.Out(0x40, 0x50);
        _pc.Time.AdvanceUs(1000);
        Assert.Equal(0x07, _pc.In(0x40)); // 5000 - 1193 = 3807
        Assert.Equal(0x38, _pc.In(0x40));
    }

    [Fact]
    public void RefreshBit_Toggles()
    {
        int first = _pc.In(0x61) & 0x10;
        _pc.Time.AdvanceUs(16);
        Assert.NotEqual(first, _pc.In(0x61) & 0x10);
    }

    [Fact]
    public void TinyCount_DoesNotFloodTheTimeline()
    {
        Program(0, mode: 2, 1);
        int before = _pc.Time.Fired;
        _pc.Time.AdvanceMs(10);
        Assert.InRange(_pc.Time.Fired - before, 1, 201);
    }

    private void Program(int channel, int mode, int count)
    {
        _pc.Route(2, 0x42, level: false);
        _pc.Out(0x43, (channel << 6) | 0x30 | (mode << 1));
        _pc.Out(0x40 + channel, count & 0xFF);
        _pc.Out(0x40 + channel, count >> 8);
    }
}
