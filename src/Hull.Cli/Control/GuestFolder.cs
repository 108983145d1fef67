using System;
using System.Collections.Generic;
using System.IO;
using Hull.Host;

namespace Hull.Cli.Control;

/// <summary>
/// Where running guests are found: a folder for each name in $XDG_RUNTIME_DIR/hull, with the socket of its process.
/// </summary>
internal static class GuestFolder
{
    private const int LongestName = 64;
    private const string Socket = "control";

    private static string Root
    {
        get
        {
            string? run = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
            string own = $"/run/user/{PrivateFolder.UserId}";
            return run is not null && Path.IsPathRooted(run) ? Path.Combine(run, "hull")
                : Directory.Exists(own) ? Path.Combine(own, "hull")
                : $"/tmp/hull-{PrivateFolder.UserId}";
        }
    }

    /// <summary>The socket of a guest.</summary>
    /// <exception cref="HullException">That is no name.</exception>
    internal static string SocketOf(string name) => Path.Combine(FolderOf(name), Socket);

    /// <summary>Makes the folder of a guest.</summary>
    /// <exception cref="HullException">That is no name, or the folder cannot be made.</exception>
    internal static string Make(string name)
    {
        string folder = FolderOf(name);
        PrivateFolder.Make(Root);
        PrivateFolder.Make(folder);
        return Path.Combine(folder, Socket);
    }

    /// <summary>Removes the folder of a guest that has ended.</summary>
    internal static void Remove(string name) => PrivateFolder.Remove(FolderOf(name));

    /// <summary>The names that have a folder; their guests may have ended.</summary>
    internal static IReadOnlyList<string> Names()
    {
        if (!Directory.Exists(Root))
        {
            return [];
        }

        List<string> names = [.. Directory.EnumerateDirectories(Root)];
        names.Sort(StringComparer.Ordinal);
        return names.ConvertAll(static path => Path.GetFileName(path));
    }

    private static string FolderOf(string name)
    {
        bool good = name.Length is > 0 and <= LongestName && name[0] != '.'
            && name.AsSpan().IndexOfAny('/', '\0') < 0;
        return good
            ? Path.Combine(Root, name)
            : throw new HullException($"'{name}' is no name of a guest: give 1 to {LongestName} characters, no '/', no '.' first");
    }
}
