using System;
using System.IO;
using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>Folders that only their user may enter.</summary>
public static partial class PrivateFolder
{
    private const uint OwnerOnly = 0x1C0;                       // 0700

    /// <summary>The user's number.</summary>
    public static uint UserId => EffectiveUser();

    /// <summary>Makes a folder, or finds one of the user's own that nobody else may enter.</summary>
    /// <exception cref="HullException">It cannot be made, or somebody else's is there.</exception>
    public static void Make(string path)
    {
        if (MakeDirectory(path, OwnerOnly) == 0)
        {
            return;
        }

        int error = Marshal.GetLastPInvokeError();
        if (error != Errno.Exists)
        {
            throw new HullException($"cannot make the folder {path}: {Marshal.GetPInvokeErrorMessage(error)}");
        }

        if (!LibcFiles.IsFolderOf(path, UserId, OwnerOnly))
        {
            throw new HullException($"{path} is not yours alone: remove it, or set XDG_RUNTIME_DIR to another folder");
        }
    }

    /// <summary>Removes a folder with the files in it, as far as it lets itself be removed.</summary>
    public static void Remove(string path)
    {
        try
        {
            Directory.Delete(path, recursive: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It goes with the user's session.
        }
    }

    [LibraryImport("libc", EntryPoint = "mkdir", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MakeDirectory(string path, uint mode);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    private static partial uint EffectiveUser();
}
