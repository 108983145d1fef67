using Hull.Host;
using Hull.Net;
using Xunit;

namespace Hull.Tests.Net;

public sealed class PublishedPortTests
{
    [Theory]
    [InlineData("8080:80", "8080:80", false)]
    [InlineData("127.0.0.1:2222:22", "127.0.0.1/2222:22", false)]
    [InlineData("[::1]:5353:53/udp", "::1/5353:53", true)]
    [InlineData("1:65535/tcp", "1:65535", false)]
    public void Port_IsWhatPasstReads(string text, string expected, bool isUdp)
    {
        PublishedPort port = PublishedPort.Parse(text);
        Assert.Equal(expected, port.ToPasst());
        Assert.Equal(isUdp, port.IsUdp);
    }

    [Theory]
    [InlineData("")]
    [InlineData("80")]
    [InlineData("0:80")]
    [InlineData("80:65536")]
    [InlineData("1.2.3:80:80")]
    [InlineData("300.0.0.1:80:80")]
    [InlineData("::1:80:80")]
    [InlineData("80:80/sctp")]
    [InlineData("80:80,81:81")]
    [InlineData("-h/80:80")]
    public void AnythingElse_IsOneClearLine(string text)
    {
        HullException e = Assert.Throws<HullException>(() => PublishedPort.Parse(text));
        Assert.Contains("[ADDRESS:]HOST:GUEST[/udp]", e.Message, System.StringComparison.Ordinal);
    }
}
