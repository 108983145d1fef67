using System;
using System.IO;
using Hull.Host;
using Microsoft.Win32.SafeHandles;

namespace Hull.Storage;

/// <summary>Opening image files, and what .NET's files lack.</summary>
internal static class ImageFile
{
    private const int KeepSize = 1;
    private const int PunchHole = 2;

    /// <summary>Opens and locks an image, against a second writer.</summary>
    /// <exception cref="HullException">It cannot be opened, or somebody else has it.</exception>
    internal static SafeFileHandle Open(string path, bool readOnly)
    {
        try
        {
            return File.OpenHandle(
                path,
                FileMode.Open,
                readOnly ? FileAccess.Read : FileAccess.ReadWrite,
                readOnly ? FileShare.Read : FileShare.None);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            string hint = readOnly ? "" : " (or open it with ',readonly')";
            throw new HullException($"cannot open the disk image {path}: {e.Message}{hint}");
        }
    }

    /// <summary>Gives a range of a file back to the host; it reads as zeros.</summary>
    /// <returns>False when the file system cannot.</returns>
    internal static bool TryPunch(SafeFileHandle file, ulong offset, ulong length)
    {
        bool added = false;
        try
        {
            file.DangerousAddRef(ref added);
            int fd = (int)file.DangerousGetHandle();
            return Libc.Fallocate(fd, KeepSize | PunchHole, (long)offset, (long)length) == 0;
        }
        finally
        {
            if (added)
            {
                file.DangerousRelease();
            }
        }
    }
}
