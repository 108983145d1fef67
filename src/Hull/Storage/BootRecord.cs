using System;
using System.IO;
using Hull.Host;

namespace Hull.Storage;

/// <summary>Whether firmware finds something to start on a disk.</summary>
public static class BootRecord
{
    private const int SectorBytes = 512;

    /// <summary>
    /// True when the first sector ends with the signature that a BIOS wants, and has code before it. UEFI 2.10, "Legacy
    /// Master Boot Record (MBR)".
    /// </summary>
    /// <param name="path">The image.</param>
    /// <param name="format">Its format.</param>
    /// <param name="allowBacking">The files may be opened that a qcow2 image names as those below it.</param>
    /// <exception cref="HullException">The image cannot be opened or read.</exception>
    public static bool Exists(string path, DiskFormat format, bool allowBacking)
    {
        using IByteStore store = DiskImage.Open(path, format, readOnly: true, allowBacking);
        byte[] sector = new byte[SectorBytes];
        if (store.Length < SectorBytes)
        {
            return false;
        }

        try
        {
            store.Read(0, sector);
        }
        catch (IOException e)
        {
            throw new HullException($"cannot read the boot sector of {path}: {e.Message}", e);
        }

        return sector[510] == 0x55 && sector[511] == 0xAA && sector.AsSpan(0, 440).ContainsAnyExcept((byte)0);
    }
}
