using System.Linq;
using System.Text;
using Xunit;

namespace Hull.Tests;

public sealed class ConsoleTailTests
{
    private readonly ConsoleTail _tail = new(3);

    [Fact]
    public void LastLines_AreKept_WithTheUnfinishedOne()
    {
        Write("one\r\ntwo\nthree\nfour\nfi");

        Assert.Equal(["two", "three", "four", "fi"], _tail.ToArray());
    }

    [Fact]
    public void Panic_IsFound_ByteByByte()
    {
        foreach (char letter in "[    1.2] Kernel panic - not syncing: sysrq triggered crash\r\nmore\n")
        {
            Write(letter.ToString());
        }

        Assert.Equal("sysrq triggered crash", _tail.Panic);
        Assert.False(_tail.SawRestart);
    }

    // After the first line Linux starts its crash kernel (kdump), where there is one, and says none of what follows.
    [Theory]
    [InlineData("[    1.9] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\r\n")]
    [InlineData("[    1.9] Rebooting in 30 seconds..\r\n")]
    public void Panic_IsOver_WhenTheKernelSaysThatItStays(string last)
    {
        Write(last.Replace("end Kernel panic - not syncing", "end of something", System.StringComparison.Ordinal));
        Assert.False(_tail.PanicIsOver);

        Write("[    1.2] Kernel panic - not syncing: sysrq triggered crash\r\n[    1.3] Call Trace:\r\n");
        Assert.False(_tail.PanicIsOver);

        Write(last);
        Assert.True(_tail.PanicIsOver);
        Assert.Equal("sysrq triggered crash", _tail.Panic);

        _tail.Clear();
        Assert.False(_tail.PanicIsOver);
    }

    [Fact]
    public void Restart_IsFound_AndForgotten()
    {
        Write("[    3.1] reboot: Restarting system\n");
        Assert.True(_tail.SawRestart);

        _tail.Clear();

        Assert.False(_tail.SawRestart);
        Assert.Null(_tail.Panic);
        Assert.Empty(_tail.ToArray());
    }

    [Fact]
    public void EscapeSequencesOfTheGuest_DoNotReachTheUsersTerminal()
    {
        Write("a\x1b]0;title\x07" + "b\n");

        Assert.Equal("a.]0;title.b", _tail.ToArray().Single());
    }

    [Fact]
    public void EndlessLine_IsCut()
    {
        Write(new string('x', 100_000) + "\n");

        Assert.Equal(400, _tail.ToArray().Single().Length);
    }

    private void Write(string text) => _tail.Write(Encoding.Latin1.GetBytes(text));
}
