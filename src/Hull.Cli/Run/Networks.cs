using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Cli.Guest;
using Hull.Cli.Store;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Host;

namespace Hull.Cli.Run;

/// <summary>
/// Which network cards a run has. Asked for nothing, a console and a guest with a disk have one on the user's own network; a
/// command, another's RAM disk and a deterministic run have none, because most need none and all would wait for it.
/// </summary>
internal static class Networks
{
    private const string Package = "passt";
    private const string None = "none";

    /// <summary>The request with its cards among the devices.</summary>
    /// <exception cref="HullException">What the user asked for is none, or the host lacks what it needs.</exception>
    internal static RunRequest AddTo(RunRequest request, CancellationToken cancellation = default)
    {
        bool isAsked = request.Nets.Length > 0 || request.Publish.Length > 0 || request.Pcap is not null;
        if (!isAsked && !IsUseful(request))
        {
            return request;
        }

        List<DeviceSpec> devices = [.. request.Devices];
        devices.AddRange(Parse(request));
        if (devices.Exists(static device => device is NetSpec { NeedsPasst: true }) && !HasPasst(isAsked, cancellation))
        {
            return request;
        }

        return request with { Devices = [.. devices] };
    }

    /// <summary>True when init has a card to set up.</summary>
    internal static bool IsIn(RunRequest request) =>
        Array.Exists(request.Devices, static device => device is NetSpec { Unplugged: false });

    private static bool IsUseful(RunRequest request) => !request.Deterministic
        && !Array.Exists(request.Devices, static device => device is NetSpec)
        && (Array.Exists(request.Devices, static device => device is DiskSpec)
            ? request.Command.Length == 0
            : request is { Command.Length: 0, Initrd: null, Kernel: null });

    private static List<NetSpec> Parse(RunRequest request)
    {
        string[] names = request.Nets.Length > 0 ? request.Nets : ["user"];
        List<NetSpec> cards = [];
        foreach (string name in names)
        {
            if (name != None)
            {
                cards.Add((NetSpec)DeviceText.ParseNet(name));
            }
        }

        if (request.Publish.Length > 0)
        {
            int user = cards.FindIndex(static card => card.NeedsPasst);
            if (user < 0)
            {
                throw new HullException("--publish needs the user's own network: --net user");
            }

            cards[user] = cards[user] with { Publish = string.Join(' ', request.Publish) };
        }

        if (request.Pcap is not null)
        {
            if (cards.Count == 0)
            {
                throw new HullException("--pcap needs a network card: leave out --net none");
            }

            cards[0] = cards[0] with { Pcap = request.Pcap };
        }

        return cards;
    }

    // A network that nobody asked for is left out where it cannot be had, with a word about it.
    private static bool HasPasst(bool isAsked, CancellationToken cancellation)
    {
        if (HostPackages.IsInstalled(Package) || HostCommand.Exists(Package))
        {
            return true;
        }

        try
        {
            new HostPackages(new GuestImage.Progress()).EnsureAsync([Package], cancellation).GetAwaiter().GetResult();
            return true;
        }
        catch (HullException e) when (!isAsked)
        {
            Notice.Write($"no network for the guest: {e.Message} (or --net none)");
            return false;
        }
    }
}
