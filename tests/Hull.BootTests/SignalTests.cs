using Xunit;

namespace Hull.BootTests;

public sealed class SignalTests
{
    [Fact]
    public void Sigterm_LetsTheCommandCleanUp()
    {
        using HullRun run = HullRun.Start("run", "--", "sh", "-c", "trap 'echo cleaned; exit' TERM; echo up; sleep 1000 & wait");

        run.WaitFor("up\n");
        run.Signal("TERM");
        RunResult result = run.WaitForEnd();

        Assert.True(result is { Status: 143, Text: "cleaned\n" }, result.ToString());
    }

    [Fact]
    public void Sigterm_PowersTheConsolesGuestOff()
    {
        using HullRun run = HullRun.Start("run");

        run.WaitFor("/root # ");
        run.Signal("TERM");
        RunResult result = run.WaitForEnd();

        Assert.True(result.Status == 143, result.ToString());
        Assert.Contains("Power down", result.Text, System.StringComparison.Ordinal);
    }

    [Fact]
    public void Sigint_EndsAtOnce()
    {
        using HullRun run = HullRun.Start("run", "--", "sh", "-c", "echo up; sleep 1000");

        run.WaitFor("up\n");
        run.Signal("INT");

        Assert.Equal(130, run.WaitForEnd().Status);
    }

    [Fact]
    public void ReaderThatGoesAway_EndsTheGuest()
    {
        using HullRun run = HullRun.Start("run", "--", "yes");

        run.WaitFor("y\ny\n");
        run.CloseOutput();

        Assert.Equal(141, run.WaitForEnd().Status);
    }
}
