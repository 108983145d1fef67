using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Text;
using Hull.Boot.Acpi;
using Hull.Host;
using Hull.Memory;
using Hull.Platform;

namespace Hull.Boot.Firmware;

/// <summary>A named piece of bytes that firmware reads through fw_cfg.</summary>
internal readonly record struct FirmwareFile(string Name, byte[] Content);

/// <summary>
/// Starts a machine with firmware (SeaBIOS, OVMF) instead of a kernel: the ROM below 4 GiB, and what firmware asks of the
/// machine. The first processor then starts as after a reset. QEMU, "QEMU Firmware Configuration (fw_cfg) Device".
/// </summary>
internal static class FirmwareLoader
{
    private const long GreatestRom = 16 << 20;
    private const int E820EntrySize = 20;

    /// <summary>Reads a ROM's file.</summary>
    /// <exception cref="HullException">It cannot be read, or is no ROM.</exception>
    internal static byte[] Read(BootBlob firmware)
    {
        using BootBlobReader file = BootBlobReader.Open(firmware, "firmware");
        if (file.Length is 0 or > GreatestRom || file.Length % 0x1_0000 != 0)
        {
            throw new HullException(
                $"{file.Name} has {file.Length} bytes and is no firmware: a ROM has 64 KiB to 16 MiB, in steps of 64 KiB " +
                "(--firmware bios)");
        }

        byte[] rom = new byte[file.Length];
        return file.Read(0, rom) == rom.Length ? rom : throw new HullException($"{file.Name} became shorter while it was read");
    }

    /// <summary>What firmware reads of this machine.</summary>
    /// <param name="memory">The guest's RAM.</param>
    /// <param name="vcpus">Virtual processors.</param>
    /// <param name="disks">PCI devices to boot from, in order.</param>
    /// <param name="mmioDevices">Virtio devices behind MMIO.</param>
    /// <param name="hasS3">The machine can be suspended to RAM.</param>
    internal static List<FirmwareFile> Describe(
        GuestMemory memory, int vcpus, IReadOnlyList<int> disks, int mmioDevices = 0, bool hasS3 = false)
    {
        List<FirmwareFile> files = TableLoader.Split(AcpiConfig.For(memory, new BootRequest { VcpuCount = vcpus }) with
        {
            HasS3 = hasS3,
            MmioDevices = mmioDevices,
            EcamBase = PlatformMap.FirmwareLowLimit,
            PciMemoryEnd = PlatformMap.FirmwarePciMemoryEnd,
        });
        files.Add(new FirmwareFile("etc/e820", MemoryMap(memory)));
        files.Add(new FirmwareFile("etc/max-cpus", Number((ulong)vcpus, 2)));

        if (memory.Files.Size > 0)
        {
            // Cards go above it.
            files.Add(new FirmwareFile("etc/reserved-memory-end", Number(memory.End, 8)));
        }

        // The user's console is the first serial port; where nothing boots there is nobody to press a key.
        files.Add(new FirmwareFile("etc/sercon-port", Number(PlatformMap.Com1Port, 2)));
        files.Add(new FirmwareFile("etc/boot-fail-wait", Number(uint.MaxValue, 4)));
        if (disks.Count > 0)
        {
            files.Add(new FirmwareFile("bootorder", BootOrder(disks)));
        }

        return files;
    }

    private static byte[] Number(ulong value, int bytes)
    {
        byte[] raw = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(raw, value);
        return raw[..bytes];
    }

    // Open Firmware's paths, a line each, closed by a zero.
    private static byte[] BootOrder(IReadOnlyList<int> disks)
    {
        StringBuilder text = new();
        foreach (int device in disks)
        {
            text.Append(System.Globalization.CultureInfo.InvariantCulture, $"/pci@i0cf8/scsi@{device:x}/disk@0,0\n");
        }

        text[^1] = '\0';
        return Encoding.ASCII.GetBytes(text.ToString());
    }

    private static byte[] MemoryMap(GuestMemory memory)
    {
        int ranges = memory.HighSize > 0 ? 2 : 1;
        byte[] raw = new byte[E820EntrySize * ranges];
        Write(raw, 0, memory.LowSize);
        if (ranges > 1)
        {
            Write(raw.AsSpan(E820EntrySize), GuestMemory.HighBase, memory.HighSize);
        }

        return raw;
    }

    private static void Write(Span<byte> entry, ulong start, ulong length)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(entry, start);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[8..], length);
        BinaryPrimitives.WriteInt32LittleEndian(entry[16..], (int)E820Type.Ram);
    }
}
