using Hull.Platform;

namespace Hull.Devices.Pci;

/// <summary>
/// Function 00.0, the root of the bus: an Intel Q35 memory controller as far as software looks. Intel 3 Series Express
/// Chipset data sheet, "DRAM Controller Registers".
/// </summary>
internal sealed class HostBridge : PciFunction
{
    private const int PciExpressBar = 0x60;
    private const int Pam0 = 0x90;

    /// <summary>Makes the bridge; ECAM is where the platform has it and cannot be moved.</summary>
    internal HostBridge()
        : base(new PciIdentity { Vendor = 0x8086, Device = 0x29C0, Class = 0x060000, SubsystemVendor = 0x1AF4, Subsystem = 0x1100 })
    {
        SetConfig(PciExpressBar, (uint)PlatformMap.EcamBase | 1, 4);

        // PAM and SMRAM: firmware writes them and reads them back; memory is open for reading and writing anyway.
        for (int at = Pam0; at < Pam0 + 16; at += 4)
        {
            SetWritable(at, uint.MaxValue, 4);
        }
    }
}
