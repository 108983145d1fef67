using System;
using System.IO;
using Hull.Boot.Multiboot;
using Hull.Host;

namespace Hull.Boot;

/// <summary>How a kernel file wants to be started.</summary>
public enum KernelProtocol
{
    /// <summary>No kernel that Hull knows.</summary>
    Unknown,

    /// <summary>A bzImage: Linux's 64-bit boot protocol, or its 32-bit one.</summary>
    Linux,

    /// <summary>An ELF file without a Multiboot header: its PVH note says where it starts.</summary>
    Pvh,

    /// <summary>A file with a header of Multiboot 1 or 2.</summary>
    Multiboot,
}

/// <summary>
/// Tells what a kernel file is. A bzImage is Linux's. In any other file, unpacked first if it is packed, a Multiboot
/// header counts before a PVH note, and Multiboot 1 before 2: so does QEMU, and Xen has all three.
/// </summary>
public static class KernelFile
{
    /// <summary>Looks at a file's beginning.</summary>
    /// <exception cref="HullException">It cannot be opened or read.</exception>
    public static KernelProtocol Identify(BootBlob kernel)
    {
        using BootBlobReader file = BootBlobReader.Open(kernel, "kernel");
        return Identify(file).Protocol;
    }

    /// <summary>True for a bzImage that says that its kernel is a 32-bit one; those older than Linux 3.8 do not say.</summary>
    /// <exception cref="HullException">It cannot be opened or read.</exception>
    public static bool Is32BitLinux(BootBlob kernel)
    {
        using BootBlobReader file = BootBlobReader.Open(kernel, "kernel");
        byte[] head = new byte[SetupHeader.HeadSize];
        return SetupHeader.HasMagic(head.AsSpan(0, file.Read(0, head))) && SetupHeader.Read(file) is { Version: >= 0x20C, Is64: false };
    }

    /// <summary>As the public one, with what the loaders need to know.</summary>
    /// <exception cref="HullException">It cannot be read.</exception>
    internal static KernelIdentity Identify(BootBlobReader file)
    {
        byte[] raw = new byte[MultibootHeader.SearchSize];
        ReadOnlySpan<byte> head = raw.AsSpan(0, file.Read(0, raw));
        if (SetupHeader.HasMagic(head))
        {
            return new KernelIdentity(KernelProtocol.Linux, PackingMethod.None, null);
        }

        PackingMethod packing = KernelPayload.Identify(head);
        if (packing is not (PackingMethod.None or PackingMethod.Unknown))
        {
            head = raw.AsSpan(0, ReadUnpacked(packing, file, raw));
        }

        MultibootHeader? header = MultibootHeader.Find(head);
        KernelProtocol protocol = header is not null ? KernelProtocol.Multiboot
            : packing != PackingMethod.Unknown ? KernelProtocol.Pvh : KernelProtocol.Unknown;
        return new KernelIdentity(protocol, packing, header);
    }

    // What cannot be unpacked has no header; the loader that tries it next says why.
    private static int ReadUnpacked(PackingMethod packing, BootBlobReader file, byte[] head)
    {
        try
        {
            using Stream? source = KernelPayload.TryOpen(packing, file, 0, file.Length);
            return source?.ReadAtLeast(head, head.Length, throwOnEndOfStream: false) ?? 0;
        }
        catch (InvalidDataException)
        {
            return 0;
        }
    }
}

/// <summary>What a kernel file turned out to be.</summary>
/// <param name="Protocol">How it starts.</param>
/// <param name="Packing">How the whole file is packed.</param>
/// <param name="Multiboot">Its Multiboot header.</param>
internal sealed record KernelIdentity(KernelProtocol Protocol, PackingMethod Packing, MultibootHeader? Multiboot);
