using System.Collections.Generic;
using Hull.Bus;
using Hull.Devices.Irq;
using Xunit;

namespace Hull.Tests.Devices;

public sealed class LocalApicTests
{
    private const ulong X2ApicOn = 0xFEE0_0C00;
    private readonly TestPc _pc = new(vcpus: 4);

    private LocalApic Apic => _pc.Chipset.LocalApics[0];

    [Fact]
    public void AfterPowerOn_IsEnabledAtItsAddress_AndSoftwareDisabled()
    {
        Assert.Equal(0xFEE0_0900UL, Apic.BaseMsr);
        Assert.Equal(0xFEE0_0800UL, _pc.Chipset.LocalApics[1].BaseMsr);
        Assert.Equal(0xFEE0_0000UL, Apic.MmioPage);
        Assert.Equal(0xFFu, Apic.ReadMmio(0xF0));
        Assert.Equal(0x0005_0014u, Apic.ReadMmio(0x30));
        Assert.Equal(0x0300_0000u, _pc.Chipset.LocalApics[3].ReadMmio(0x20));
    }

    [Fact]
    public void HighestVectorComesFirst_LowerWaitsForEoi()
    {
        Enable(0);
        Send(0xFEE0_0000, 0x41);
        Send(0xFEE0_0000, 0x52);
        Assert.Equal(0x52, Apic.Acknowledge());
        Assert.False(Apic.HasInterrupt);
        Assert.Equal(-1, Apic.Acknowledge());
        Apic.WriteMmio(0xB0, 0);
        Assert.True(Apic.HasInterrupt);
        Assert.Equal(0x41, Apic.Acknowledge());
    }

    [Fact]
    public void VectorPastTheApic_ComesFirstAndOnce_AndNeedsNoEnd()
    {
        Enable(0);
        Send(0xFEE0_0000, 0xE1);
        Assert.Equal(0xE1, Apic.Acknowledge());
        Apic.TaskPriority = 15;
        _pc.Chipset.LocalApics[0].InjectPast(0x40);
        Assert.True(Apic.HasInterrupt);
        Assert.Equal(0x40, Apic.Acknowledge());
        Assert.False(Apic.HasInterrupt);
        Assert.Equal(-1, Apic.Acknowledge());
        Assert.Equal(0u, Apic.ReadMmio(0x120));
        Assert.Equal(2u, Apic.ReadMmio(0x170)); // E1h is still in service
    }

    [Fact]
    public void SameClass_DoesNotInterruptItself()
    {
        Enable(0);
        Send(0xFEE0_0000, 0x51);
        Assert.Equal(0x51, Apic.Acknowledge());
        Send(0xFEE0_0000, 0x5F);
        Assert.False(Apic.HasInterrupt);
        Send(0xFEE0_0000, 0x60);
        Assert.Equal(0x60, Apic.Acknowledge());
    }

    [Fact]
    public void TaskPriority_HoldsBackItsClassAndBelow()
    {
        Enable(0);
        Apic.TaskPriority = 5;
        Send(0xFEE0_0000, 0x5A);
        Assert.False(Apic.HasInterrupt);
        Assert.Equal(0x50u, Apic.ReadMmio(0xA0));
        int before = _pc.Signals[0].Changes;
        Apic.TaskPriority = 4;
        Assert.True(Apic.HasInterrupt);
        Assert.True(_pc.Signals[0].Changes > before);
    }

    [Fact]
    public void SoftwareDisabled_TakesNoFixedInterrupt_ButStartup()
    {
        Send(0xFEE0_1000, 0x51);
        Assert.False(_pc.Chipset.LocalApics[1].HasInterrupt);
        Apic.WriteMmio(0x310, 0x0100_0000);
        Apic.WriteMmio(0x300, 0x4500);
        Apic.WriteMmio(0x300, 0x4699);
        Assert.Equal(1, _pc.Signals[1].Inits);
        Assert.Equal([0x99], _pc.Signals[1].Startups);
    }

    [Fact]
    public void InitDeassert_DoesNothing()
    {
        Apic.WriteMmio(0x310, 0x0100_0000);
        Apic.WriteMmio(0x300, 0x8500);
        Assert.Equal(0, _pc.Signals[1].Inits);
    }

    [Theory]
    [InlineData(0x4_0051u, 1, 0, 0, 0)]
    [InlineData(0x8_0051u, 1, 1, 1, 1)]
    [InlineData(0xC_0051u, 0, 1, 1, 1)]
    public void Shorthands_ReachSelfAllAndOthers(uint command, int a, int b, int c, int d)
    {
        int[] expected = [a, b, c, d];
        for (int i = 0; i < 4; i++)
        {
            Enable(i);
        }

        Apic.WriteMmio(0x300, command);
        for (int i = 0; i < 4; i++)
        {
            Assert.Equal(expected[i] == 1, _pc.Chipset.LocalApics[i].HasInterrupt);
        }
    }

    [Fact]
    public void LogicalFlat_ReachesTheNamedOnes()
    {
        for (int i = 0; i < 4; i++)
        {
            Enable(i);
            _pc.Chipset.LocalApics[i].WriteMmio(0xD0, 0x0100_0000u << i);
        }

        Send(0xFEE0_A004, 0x51);
        Assert.False(_pc.Chipset.LocalApics[0].HasInterrupt);
        Assert.True(_pc.Chipset.LocalApics[1].HasInterrupt);
        Assert.False(_pc.Chipset.LocalApics[2].HasInterrupt);
        Assert.True(_pc.Chipset.LocalApics[3].HasInterrupt);
    }

    [Fact]
    public void LogicalCluster_ComparesTheClusterFirst()
    {
        Enable(0);
        Enable(1);
        Apic.WriteMmio(0xE0, 0x0FFF_FFFF);
        _pc.Chipset.LocalApics[1].WriteMmio(0xE0, 0x0FFF_FFFF);
        Apic.WriteMmio(0xD0, 0x1100_0000);
        _pc.Chipset.LocalApics[1].WriteMmio(0xD0, 0x2100_0000);
        Send(0xFEE2_1004, 0x51);
        Assert.False(Apic.HasInterrupt);
        Assert.True(_pc.Chipset.LocalApics[1].HasInterrupt);
    }

    [Fact]
    public void LowestPriority_GoesToOneOnly_AndTakesTurns()
    {
        for (int i = 0; i < 4; i++)
        {
            Enable(i);
            _pc.Chipset.LocalApics[i].WriteMmio(0xD0, 0x0100_0000u << i);
        }

        for (int vector = 0x50; vector < 0x54; vector++)
        {
            Send(0xFEE0_F00C, 0x100 | (uint)vector);
        }

        for (int i = 0; i < 4; i++)
        {
            Assert.True(_pc.Chipset.LocalApics[i].HasInterrupt);
        }
    }

    [Fact]
    public void X2Apic_WidensTheIdentity_AndMovesToMsrs()
    {
        LocalApic apic = _pc.Chipset.LocalApics[3];
        Assert.True(apic.TryWriteMsr(0x1B, X2ApicOn));
        Assert.Equal(ulong.MaxValue, apic.MmioPage);
        Assert.True(apic.TryReadMsr(0x802, out ulong id));
        Assert.Equal(3UL, id);
        Assert.True(apic.TryReadMsr(0x80D, out ulong logical));
        Assert.Equal(8UL, logical);
        Assert.False(apic.TryReadMsr(0x80E, out _));
        Assert.False(apic.TryWriteMsr(0x802, 1));
        Assert.False(apic.TryWriteMsr(0x80B, 1));
        Assert.True(apic.TryWriteMsr(0x80B, 0));
        Assert.False(apic.TryWriteMsr(0x80F, 1UL << 32));
    }

    [Fact]
    public void X2Apic_CommandRegisterAndSelfIpi_Send()
    {
        Enable(1);
        LocalApic other = _pc.Chipset.LocalApics[1];
        Assert.True(Apic.TryWriteMsr(0x1B, X2ApicOn | 0x100));
        Assert.True(Apic.TryWriteMsr(0x80F, 0x1FF));
        Assert.True(Apic.TryWriteMsr(0x830, (1UL << 32) | 0x61));
        Assert.Equal(0x61, other.Acknowledge());
        Assert.True(Apic.TryWriteMsr(0x83F, 0x71));
        Assert.Equal(0x71, Apic.Acknowledge());
        Assert.False(Apic.TryWriteMsr(0x830, (1UL << 32) | 0x10_0061));
        Assert.True(Apic.TryReadMsr(0x830, out ulong command));
        Assert.Equal((1UL << 32) | 0x61, command);
    }

    [Fact]
    public void BaseMsr_RefusesIllegalTransitions()
    {
        Assert.False(Apic.TryWriteMsr(0x1B, 0xFEE0_0400));
        Assert.True(Apic.TryWriteMsr(0x1B, X2ApicOn));
        Assert.False(Apic.TryWriteMsr(0x1B, 0xFEE0_0800));
        Assert.True(Apic.TryWriteMsr(0x1B, 0xFEE0_0000));
        Assert.False(Apic.TryWriteMsr(0x1B, X2ApicOn));
        Assert.True(Apic.TryWriteMsr(0x1B, 0xFEE0_0800));
        Assert.Equal(0x100UL, Apic.BaseMsr & 0x100);
    }

    [Fact]
    public void OutsideX2ApicMode_ItsMsrsFault()
    {
        Assert.False(Apic.TryReadMsr(0x802, out _));
        Assert.False(Apic.TryWriteMsr(0x80B, 0));
    }

    /// <summary>SDM vol. 3A, "x2APIC Register Address Space"; here r, w, or both, after each index.</summary>
    [Fact]
    public void X2Apic_HasTheseMsrs_AndNoOthers()
    {
        Dictionary<uint, string> known = new()
        {
            [0x02] = "r",
            [0x03] = "r",
            [0x08] = "rw",
            [0x0A] = "r",
            [0x0B] = "w",
            [0x0D] = "r",
            [0x0F] = "rw",
            [0x28] = "rw",
            [0x30] = "rw",
            [0x32] = "rw",
            [0x33] = "rw",
            [0x34] = "rw",
            [0x35] = "rw",
            [0x36] = "rw",
            [0x37] = "rw",
            [0x38] = "rw",
            [0x39] = "r",
            [0x3E] = "rw",
            [0x3F] = "w",
        };
        for (uint index = 0x10; index < 0x28; index++)
        {
            known[index] = "r"; // ISR, TMR, IRR
        }

        Assert.True(Apic.TryWriteMsr(0x1B, X2ApicOn));
        for (uint index = 0; index < 0x100; index++)
        {
            string rights = known.GetValueOrDefault(index, "");
            Assert.True(rights.Contains('r') == Apic.TryReadMsr(0x800 + index, out _), $"read of 8{index:x2}h");
            Assert.True(rights.Contains('w') == Apic.TryWriteMsr(0x800 + index, 0), $"write of 8{index:x2}h");
        }
    }

    [Fact]
    public void ErrorStatus_NamesIllegalVectors_AfterAWrite()
    {
        Enable(0);
        Send(0xFEE0_0000, 0x05);
        Assert.Equal(0u, Apic.ReadMmio(0x280));
        Apic.WriteMmio(0x280, 0);
        Assert.Equal(0x40u, Apic.ReadMmio(0x280));
        Apic.WriteMmio(0x280, 0);
        Assert.Equal(0u, Apic.ReadMmio(0x280));
    }

    [Fact]
    public void Nmi_ReachesTheVcpu()
    {
        Enable(0);
        Apic.WriteMmio(0x310, 0x0200_0000);
        Apic.WriteMmio(0x300, 0x400);
        Assert.Equal(1, _pc.Signals[2].Nmis);
    }

    [Fact]
    public void Init_ClearsRegisters_AndKeepsIdentityAndMode()
    {
        LocalApic apic = _pc.Chipset.LocalApics[2];
        Assert.True(apic.TryWriteMsr(0x1B, X2ApicOn));
        Assert.True(apic.TryWriteMsr(0x80F, 0x1FF));
        Assert.True(apic.TryWriteMsr(0x83F, 0x71));
        apic.Reset();
        Assert.False(apic.HasInterrupt);
        Assert.Equal(X2ApicOn, apic.BaseMsr);
        Assert.True(apic.TryReadMsr(0x80D, out ulong logical));
        Assert.Equal(4UL, logical);
    }

    private void Enable(int index) => _pc.Chipset.LocalApics[index].WriteMmio(0xF0, 0x1FF);

    private void Send(ulong address, uint data) => _pc.Chipset.Messages.Send(new MsiMessage(address, data));
}
