using Xunit;

namespace Hull.BootTests;

public sealed class ConsoleTests
{
    private const string Prompt = "/root # ";

    [Fact]
    public void Shell_ComputesWhatIsTyped_AndPowerOffEndsWithZero()
    {
        using HullRun run = HullRun.StartOnTerminal("run");

        run.WaitFor(Prompt);
        run.Type("echo $((6*7))\r");
        run.WaitFor("\n42\r");
        run.WaitFor(Prompt);
        run.Type("poweroff\r");

        Assert.Equal(0, run.WaitForEnd().Status);
    }

    [Fact]
    public void CtrlC_StopsTheCommand_NotTheShell()
    {
        using HullRun run = HullRun.StartOnTerminal("run");

        run.WaitFor(Prompt);

        // The command's own process says that it has begun: before it runs in the foreground, Ctrl-C goes to the shell.
        run.Type("sh -c 'echo begun; exec sleep 1000'; echo not''reached\r");
        run.WaitFor("\nbegun\r");
        run.Type("\x03");
        run.WaitFor(Prompt);
        run.Type("echo alive-$((1+1))\r");
        run.WaitFor("\nalive-2\r");
        run.Type("exit 3\r");

        Assert.Equal(3, run.WaitForEnd().Status);
    }

    [Fact]
    public void WindowSize_IsTheTerminals()
    {
        using HullRun run = HullRun.StartOnTerminal("run");

        run.WaitFor(Prompt);
        run.Type("stty size\r");
        run.WaitFor("\n40 120\r");
        run.Type("\x01x");

        Assert.Equal(0, run.WaitForEnd().Status);
    }

    [Fact]
    public void EscapeKey_HelpsAndLeaves()
    {
        using HullRun run = HullRun.StartOnTerminal("run");

        run.WaitFor(Prompt);
        run.Type("\x01h");
        run.WaitFor("Ctrl-A x");
        run.Type("\x01x");

        Assert.Equal(0, run.WaitForEnd().Status);
    }

    [Fact]
    public void Reboot_StartsTheGuestAgain()
    {
        using HullRun run = HullRun.StartOnTerminal("run");

        run.WaitFor(Prompt);
        run.Type("touch /tmp/first-life; reboot\r");
        run.WaitFor("BusyBox");
        run.WaitFor(Prompt);
        run.Type("ls /tmp/first-life; echo again-$((1+1))\r");
        run.WaitFor("No such file");
        run.WaitFor("\nagain-2\r");
        run.Type("poweroff\r");

        Assert.Equal(0, run.WaitForEnd().Status);
    }

    [Fact]
    public void CommandOnATerminal_HasATerminal()
    {
        using HullRun run = HullRun.StartOnTerminal("run -- sh -c 'tty; stty size; read x; echo got-$x; exit 4'");

        run.WaitFor("/dev/ttyS1");
        run.WaitFor("40 120");
        run.Type("word\r");
        run.WaitFor("got-word");

        Assert.Equal(4, run.WaitForEnd().Status);
    }

    [Fact]
    public void Terminal_IsRestored()
    {
        using HullRun run = HullRun.StartScript($"{Checkout.Hull} run --timeout 5; echo status-$?; stty -a");

        run.WaitFor("status-124");
        RunResult end = run.WaitForEnd();

        Assert.Contains(" icanon", end.Text, System.StringComparison.Ordinal);
        Assert.Contains(" echo ", end.Text, System.StringComparison.Ordinal);
    }

    [Fact]
    public void ConsoleWithoutATerminal_TakesLinesFromAPipe()
    {
        using HullRun run = HullRun.Start("run");

        run.WaitFor(Prompt);
        run.Type("echo piped-$((1+1))\n");
        run.WaitFor("piped-2");
        run.Type("poweroff\n");

        Assert.Equal(0, run.WaitForEnd().Status);
    }
}
