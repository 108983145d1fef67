using Hull.Bus;
using Hull.Platform;

namespace Hull.Devices.Firmware;

/// <summary>
/// Sets up timer and interrupt controllers as a PC's BIOS leaves them, for kernels whose boot protocol promises it:
/// "other machine state should be left by the boot loader in normal working order, i.e. as initialized by the BIOS".
/// Multiboot 0.6.96, "Machine state".
/// </summary>
internal static class BiosChips
{
    private const byte MasterBase = 0x08;
    private const byte SlaveBase = 0x70;
    private const byte CascadeInput = 2;

    // Only the tick and the slave are let through: nothing else has a service that would take its data.
    private const byte MasterMask = 0xFA;
    private const byte SlaveMask = 0xFF;

    // Counter 0, low byte then high, mode 2; a count of 0 is 65536, 18.2 ticks a second.
    private const byte TimerControl = 0x34;

    /// <summary>Programs the chips. Before the first vCPU runs.</summary>
    internal static void SetUp(IoBus bus)
    {
        StartController(bus, PlatformMap.Pic1Port, MasterBase, 1 << CascadeInput, MasterMask);
        StartController(bus, PlatformMap.Pic2Port, SlaveBase, CascadeInput, SlaveMask);
        bus.WritePort(PlatformMap.PitPort + 3, 1, TimerControl);
        bus.WritePort(PlatformMap.PitPort, 1, 0);
        bus.WritePort(PlatformMap.PitPort, 1, 0);
    }

    // Intel 8259A data sheet, "Initialization Command Words": edges, cascaded, an ICW4; the first vector; who is where; 8086.
    private static void StartController(IoBus bus, ushort port, byte vectors, byte cascade, byte mask)
    {
        const byte withIcw4 = 0x11;
        const byte mode8086 = 1;
        bus.WritePort(port, 1, withIcw4);
        bus.WritePort((ushort)(port + 1), 1, vectors);
        bus.WritePort((ushort)(port + 1), 1, cascade);
        bus.WritePort((ushort)(port + 1), 1, mode8086);
        bus.WritePort((ushort)(port + 1), 1, mask);
    }
}
