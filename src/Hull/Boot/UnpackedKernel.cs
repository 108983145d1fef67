using System;
using System.IO;
using Hull.Host;

namespace Hull.Boot;

/// <summary>
/// The kernel inside a bzImage as a file of its own: for a guest that would unpack it itself, as Xen does with its dom0's.
/// </summary>
public static class UnpackedKernel
{
    private const long Limit = 512L << 20;

    /// <summary>Unpacks it on the host: an ELF file, and what Linux's build puts behind it.</summary>
    /// <param name="kernel">The bzImage.</param>
    /// <param name="destination">Gets it; what is there after a failure is of no use.</param>
    /// <returns>False when nobody here can unpack it: it does not say where it is, or the host lacks the packer's library.</returns>
    /// <exception cref="HullException">The file is no bzImage, or damaged.</exception>
    public static bool TryWrite(BootBlob kernel, Stream destination)
    {
        ArgumentNullException.ThrowIfNull(destination);
        using BootBlobReader file = BootBlobReader.Open(kernel, "kernel");
        SetupHeader header = SetupHeader.Read(file);
        long offset = header.ProtectedModeOffset + header.PayloadOffset;
        long length = header.PayloadLength;
        if (length == 0 || offset + length > file.Length)
        {
            return false;
        }

        Span<byte> magic = stackalloc byte[KernelPayload.MagicSize];
        PackingMethod method = KernelPayload.Identify(magic[..file.Read(offset, magic)]);
        if (method is PackingMethod.Unknown)
        {
            return false;
        }

        try
        {
            using Stream? unpacked = KernelPayload.TryOpen(method, file, offset, length);
            return unpacked is not null && Copy(unpacked, destination, file.Name);
        }
        catch (InvalidDataException e)
        {
            throw new HullException($"the kernel inside {file.Name} cannot be unpacked: {KernelPayload.Reason(method, e)}", e);
        }
    }

    private static bool Copy(Stream from, Stream to, string name)
    {
        byte[] chunk = new byte[256 << 10];
        long total = 0;
        int got;
        while ((got = from.ReadAtLeast(chunk, chunk.Length, throwOnEndOfStream: false)) > 0)
        {
            total += got;
            if (total > Limit)
            {
                throw new HullException($"the kernel inside {name} has more than {Limit >> 20} MiB: the file is damaged");
            }

            to.Write(chunk.AsSpan(0, got));
        }

        return total > 0;
    }
}
