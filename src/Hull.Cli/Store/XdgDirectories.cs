using System;
using System.IO;

namespace Hull.Cli.Store;

/// <summary>Hull's places in the user's home. XDG Base Directory Specification.</summary>
internal sealed class XdgDirectories
{
    /// <summary>Makes the directories under other roots, for tests.</summary>
    internal XdgDirectories(string data, string cache)
    {
        Data = data;
        Cache = cache;
    }

    /// <summary>What Hull keeps: $XDG_DATA_HOME/hull.</summary>
    internal string Data { get; }

    /// <summary>What Hull can make again: $XDG_CACHE_HOME/hull.</summary>
    internal string Cache { get; }

    /// <summary>The places that the environment names.</summary>
    internal static XdgDirectories FromEnvironment() => new(
        Path.Combine(Root("XDG_DATA_HOME", ".local/share"), "hull"),
        Path.Combine(Root("XDG_CACHE_HOME", ".cache"), "hull"));

    private static string Root(string variable, string underHome)
    {
        // The specification says that a relative path is to be ignored.
        string? value = Environment.GetEnvironmentVariable(variable);
        if (value is not null && Path.IsPathRooted(value))
        {
            return value;
        }

        string home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        return Path.Combine(home.Length == 0 ? "/tmp" : home, underHome);
    }
}
