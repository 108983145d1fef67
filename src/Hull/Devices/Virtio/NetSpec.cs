using System;
using System.Globalization;
using System.IO;
using System.Text;
using System.Text.Json.Serialization;
using Hull.Host;
using Hull.Memory;
using Hull.Net;

namespace Hull.Devices.Virtio;

/// <summary>A network card. Without anything said, the user's own network, through passt.</summary>
public sealed record NetSpec : DeviceSpec
{
    /// <summary>The host's ports that lead to the guest, with blanks between them: <c>[ADDRESS:]HOST:GUEST[/udp]</c>.</summary>
    public string? Publish { get; init; }

    /// <summary>A tap device of the host's, instead of the user's own network.</summary>
    public string? Tap { get; init; }

    /// <summary>A card without a cable.</summary>
    public bool Unplugged { get; init; }

    /// <summary>A switch that cards of this process's machines share, instead of the user's own network.</summary>
    [JsonIgnore]
    public EthernetSwitch? Switch { get; init; }

    /// <summary>A file that gets all frames, as libpcap writes them.</summary>
    public string? Pcap { get; init; }

    /// <summary>The card's address, as in 02:48:75:6c:6c:01; without it, one that Hull makes.</summary>
    public string? Mac { get; init; }

    /// <summary>The largest payload of a frame, 1280 to 65520 bytes; 0: the network's.</summary>
    public int Mtu { get; init; }

    /// <summary>Pairs of queues, up to 8; 0: one for each vCPU, up to four.</summary>
    public int Queues { get; init; }

    /// <inheritdoc/>
    [JsonIgnore]
    public override string LinuxDriver => "virtio_net";

    /// <summary>The network is the user's own, which needs passt.</summary>
    [JsonIgnore]
    public bool NeedsPasst => Tap is null && Switch is null && !Unplugged;

    /// <inheritdoc/>
    internal override VirtioDevice Create(DeviceContext context)
    {
        NetCard card = Open(context);
        return new NetDevice(context, card.Port, card.Mac, card.Pairs);
    }

    /// <summary>Opens the network behind the card, whatever the guest's driver is.</summary>
    /// <exception cref="HullException">What it needs of the host is not there.</exception>
    internal NetCard Open(DeviceContext context)
    {
        if (Queues is < 0 or > NetDevice.MaximumPairs)
        {
            throw new HullException($"net: {Queues} queues: give 1 to {NetDevice.MaximumPairs}");
        }

        if (Mtu is not 0 and (< 1280 or > PasstPort.GreatestMtu))
        {
            throw new HullException($"net: mtu={Mtu}: give 1280 to {PasstPort.GreatestMtu}");
        }

        if (Publish is not null && !NeedsPasst)
        {
            throw new HullException("net: only the user's own network publishes ports: leave out publish, or tap");
        }

        if (context.IsDeterministic && !Unplugged)
        {
            throw new HullException("--deterministic: nobody outside keeps virtual time: --net none");
        }

        byte[] mac = MacOf(context.Index);
        int pairs = Queues == 0 ? Math.Min(context.VcpuCount, 4) : Queues;
        return new NetCard(CreatePort(mac, context.Notice), mac, pairs);
    }

    private IEthernetPort CreatePort(byte[] mac, Action<string> notice)
    {
        IEthernetPort port = Unplugged ? new UnpluggedPort()
            : Switch is not null ? Switch.Attach(Mtu)
            : Tap is not null ? new TapPort(Tap, Mtu, notice)
            : new PasstPort(mac, Mtu, PublishedPort.ParseAll(Publish), notice);
        try
        {
            return Pcap is null ? port : new CapturedPort(port, Pcap, notice);
        }
        catch (HullException)
        {
            port.Dispose();
            throw;
        }
    }

    // Behind passt the guest is alone. On a tap others may be: the address is this host's and tap's, and stays. On a
    // switch it is a new one each time.
    private byte[] MacOf(int index)
    {
        if (Mac is not null)
        {
            return ParseMac(Mac);
        }

        byte[] mac = [0x02, (byte)'H', (byte)'u', (byte)'l', (byte)'l', (byte)index];
        if (Switch is not null)
        {
            HostRandom.Fill(mac.AsSpan(1));
        }
        else if (Tap is not null)
        {
            string host = File.Exists("/etc/machine-id") ? File.ReadAllText("/etc/machine-id") : Environment.MachineName;
            StateHash hash = default;
            hash.Add(Encoding.UTF8.GetBytes(host + Tap));
            BitConverter.GetBytes(hash.Value).AsSpan(0, 5).CopyTo(mac.AsSpan(1));
        }

        return mac;
    }

    private static byte[] ParseMac(string text)
    {
        string[] parts = text.Split(':');
        byte[] mac = new byte[EthernetFrame.AddressBytes];
        bool good = parts.Length == mac.Length;
        for (int i = 0; i < mac.Length && good; i++)
        {
            good = byte.TryParse(parts[i], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out mac[i]);
        }

        return good && (mac[0] & 1) == 0 ? mac
            : throw new HullException($"mac={text}: give six bytes in hexadecimal, the first one even: 02:48:75:6c:6c:01");
    }
}

/// <summary>A card before it has a driver: its end of a network, its address, the most pairs of queues.</summary>
internal readonly record struct NetCard(IEthernetPort Port, byte[] Mac, int Pairs);
