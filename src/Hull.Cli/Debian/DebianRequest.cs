using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Hull.Host;

namespace Hull.Cli.Debian;

/// <summary>What kind of Debian disk the user wants.</summary>
internal sealed record DebianRequest
{
    private const ulong LeastSize = 2UL << 30;

    /// <summary>The image.</summary>
    internal required string File { get; init; }

    /// <summary>The disk's size in bytes.</summary>
    internal ulong Size { get; init; } = 8UL << 30;

    /// <summary>Debian's release.</summary>
    internal string Suite { get; init; } = "bookworm";

    /// <summary>Packages beyond Hull's choice.</summary>
    internal IReadOnlyList<string> Include { get; init; } = [];

    /// <summary>The system's name.</summary>
    internal string HostName { get; init; } = "debian";

    /// <summary>Public keys with which root may log in over the network, a line each; or nothing.</summary>
    internal string Keys { get; init; } = "";

    /// <summary>Checks what would fail only after minutes, or would be taken for something else by a program.</summary>
    /// <exception cref="HullException">A value cannot work.</exception>
    internal void Validate()
    {
        if (Size < LeastSize || Size % (1 << 20) != 0)
        {
            throw new HullException($"a Debian disk of {Size} bytes: give at least 2G, in whole MiB (--size 8G)");
        }

        string folder = Path.GetDirectoryName(Path.GetFullPath(File)) ?? "/";
        if (!Directory.Exists(folder))
        {
            throw new HullException($"cannot make {File}: there is no folder {folder}");
        }

        // A private key, or any other file, would be copied into the guest's readable files.
        foreach (string line in Keys.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            if (line[0] != '#' && !line.Split(' ').Any(static word => word.StartsWith("AAAA", StringComparison.Ordinal)))
            {
                throw new HullException("--ssh-key: a line is no public key (they are in files that end in .pub; 'none' for no key)");
            }
        }

        if (!IsName(Suite, "-"))
        {
            throw new HullException($"--suite '{Suite}' is no release of Debian: give bookworm or another");
        }

        if (!IsName(HostName, "-") || HostName.Length > 63)
        {
            throw new HullException($"--hostname '{HostName}': give up to 63 letters, digits and '-'");
        }

        foreach (string package in Include)
        {
            if (!IsName(package, "-+."))
            {
                throw new HullException($"--include '{package}' is no package name");
            }
        }
    }

    private static bool IsName(string text, string others) => text.Length > 0 && char.IsAsciiLetterOrDigit(text[0])
        && text.All(one => char.IsAsciiLetterOrDigit(one) || others.Contains(one, StringComparison.Ordinal));
}
