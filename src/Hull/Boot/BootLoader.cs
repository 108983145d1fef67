using Hull.Boot.Acpi;
using Hull.Boot.Multiboot;
using Hull.Host;
using Hull.Memory;

namespace Hull.Boot;

/// <summary>
/// The front of all loaders: tells what a kernel file is, and loads it with everything it needs.
/// </summary>
internal static class BootLoader
{
    /// <summary>Loads kernel, RAM disk, command line and ACPI tables into guest memory.</summary>
    /// <exception cref="HullException">
    /// No kernel; a file that cannot be read, is damaged, or is no kernel; too little memory.
    /// </exception>
    internal static LoadedKernel Load(GuestMemory memory, BootRequest request)
    {
        if (request.Kernel is null)
        {
            throw new HullException("no kernel to boot: name one (hull run bzImage), or choose --firmware");
        }

        using BootBlobReader file = BootBlobReader.Open(request.Kernel, "kernel");
        KernelIdentity identity = KernelFile.Identify(file);
        if (request.Modules.Count > 0 && identity.Protocol is KernelProtocol.Linux or KernelProtocol.Pvh)
        {
            throw new HullException($"{file.Name} is no Multiboot kernel and takes no modules: use --initrd");
        }

        BiosStub.WriteRestart(memory);
        AcpiConfig config = AcpiConfig.For(memory, request);
        ulong rsdp = AcpiTables.Write(memory, config);
        if (!request.StartAsPvh)
        {
            MpTable.Write(memory, config);
        }

        return identity.Protocol switch
        {
            KernelProtocol.Linux when request.StartAsPvh => PvhLoader.LoadLinux(memory, file, request, rsdp),
            KernelProtocol.Linux => BzImageLoader.Load(memory, file, request, rsdp),
            KernelProtocol.Multiboot => MultibootLoader.Load(memory, file, identity, request, rsdp),
            KernelProtocol.Pvh => PvhLoader.Load(memory, file, identity, request, rsdp),
            _ => throw new HullException(file.Length == 0
                ? $"{file.Name} is empty: give a bzImage, an ELF vmlinux or a Multiboot kernel"
                : $"{file.Name} is not a kernel that Hull knows: give a bzImage, an ELF vmlinux or a Multiboot kernel"),
        };
    }
}
