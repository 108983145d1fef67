using Hull.Memory;
using Hull.Platform;
using Xunit;

namespace Hull.Tests.Devices;

public sealed class HostBridgeTests
{
    private const uint PciExpressBar = 0x8000_0060;
    private const uint Identity = 0x29C0_8086;

    [Fact]
    public void PciExpressBar_MovesEcam()
    {
        TestPc pc = new();
        Write(pc, 0xB000_0001);

        Assert.Equal(Identity, (uint)pc.Bus.ReadMmio(new GuestPhysical(0xB000_0000), 4));
        Assert.Equal(uint.MaxValue, (uint)pc.Bus.ReadMmio(new GuestPhysical(PlatformMap.EcamBase), 4));
    }

    [Fact]
    public void DisabledPciExpressBar_TakesEcamAway_AndEnabledAgainBringsItBack()
    {
        TestPc pc = new();
        Write(pc, 0);
        Assert.Equal(uint.MaxValue, (uint)pc.Bus.ReadMmio(new GuestPhysical(PlatformMap.EcamBase), 4));

        Write(pc, (uint)PlatformMap.EcamBase | 1);
        Assert.Equal(Identity, (uint)pc.Bus.ReadMmio(new GuestPhysical(PlatformMap.EcamBase), 4));
    }

    [Fact]
    public void EcamOverAnotherDevice_IsNowhere_AndTheDeviceStays()
    {
        TestPc pc = new();
        Write(pc, 0xF000_0001);
        ulong version = pc.Bus.ReadMmio(new GuestPhysical(PlatformMap.IoApicBase + 0x10), 4);

        Assert.Equal(uint.MaxValue, (uint)pc.Bus.ReadMmio(new GuestPhysical(0xF000_0000), 4));
        Assert.NotEqual(uint.MaxValue, (uint)version);
    }

    private static void Write(TestPc pc, uint value)
    {
        pc.Out32(0xCF8, PciExpressBar);
        pc.Out32(0xCFC, value);
    }
}
