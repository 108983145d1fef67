using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Hull.Cli.Run;
using Hull.Cli.Store;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Host;

namespace Hull.Cli.Guest;

/// <summary>A folder of the host's for the guest, as `--share DIR[:TAG][:ro]` names it.</summary>
/// <param name="Path">The folder, from the root.</param>
/// <param name="Tag">Its name in the guest.</param>
/// <param name="ReadOnly">The guest changes nothing.</param>
internal sealed record ShareRequest(string Path, string Tag, bool ReadOnly)
{
    private const int MostTagBytes = 31;

    /// <summary>Reads the option.</summary>
    /// <exception cref="HullException">The tag cannot be one, or the folder is not there.</exception>
    internal static ShareRequest Parse(string text)
    {
        string rest = text;
        bool readOnly = rest.EndsWith(":ro", StringComparison.Ordinal);
        rest = readOnly ? rest[..^3] : rest;
        int colon = rest.LastIndexOf(':');
        bool hasTag = colon >= 0 && !rest[colon..].Contains('/', StringComparison.Ordinal) && !Directory.Exists(rest);
        string named = hasTag ? rest[..colon] : rest;
        if (named.Length == 0)
        {
            throw new HullException($"--share '{text}' names no folder: give DIR[:TAG][:ro]");
        }

        string path = System.IO.Path.GetFullPath(named);
        if (!Directory.Exists(path))
        {
            throw new HullException($"--share {text}: {path} is no folder");
        }

        string tag = hasTag ? rest[(colon + 1)..] : TagOf(path);
        return IsTag(tag)
            ? new ShareRequest(path, tag, readOnly)
            : throw new HullException($"--share {text}: '{tag}' is no tag: give 1 to {MostTagBytes} letters, digits, '.', '_', '-'");
    }

    private static string TagOf(string path)
    {
        string name = System.IO.Path.GetFileName(path.TrimEnd('/'));
        return IsTag(name) ? name : "share";
    }

    private static bool IsTag(string tag) => tag is not ("" or "." or "..") && tag.Length <= MostTagBytes
        && tag.All(static character => char.IsAsciiLetterOrDigit(character) || character is '.' or '_' or '-');
}

/// <summary>How the guest gets the folders that the user shares: devices, drivers, and where init mounts them.</summary>
internal sealed record SharePlan
{
    private const string RootTag = "hull-root";
    private const string HostRoot = "host";

    /// <summary>The devices, in the order of the options; the root's last.</summary>
    internal required IReadOnlyList<DeviceSpec> Devices { get; init; }

    /// <summary>Linux's drivers beyond those of the devices.</summary>
    internal required IReadOnlyList<string> Drivers { get; init; }

    /// <summary>Mounts for init: file system, tag, "ro" or "rw", place.</summary>
    internal required IReadOnlyList<GuestMount> Mounts { get; init; }

    /// <summary>The guest's root; null: the initramfs.</summary>
    internal GuestRoot? Root { get; init; }

    /// <summary>Makes the plan.</summary>
    /// <param name="request">What the user asked for.</param>
    /// <param name="modules">The kernel's; null when its drivers are taken to be built in.</param>
    /// <exception cref="HullException">Two shares have one tag, or the kernel can mount none.</exception>
    internal static SharePlan Make(RunRequest request, KernelModules? modules)
    {
        if (request.Shares.Length == 0 && request.Root is null)
        {
            return new SharePlan { Devices = [], Drivers = [], Mounts = [] };
        }

        bool isFuse = modules is null || modules.Has("virtiofs");
        if (!isFuse && !modules!.Has("9pnet_virtio")) // isFuse is true without modules
        {
            throw new HullException("this kernel has neither virtiofs nor 9p: --share and --root need one: leave KERNEL out");
        }

        string type = isFuse ? "virtiofs" : "9p";
        List<DeviceSpec> devices = [];
        List<GuestMount> mounts = [];
        HashSet<string> tags = new(StringComparer.Ordinal) { RootTag };
        foreach (ShareRequest share in request.Shares)
        {
            if (!tags.Add(share.Tag))
            {
                throw new HullException($"two shares are called '{share.Tag}': give one a tag of its own: --share {share.Path}:TAG");
            }

            devices.Add(DeviceFor(isFuse, share.Path, share.Tag, share.ReadOnly, still: false));
            string place = request.Root == HostRoot ? share.Path : "/mnt/" + share.Tag;
            mounts.Add(new GuestMount(type, share.Tag, share.ReadOnly, place));
        }

        List<string> drivers = [];
        if (request.Root is not null)
        {
            devices.Add(DeviceFor(isFuse, PathOf(request.Root), RootTag, readOnly: true, still: true));
            drivers.Add("overlay");
        }

        return new SharePlan
        {
            Devices = devices,
            Drivers = drivers,
            Mounts = mounts,
            Root = request.Root is null ? null : RootFor(type, request.Root),
        };
    }

    private static string PathOf(string root) => root switch
    {
        HostRoot => "/",
        "" => throw new HullException("--root '' names no folder: give host or DIR"),
        _ => Path.GetFullPath(root),
    };

    private static DeviceSpec DeviceFor(bool isFuse, string path, string tag, bool readOnly, bool still) => isFuse
        ? new FsSpec { Path = path, Tag = tag, ReadOnly = readOnly, Still = still }
        : new P9Spec { Path = path, Tag = tag, ReadOnly = readOnly };

    // The guest starts where the user is, if it can see that place.
    private static GuestRoot RootFor(string type, string root)
    {
        string top = PathOf(root).TrimEnd('/');
        string here = Environment.CurrentDirectory;
        bool isInside = here == top || here.StartsWith(top + "/", StringComparison.Ordinal);
        string directory = isInside && here.Length > top.Length ? here[top.Length..] : "/";
        Dictionary<string, string> environment = [];
        if (root == HostRoot)
        {
            foreach (string name in (ReadOnlySpan<string>)["PATH", "HOME", "USER", "LOGNAME", "LANG"])
            {
                if (Environment.GetEnvironmentVariable(name) is string value)
                {
                    environment[name] = value;
                }
            }
        }

        string shell = root == HostRoot ? Environment.GetEnvironmentVariable("SHELL") ?? "/bin/sh" : "/bin/sh";
        return new GuestRoot(type, RootTag, directory, shell, environment);
    }
}

/// <summary>A mount that init makes.</summary>
internal sealed record GuestMount(string Type, string Tag, bool ReadOnly, string Place);

/// <summary>The guest's root as a copy-on-write view of a share.</summary>
/// <param name="Type">The share's file system.</param>
/// <param name="Tag">The share.</param>
/// <param name="Directory">Where the command or the shell starts.</param>
/// <param name="Shell">The shell of a run without a command.</param>
/// <param name="Environment">Variables to set.</param>
internal sealed record GuestRoot(
    string Type, string Tag, string Directory, string Shell, IReadOnlyDictionary<string, string> Environment)
{
    /// <summary>True when the guest has a /tmp of its own: not when the user is in the host's.</summary>
    internal bool HasOwnTmp => Directory != "/tmp" && !Directory.StartsWith("/tmp/", StringComparison.Ordinal);
}
