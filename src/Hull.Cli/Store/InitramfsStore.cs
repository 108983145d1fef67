using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Hull.Boot;
using Hull.Boot.Initramfs;
using Hull.Host;

namespace Hull.Cli.Store;

/// <summary>
/// The base of Hull's own initramfs: the host's static busybox, a link for each applet, devices and
/// directories. It is built once for each busybox and kept in the cache; what differs from run to run (/init,
/// the command) is a second, small archive, which the kernel unpacks over the first.
/// </summary>
internal sealed class InitramfsStore(DiskBootCache cache, HostPackages packages)
{
    // Raise it when what is built changes.
    private const int Layout = 1;
    private const string Package = "busybox-static";

    private static readonly string[] Places = ["/usr/bin/busybox", "/bin/busybox"];

    /// <summary>
    /// The base archive, as bytes: its file may go before the machine is built, when another Hull makes room in the cache.
    /// Installs busybox-static where it is missing and Hull is root.
    /// </summary>
    /// <exception cref="HullException">There is no static busybox; says what to run.</exception>
    internal async Task<byte[]> GetBaseAsync(CancellationToken cancellation)
    {
        if (!HostPackages.IsInstalled(Package))
        {
            await packages.EnsureAsync([Package], cancellation).ConfigureAwait(false);
        }

        FileInfo busybox = new(Array.Find(Places, File.Exists) ??
            throw new HullException(
                $"{Package} has no busybox in /usr/bin: run: sudo apt-get install --reinstall {Package}"));
        string key = string.Create(
            CultureInfo.InvariantCulture,
            $"initramfs-{Layout}-{busybox.Length:x}-{busybox.LastWriteTimeUtc.Ticks:x}");
        if (Find(key) is byte[] kept)
        {
            return kept;
        }

        byte[] archive = await BuildAsync(busybox.FullName, cancellation).ConfigureAwait(false);
        Keep(key, archive);
        return archive;
    }

    /// <summary>The small second archive: one init script, and what else the caller adds.</summary>
    internal static BootBlob WithInit(string script, Action<InitramfsBuilder>? add = null)
    {
        InitramfsBuilder builder = new();
        builder.AddText("/init", script);
        add?.Invoke(builder);
        return BootBlob.FromBytes("Hull's init", builder.Build());
    }

    private static async Task<byte[]> BuildAsync(string busybox, CancellationToken cancellation)
    {
        CommandResult list = await HostCommand.RunAsync(busybox, ["--list"], null, cancellation).ConfigureAwait(false);
        if (list.ExitCode != 0)
        {
            throw new HullException($"{busybox} --list failed: {list.Reason}");
        }

        IEnumerable<string> applets = list.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        byte[] content = await File.ReadAllBytesAsync(busybox, cancellation).ConfigureAwait(false);
        return new InitramfsBuilder().AddStandardDevices().AddBusybox(content, applets).Build();
    }

    // The cached archive, if it is there and ends as archives do.
    private byte[]? Find(string key)
    {
        using Stream? file = cache.Open(key);
        if (file is null)
        {
            return null;
        }

        byte[] archive = new byte[file.Length];
        int got = file.ReadAtLeast(archive, archive.Length, throwOnEndOfStream: false);
        return got == archive.Length && archive.AsSpan()[^Math.Min(64, got)..].IndexOf("TRAILER!!!"u8) >= 0 ? archive : null;
    }

    private void Keep(string key, byte[] archive)
    {
        using IBootCacheDraft? draft = cache.Create(key);
        if (draft is null)
        {
            return;
        }

        try
        {
            draft.Content.Write(archive);
            draft.Commit();
        }
        catch (IOException)
        {
            // A full disk: the archive is built again next time.
        }
    }
}
