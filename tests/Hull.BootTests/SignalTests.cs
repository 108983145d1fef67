using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
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

    [Theory]
    [InlineData("INT", 130)]
    [InlineData("TERM", 143)]
    [InlineData("HUP", 129)]
    public void WhileAKernelIsFetched_LeavesNothing(string signal, int status)
    {
        // A package client that is slow: it stands where the host's is looked for first.
        string folder = Directory.CreateTempSubdirectory("hull-signal").FullName;
        try
        {
            WriteProgram(Path.Combine(folder, "apt-cache"), "echo '  Depends: linux-image-slow'");
            WriteProgram(Path.Combine(folder, "apt-get"), $"touch partial.deb; echo $$ >{folder}/pid; exec sleep 1000");
            Dictionary<string, string> environment = new()
            {
                ["PATH"] = $"{folder}:{Environment.GetEnvironmentVariable("PATH")}",
                ["XDG_DATA_HOME"] = Path.Combine(folder, "data"),
            };
            using HullRun run = HullRun.StartIn(environment, "run", "--net", "none", "--", "true");
            string pid = Path.Combine(folder, "pid");
            while (!File.Exists(pid) || File.ReadAllText(pid).Length < 2)
            {
                System.Threading.Thread.Sleep(20);
            }

            run.Signal(signal);

            Assert.Equal(status, run.WaitForEnd().Status);
            Assert.Empty(Directory.GetFileSystemEntries(Path.Combine(folder, "data", "hull", "kernels")));
            Assert.False(Directory.Exists($"/proc/{File.ReadAllText(pid).Trim()}"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void ReaderThatGoesAway_EndsTheGuest()
    {
        using HullRun run = HullRun.Start("run", "--", "yes");

        run.WaitFor("y\ny\n");
        run.CloseOutput();

        Assert.Equal(141, run.WaitForEnd().Status);
    }

    private static void WriteProgram(string path, string script)
    {
        File.WriteAllText(path, "#!/bin/sh\n" + script + "\n");
        using Process chmod = Process.Start("chmod", ["+x", path]);
        chmod.WaitForExit();
    }
}
