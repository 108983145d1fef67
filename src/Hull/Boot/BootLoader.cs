using System;
using Hull.Boot.Acpi;
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
        byte[] head = new byte[SetupHeader.HeadSize];
        ReadOnlySpan<byte> read = head.AsSpan(0, file.Read(0, head));
        ulong rsdp = AcpiTables.Write(memory, AcpiConfig.For(memory, request));
        if (SetupHeader.HasMagic(read))
        {
            return BzImageLoader.Load(memory, file, request, rsdp);
        }

        if (KernelPayload.Identify(read) != PackingMethod.Unknown)
        {
            return PvhLoader.Load(memory, file, request, rsdp);
        }

        throw new HullException(file.Length == 0
            ? $"{file.Name} is empty: give a bzImage or an ELF vmlinux"
            : $"{file.Name} is not a kernel that Hull knows: give a bzImage or an ELF vmlinux");
    }
}
