using Hull.Devices.Irq;
using Xunit;

namespace Hull.Tests.Devices;

public sealed class LocalApicTimerTests
{
    private const ulong X2ApicOn = 0xFEE0_0C00;
    private readonly TestPc _pc = new(vcpus: 4);

    private LocalApic Apic => _pc.Chipset.LocalApics[0];

    /// <summary>SDM vol. 3A, "APIC Timer": the mode changes nothing of the count that runs, and starts none.</summary>
    [Fact]
    public void Timer_GoesOn_WhenItsModeChanges()
    {
        const uint initial = 10_000_000;
        Enable(0);
        Apic.WriteMmio(0x3E0, 0xB); // Divide by 1
        Apic.WriteMmio(0x320, 0x1_0040); // one-shot, masked
        Apic.WriteMmio(0x380, initial);
        _pc.Time.AdvanceMs(6);
        Apic.WriteMmio(0x320, 0x3_0040); // periodic
        Assert.Equal(4_000_000u, Apic.ReadMmio(0x390));
        _pc.Time.AdvanceMs(5);
        Assert.Equal(9_000_000u, Apic.ReadMmio(0x390)); // the next period
        Apic.WriteMmio(0x320, 0x1_0040);
        Assert.Equal(9_000_000u, Apic.ReadMmio(0x390));
        _pc.Time.AdvanceMs(10);
        Assert.Equal(0u, Apic.ReadMmio(0x390));
        Apic.WriteMmio(0x320, 0x3_0040);
        Assert.Equal(0u, Apic.ReadMmio(0x390)); // it had stopped
        Assert.Equal(initial, Apic.ReadMmio(0x380));
    }

    [Fact]
    public void Timer_OneShot_FiresOnceWhenTheCountIsZero()
    {
        Enable(0);
        Apic.WriteMmio(0x3E0, 0x3); // Divide by 16: 62.5 MHz.
        Apic.WriteMmio(0x320, 0x40);
        Apic.WriteMmio(0x380, 1000);
        _pc.Time.Advance(8000);
        Assert.Equal(500u, Apic.ReadMmio(0x390));
        Assert.False(Apic.HasInterrupt);
        _pc.Time.Advance(8000);
        Assert.Equal(0x40, Apic.Acknowledge());
        Apic.WriteMmio(0xB0, 0);
        _pc.Time.AdvanceMs(10);
        Assert.False(Apic.HasInterrupt);
        Assert.Equal(0u, Apic.ReadMmio(0x390));
    }

    [Fact]
    public void Timer_Periodic_FiresEveryPeriod()
    {
        Enable(0);
        Apic.WriteMmio(0x3E0, 0xB);
        Apic.WriteMmio(0x320, 0x20040);
        Apic.WriteMmio(0x380, 1_000_000);
        for (int i = 0; i < 5; i++)
        {
            _pc.Time.AdvanceMs(1);
            Assert.Equal([0x40], _pc.TakeAll());
        }
    }

    [Fact]
    public void Timer_TscDeadline_FiresAndClearsTheMsr()
    {
        Enable(0);
        Apic.WriteMmio(0x320, 0x40040);
        Assert.True(Apic.TryWriteMsr(0x6E0, _pc.Time.Tsc + 2_000_000));
        _pc.Time.Advance(999_000);
        Assert.False(Apic.HasInterrupt);
        Assert.True(Apic.TryReadMsr(0x6E0, out ulong armed));
        Assert.NotEqual(0UL, armed);
        _pc.Time.Advance(2_000);
        Assert.Equal([0x40], _pc.TakeAll());
        Assert.True(Apic.TryReadMsr(0x6E0, out armed));
        Assert.Equal(0UL, armed);
    }

    [Fact]
    public void Timer_TscDeadlineInThePast_FiresAtOnce()
    {
        Enable(0);
        _pc.Time.AdvanceMs(1);
        Apic.WriteMmio(0x320, 0x40040);
        Assert.True(Apic.TryWriteMsr(0x6E0, 1));
        Assert.Equal([0x40], _pc.TakeAll());
    }

    [Fact]
    public void Timer_TscDeadlineInAnotherMode_IsIgnored()
    {
        Enable(0);
        Apic.WriteMmio(0x320, 0x40);
        Assert.True(Apic.TryWriteMsr(0x6E0, 1));
        Assert.True(Apic.TryReadMsr(0x6E0, out ulong value));
        Assert.Equal(0UL, value);
        Assert.False(Apic.HasInterrupt);
    }

    [Fact]
    public void Timer_Masked_CountsWithoutInterrupt()
    {
        Enable(0);
        Apic.WriteMmio(0x320, 0x10040);
        Apic.WriteMmio(0x380, 1000);
        _pc.Time.AdvanceMs(1);
        Apic.WriteMmio(0x320, 0x40);
        _pc.Time.AdvanceMs(1);
        Assert.False(Apic.HasInterrupt);
    }

    [Fact]
    public void Timer_ShortPeriod_DoesNotFloodTheTimeline()
    {
        Enable(0);
        Apic.WriteMmio(0x3E0, 0xB);
        Apic.WriteMmio(0x320, 0x20040);
        Apic.WriteMmio(0x380, 1);
        int before = _pc.Time.Fired;
        _pc.Time.AdvanceMs(10);
        Assert.InRange(_pc.Time.Fired - before, 1, 201);
    }

    private void Enable(int index) => _pc.Chipset.LocalApics[index].WriteMmio(0xF0, 0x1FF);
}
