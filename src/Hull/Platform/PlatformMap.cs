namespace Hull.Platform;

/// <summary>
/// Every address, port and interrupt of the PC in one place. RAM fills [0, 0xC0000000) and goes on at 4 GiB
/// (see <see cref="Memory.GuestMemory"/>).
/// </summary>
public static class PlatformMap
{
    /// <summary>PCI memory below 4 GiB: BARs are assigned from here.</summary>
    public const ulong PciMemoryBase = 0xC000_0000;

    /// <summary>End (exclusive) of PCI memory below 4 GiB.</summary>
    public const ulong PciMemoryEnd = 0xE000_0000;

    /// <summary>PCI Express enhanced configuration (ECAM), 256 buses: 256 MiB.</summary>
    public const ulong EcamBase = 0xE000_0000;

    /// <summary>Bytes of ECAM: 1 MiB a bus.</summary>
    public const ulong EcamSize = 0x1000_0000;

    /// <summary>
    /// The last PCI bus, as ACPI tells: there is no bridge to another. Linux reads the identity of 32 devices on each bus that
    /// it is told of (pcibios_fixup_peer_bridges), so 255 here would cost each boot 16384 accesses to ports.
    /// </summary>
    public const byte LastPciBus = 0;

    /// <summary>With firmware, RAM below 4 GiB ends here: SeaBIOS puts ECAM of a Q35 at this address.</summary>
    public const ulong FirmwareLowLimit = 0xB000_0000;

    /// <summary>With firmware, the end (exclusive) of PCI memory below 4 GiB.</summary>
    public const ulong FirmwarePciMemoryEnd = IoApicBase;

    /// <summary>Virtio devices behind MMIO: a page each from here on.</summary>
    public const ulong VirtioMmioBase = 0xFED8_0000;

    /// <summary>Bytes for each of those.</summary>
    public const ulong VirtioMmioBytes = 0x1000;

    /// <summary>Virtio devices behind MMIO at the most.</summary>
    public const int VirtioMmioDevices = 8;

    /// <summary>I/O APIC registers.</summary>
    public const ulong IoApicBase = 0xFEC0_0000;

    /// <summary>HPET registers.</summary>
    public const ulong HpetBase = 0xFED0_0000;

    /// <summary>Local APIC registers after reset; also where message-signalled interrupts are written.</summary>
    public const ulong LocalApicBase = 0xFEE0_0000;

    /// <summary>PCI memory above 4 GiB and above RAM starts at the next multiple of this.</summary>
    public const ulong PciMemory64Alignment = 0x40_0000_0000;

    /// <summary>Master 8259 (two ports).</summary>
    public const ushort Pic1Port = 0x20;

    /// <summary>Slave 8259 (two ports).</summary>
    public const ushort Pic2Port = 0xA0;

    /// <summary>Edge/level control registers of the two 8259s.</summary>
    public const ushort ElcrPort = 0x4D0;

    /// <summary>8254 timer (four ports).</summary>
    public const ushort PitPort = 0x40;

    /// <summary>System control port B: gate and output of the 8254's channel 2.</summary>
    public const ushort PortB = 0x61;

    /// <summary>i8042 data port.</summary>
    public const ushort I8042DataPort = 0x60;

    /// <summary>i8042 command and status port.</summary>
    public const ushort I8042CommandPort = 0x64;

    /// <summary>MC146818 RTC and CMOS RAM: index and data.</summary>
    public const ushort RtcPort = 0x70;

    /// <summary>Delay and POST port.</summary>
    public const ushort PostPort = 0x80;

    /// <summary>Advanced power management: control and status.</summary>
    public const ushort ApmPort = 0xB2;

    /// <summary>Where firmware writes its log.</summary>
    public const ushort DebugConsolePort = 0x402;

    /// <summary>Fast A20 and reset.</summary>
    public const ushort PortA = 0x92;

    /// <summary>First serial port, COM1.</summary>
    public const ushort Com1Port = 0x3F8;

    /// <summary>Second serial port, COM2.</summary>
    public const ushort Com2Port = 0x2F8;

    /// <summary>Third serial port, COM3.</summary>
    public const ushort Com3Port = 0x3E8;

    /// <summary>Fourth serial port, COM4.</summary>
    public const ushort Com4Port = 0x2E8;

    /// <summary>fw_cfg: selector, data, and at +4 the address of a request (12 ports).</summary>
    public const ushort FwCfgPort = 0x510;

    /// <summary>Test device: a register of four bytes.</summary>
    public const ushort TestRegisterPort = 0xE0;

    /// <summary>Test device: a page to flush (four bytes).</summary>
    public const ushort TestFlushPort = 0xE4;

    /// <summary>Test device: the register again, for accesses in bytes.</summary>
    public const ushort TestBytePort = 0xE8;

    /// <summary>Test device: a port for each of 24 interrupt lines.</summary>
    public const ushort TestIrqPort = 0x2000;

    /// <summary>Test device: 64 KiB of memory behind MMIO.</summary>
    public const ulong TestMemoryBase = 0xFF00_0000;

    /// <summary>ACPI PM1a event block (4 bytes); the control block follows.</summary>
    public const ushort AcpiPm1EventPort = 0x600;

    /// <summary>ACPI PM1a control block (2 bytes).</summary>
    public const ushort AcpiPm1ControlPort = 0x604;

    /// <summary>ACPI PM timer (4 bytes, 3.579545 MHz).</summary>
    public const ushort AcpiPmTimerPort = 0x608;

    /// <summary>ACPI general-purpose event block 0: status, then enable bits.</summary>
    public const ushort AcpiGpePort = 0x610;

    /// <summary>Bytes of the event block.</summary>
    public const int AcpiGpeBytes = 4;

    /// <summary>The general-purpose event of a PCI card that came, or that is asked for.</summary>
    public const int AcpiGpePciHotplug = 1;

    /// <summary>Registers of PCI hotplug, for the DSDT's methods.</summary>
    public const ushort PciHotplugPort = 0x620;

    /// <summary>Bytes of those.</summary>
    public const int PciHotplugBytes = 12;

    /// <summary>Slots with a new card, a bit each; reading clears them.</summary>
    public const int PciHotplugAddedOffset = 0;

    /// <summary>Slots whose card is asked for, a bit each; reading clears them.</summary>
    public const int PciHotplugUnwantedOffset = 4;

    /// <summary>Slots whose card may be taken out, a bit each, to be written.</summary>
    public const int PciHotplugEjectOffset = 8;

    /// <summary>PCI configuration mechanism 1: address.</summary>
    public const ushort PciConfigAddressPort = 0xCF8;

    /// <summary>PCI configuration mechanism 1: data. Port 0xCF9 between them is the reset control register.</summary>
    public const ushort PciConfigDataPort = 0xCFC;

    /// <summary>Reset control register; writing 6 resets the machine.</summary>
    public const ushort ResetPort = 0xCF9;

    /// <summary>SLP_TYP that means S5 (soft off) in PM1a control.</summary>
    public const int AcpiSleepTypeS5 = 5;

    /// <summary>The same for suspension to RAM (S3).</summary>
    public const int AcpiSleepTypeS3 = 1;

    /// <summary>ISA interrupt of the 8254. The MADT overrides it to I/O APIC input 2.</summary>
    public const int PitIrq = 0;

    /// <summary>ISA interrupt of the keyboard.</summary>
    public const int KeyboardIrq = 1;

    /// <summary>ISA interrupt of COM2 and COM4.</summary>
    public const int Com2Irq = 3;

    /// <summary>ISA interrupt of COM1 and COM3.</summary>
    public const int Com1Irq = 4;

    /// <summary>ISA interrupt of the RTC.</summary>
    public const int RtcIrq = 8;

    /// <summary>ACPI system control interrupt (level, active high).</summary>
    public const int AcpiSciIrq = 9;

    /// <summary>The ISA interrupt of a virtio device behind MMIO (level, active high): those that no other chip has.</summary>
    public static int VirtioMmioIrq(int index) => index switch
    {
        < 3 => 5 + index,
        < 5 => 7 + index,
        _ => 8 + index,
    };

    /// <summary>Inputs of the I/O APIC.</summary>
    public const int IoApicInputs = 24;

    /// <summary>First I/O APIC input for PCI INTx; INTA-INTD of slot n go to inputs 16 + (n + pin) % 8.</summary>
    public const int PciIrqBase = 16;

    /// <summary>I/O APIC identity in the MADT.</summary>
    public const byte IoApicId = 0;

    /// <summary>Where the loader puts ACPI tables: the RSDP, then the rest, inside the BIOS area (reserved in E820).</summary>
    public const ulong AcpiTablesBase = 0xE_0000;

    /// <summary>End (exclusive) of the room for ACPI tables below 1 MiB; the MP table has 8 KiB behind them.</summary>
    public const ulong AcpiTablesEnd = BiosStubBase - 0x2000;

    /// <summary>Real-mode code behind the interrupt vectors, where no BIOS has run; up to 1 MiB.</summary>
    public const ulong BiosStubBase = 0xF_F000;
}
