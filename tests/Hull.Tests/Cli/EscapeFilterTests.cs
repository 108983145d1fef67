using System.Text;
using Hull.Cli.Run;
using Xunit;

namespace Hull.Tests.Cli;

public sealed class EscapeFilterTests
{
    private readonly EscapeFilter _filter = new();

    [Theory]
    [InlineData("ls -l\r", "ls -l\r")]
    [InlineData("\x01\x01", "\x01")]
    [InlineData("\x01" + "a", "\x01")]
    [InlineData("\x01z", "\x01z")]
    [InlineData("\x03\x1b[A", "\x03\x1b[A")]
    public void WhatIsNoEscape_GoesToTheGuest(string typed, string forGuest) =>
        Assert.Equal((EscapeAction.None, forGuest, typed.Length), Type(typed));

    [Theory]
    [InlineData("ab\x01xcd", EscapeAction.Quit, "ab", 4)]
    [InlineData("ab\x01hcd", EscapeAction.Help, "ab", 4)]
    public void Escape_StopsBehindItsKey(string typed, object action, string forGuest, int used) =>
        Assert.Equal(((EscapeAction)action, forGuest, used), Type(typed));

    [Fact]
    public void Escape_MayComeInTwoReads()
    {
        Assert.Equal((EscapeAction.None, "", 1), Type("\x01"));
        Assert.Equal((EscapeAction.Quit, "", 1), Type("x"));
    }

    private (EscapeAction Action, string ForGuest, int Used) Type(string typed)
    {
        byte[] forGuest = new byte[typed.Length + 2];
        EscapeAction action = _filter.Filter(Encoding.Latin1.GetBytes(typed), forGuest, out int length, out int used);
        return (action, Encoding.Latin1.GetString(forGuest, 0, length), used);
    }
}
