using System;
using Hull.Cli.Guest;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Cli;

public sealed class RunArgumentsTests
{
    [Theory]
    [InlineData("512", 512ul << 20)]
    [InlineData("512M", 512ul << 20)]
    [InlineData("1g", 1ul << 30)]
    [InlineData("65536K", 64ul << 20)]
    [InlineData("2T", 2ul << 40)]
    public void Size_IsRead(string text, ulong bytes)
    {
        Assert.True(ByteSize.TryParse(text, out ulong read));
        Assert.Equal(bytes, read);
    }

    [Theory]
    [InlineData("")]
    [InlineData("M")]
    [InlineData("0")]
    [InlineData("-1")]
    [InlineData("1.5G")]
    [InlineData("5x")]
    [InlineData(" 5")]
    [InlineData("99999999999999999999")]
    [InlineData("99999999T")]
    public void NoSize_IsRefused(string text) => Assert.False(ByteSize.TryParse(text, out _));

    [Theory]
    [InlineData("", true, "console=ttyS0 panic=-1 quiet")]
    [InlineData("", false, "console=ttyS0 panic=-1")]
    [InlineData("panic=5 root=/dev/vda", false, "console=ttyS0 panic=5 root=/dev/vda")]
    [InlineData("console=hvc0", true, "panic=-1 quiet console=hvc0")]
    [InlineData("debug consoleblank=0", true, "console=ttyS0 panic=-1 quiet debug consoleblank=0")]
    public void CommandLine_AddsWhatTheUserDoesNotName(string append, bool quiet, string line) =>
        Assert.Equal(line, GuestImage.CommandLineFor(append, "ttyS0", quiet));

    [Theory]
    [InlineData("plain", "'plain'")]
    [InlineData("", "''")]
    [InlineData("it's", "'it'\\''s'")]
    [InlineData("$x `y` \"z\"\n", "'$x `y` \"z\"\n'")]
    public void Word_IsQuotedForTheShell(string word, string quoted) => Assert.Equal(quoted, GuestSettings.Quote(word));

    [Fact]
    public void Settings_AreAShellScript()
    {
        GuestSettings settings = new()
        {
            Mode = GuestMode.Command,
            FeedInput = true,
            Window = (24, 80),
            Term = "xterm",
            HostName = "tub",
            Command = ["echo", "a b"],
        };

        Assert.Equal(
            "mode=command\nstdin=feed\nrows=24\ncolumns=80\nhostname='tub'\nexport TERM='xterm'\nconsole=/dev/ttyS0\nports=0\nset -- 'echo' 'a b'\n",
            settings.ToShell());
        Assert.Contains("\nstreams=ports\n", (settings with { HasStreamPorts = true }).ToShell(), StringComparison.Ordinal);
    }
}
