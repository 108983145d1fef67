using Hull.Devices.Firmware;
using Hull.Platform;

namespace Hull.Devices.Pci;

/// <summary>
/// Function 00.0, the root of the bus: an Intel Q35 memory controller as far as software looks. Firmware moves ECAM with
/// it and opens the memory where it shadows the BIOS. Intel 3 Series Express Chipset data sheet, "DRAM Controller
/// Registers".
/// </summary>
internal sealed class HostBridge : PciFunction
{
    private const int PciExpressBar = 0x60;
    private const int Pam0 = 0x90;
    private const int Pams = 7;
    private const int SystemManagementRam = 0x9D;
    private const byte Open = 0x33;
    private readonly PciBus _pci;
    private readonly ShadowMemory? _shadow;

    /// <summary>Makes the bridge.</summary>
    /// <param name="pci">The bus whose ECAM it moves.</param>
    /// <param name="shadow">What its attribute registers govern; null: nothing.</param>
    /// <param name="isOpen">True where no firmware runs, which would open memory.</param>
    internal HostBridge(PciBus pci, ShadowMemory? shadow, bool isOpen)
        : base(new PciIdentity { Vendor = 0x8086, Device = 0x29C0, Class = 0x060000, SubsystemVendor = 0x1AF4, Subsystem = 0x1100 })
    {
        _pci = pci;
        _shadow = shadow;
        SetConfig(PciExpressBar, (uint)PlatformMap.EcamBase | 1, 4);
        SetWritable(PciExpressBar, 0xF000_0001, 4);             // 256 MiB is the one length
        SetWritable(PciExpressBar + 4, 0xF, 1);
        for (int i = 0; i < Pams; i++)
        {
            SetConfig(Pam0 + i, isOpen ? Open : 0u, 1);
            SetWritable(Pam0 + i, i == 0 ? 0x30u : Open, 1);
        }

        // QUIRK: memory at 0xA0000 is open whatever SMRAM says: there is no system management mode, and no VGA to hide it.
        SetConfig(SystemManagementRam, 2, 1);
        SetWritable(SystemManagementRam, 0x70, 1);
        SetWritable(SystemManagementRam + 1, 0x87, 1);
        ApplyAttributes();
    }

    /// <inheritdoc/>
    protected override void ConfigWritten(int offset, int size)
    {
        if (offset < PciExpressBar + 8 && offset + size > PciExpressBar)
        {
            ulong bar = Get32(PciExpressBar) | ((ulong)Get32(PciExpressBar + 4) << 32);
            _pci.MoveEcam((bar & 1) != 0 ? bar & ~1UL : null);
        }

        if (offset < Pam0 + Pams && offset + size > Pam0)
        {
            ApplyAttributes();
        }
    }

    // PAM0 has the BIOS area in its high half; each half of the others has a section: bit 0 lets reads go to memory, bit 1
    // writes.
    private void ApplyAttributes()
    {
        uint readable = 0;
        uint writable = 0;
        for (int section = 0; section < ShadowMemory.Sections; section++)
        {
            int half = section < 12 ? section + 2 : 1;
            int attributes = (int)(Get32(Pam0 + (half / 2)) & 0xFF) >> (half % 2 * 4);
            readable |= (uint)(attributes & 1) << section;
            writable |= (uint)((attributes >> 1) & 1) << section;
        }

        _shadow?.SetAttributes(readable, writable);
    }
}
