using Hull.Cli.Run;
using Hull.Devices.Virtio;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Cli;

public sealed class NetworksTests
{
    [Fact]
    public void Command_HasNoCard_UnlessAskedFor()
    {
        Assert.Empty(Networks.AddTo(new RunRequest { Command = ["true"] }).Devices);
        Assert.Empty(Networks.AddTo(new RunRequest { Command = ["true"], Nets = ["none"] }).Devices);
        Assert.Empty(Networks.AddTo(new RunRequest { Initrd = "initrd.img" }).Devices);
        Assert.Empty(Networks.AddTo(new RunRequest { Deterministic = true }).Devices);
    }

    [Fact]
    public void Words_AreASpec()
    {
        RunRequest request = Networks.AddTo(new RunRequest { Nets = ["tap=tap0,queues=2", "unplugged"], Pcap = "x.pcap" });
        Assert.Equal([new NetSpec { Tap = "tap0", Queues = 2, Pcap = "x.pcap" }, new NetSpec { Unplugged = true }], request.Devices);
    }

    [Theory]
    [InlineData("bridge=br0", null, null, "user, none or tap=NAME")]
    [InlineData("tap=tap0", "80:80", null, "--publish")]
    [InlineData("none", "80:80", null, "--publish")]
    [InlineData("none", null, "x.pcap", "--pcap")]
    public void WhatDoesNotGoTogether_IsOneClearLine(string net, string? publish, string? pcap, string expected)
    {
        HullException e = Assert.Throws<HullException>(() => Networks.AddTo(new RunRequest
        {
            Nets = [net],
            Publish = publish is null ? [] : [publish],
            Pcap = pcap,
            Command = ["true"],
        }));
        Assert.Contains(expected, e.Message, System.StringComparison.Ordinal);
    }
}
