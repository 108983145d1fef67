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

/// <summary>The base of Hull's initramfs.</summary>
/// <param name="Key">Says all that its content depends on.</param>
/// <param name="Archive">Its content.</param>
internal sealed record InitramfsBase(string Key, BootBlob Archive);

/// <summary>
/// The base of Hull's own initramfs: the host's static busybox, a link for each applet, devices and
/// directories. It is built once for each busybox and kept in the cache; what differs from run to run (/init,
/// the command) is a second, small archive, which the kernel unpacks over the first.
/// </summary>
internal sealed class InitramfsStore(CachedFiles files, HostPackages packages)
{
    // Raise it when what is built changes.
    private const int Layout = 2;
    private const string Package = "busybox-static";

    private static readonly string[] Places = ["/usr/bin/busybox", "/bin/busybox"];

    /// <summary>The base archive. Installs busybox-static where it is missing and Hull is root.</summary>
    /// <exception cref="HullException">There is no static busybox; says what to run.</exception>
    internal async Task<InitramfsBase> GetBaseAsync(CancellationToken cancellation)
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
        BootBlob archive = await files.GetAsync(key, "Hull's initramfs", () => BuildAsync(busybox.FullName, cancellation))
            .ConfigureAwait(false);
        return new InitramfsBase(key, archive);
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
}
