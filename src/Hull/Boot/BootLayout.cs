namespace Hull.Boot;

/// <summary>
/// Where the loaders put what a kernel reads once at its start. All of it is below 64 KiB or 640 KiB, which
/// Linux keeps free until it has copied boot parameters and command line.
/// </summary>
internal static class BootLayout
{
    /// <summary>The global descriptor table.</summary>
    internal const ulong Gdt = 0x1000;

    /// <summary>PVH: hvm_start_info, then the module list and the memory map.</summary>
    internal const ulong StartInfo = 0x2000;

    /// <summary>Linux: struct boot_params, one page.</summary>
    internal const ulong ZeroPage = 0x7000;

    /// <summary>Top of a small stack.</summary>
    internal const ulong StackTop = 0x8FF0;

    /// <summary>Six pages: PML4, PDPT and four page directories that map 4 GiB in pages of 2 MiB.</summary>
    internal const ulong PageTables = 0x9000;

    /// <summary>The command line, zero-terminated.</summary>
    internal const ulong CommandLine = 0x2_0000;

    /// <summary>Room for the command line with its zero.</summary>
    internal const int CommandLineRoom = 0x1_0000;

    /// <summary>End of conventional RAM; the BIOS's own data area begins.</summary>
    internal const ulong ConventionalEnd = 0x9_FC00;

    /// <summary>No kernel may load below here.</summary>
    internal const ulong KernelFloor = 0x10_0000;

    /// <summary>The code selector that Linux and Hull's GDT use at entry.</summary>
    internal const ushort CodeSelector = 0x10;

    /// <summary>The data selector.</summary>
    internal const ushort DataSelector = 0x18;

    /// <summary>The selector of an idle task-state segment.</summary>
    internal const ushort TaskSelector = 0x20;
}
