using System;
using System.IO;

namespace Hull.Cli.Debian;

/// <summary>
/// Where a disk is made: beside the image, or in /var/tmp. An ordinary user's mmdebstrap works as other users of the host's (the
/// root of its namespace is one), who must get here, through all folders above. While they may, no others find the way: the name has
/// 122 random bits, the folder around it cannot be listed, and no program gets the name as an argument.
/// </summary>
internal sealed class DraftFolder : IDisposable
{
    private const string Elsewhere = "/var/tmp";

    private const UnixFileMode Owner = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const UnixFileMode All = Owner | UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute;
    private const UnixFileMode Files = All | UnixFileMode.GroupRead | UnixFileMode.GroupExecute;

    private readonly string _outer;

    /// <summary>Makes the folder.</summary>
    /// <param name="image">The image that will be.</param>
    /// <exception cref="IOException">The host cannot.</exception>
    internal DraftFolder(string image)
    {
        string beside = Path.GetDirectoryName(Path.GetFullPath(image)) ?? "/";
        IsBeside = Environment.IsPrivilegedProcess || IsOpenToAll(beside);
        _outer = Path.Combine(IsBeside ? beside : Elsewhere, $".hull-{RandomName()}");
        Name = Path.Combine(_outer, RandomName());
        Directory.CreateDirectory(_outer, Owner | UnixFileMode.OtherExecute);
        File.SetUnixFileMode(_outer, Owner | UnixFileMode.OtherExecute); // whatever the umask is
        Directory.CreateDirectory(Name, Owner);
    }

    /// <summary>Its path.</summary>
    internal string Name { get; }

    /// <summary>It is in the image's folder, so files can be moved there.</summary>
    internal bool IsBeside { get; }

    /// <summary>The path of a file in it.</summary>
    internal string this[string file] => Path.Combine(Name, file);

    /// <summary>Every user of the host may pass through a folder and all those above it.</summary>
    internal static bool IsOpenToAll(string folder)
    {
        for (string? at = folder; at is not null; at = Path.GetDirectoryName(at))
        {
            if ((File.GetUnixFileMode(at) & UnixFileMode.OtherExecute) == 0)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Writes a file.</summary>
    internal void Write(string file, string text) => File.WriteAllText(this[file], text);

    /// <summary>Lets the root of a user's namespace in.</summary>
    internal void Open()
    {
        if (!Environment.IsPrivilegedProcess)
        {
            foreach (string file in Directory.GetFiles(Name))
            {
                File.SetUnixFileMode(file, Files);
            }

            File.SetUnixFileMode(Name, All);
        }
    }

    /// <summary>Nobody else gets in any more.</summary>
    internal void Close() => File.SetUnixFileMode(Name, Owner);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Directory.Exists(_outer))
        {
            Directory.Delete(_outer, recursive: true);
        }
    }

    // The kernel's random bytes: .NET's for keys would need OpenSSL, which a host may lack.
    private static string RandomName() => Guid.NewGuid().ToString("N");
}
