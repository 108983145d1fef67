using System;
using System.Diagnostics;
using System.IO;
using System.Linq;
using Xunit;

namespace Hull.BootTests;

/// <summary>
/// Hypercalls with wild arguments, and what a guest may do with them: the answers are real Xen 4.17's, whom `./check xen` asks again.
/// </summary>
public sealed class XenProbeTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("hull-test-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [ToolFact("cc")]
    public void EveryHypercall_AnswersAsRealXen()
    {
        string probe = Path.Combine(Checkout.Root, "tests", "xen", "probe");
        string kernel = Path.Combine(_folder, "kernel");
        Start(Path.Combine(probe, "build"), kernel);

        RunResult result = HullRun.Hull("run", kernel, "--xen", "-c", "2", "-m", "64", "--net", "none");

        Assert.True(result.Status == 0, result.ToString());
        string output = Path.Combine(_folder, "output");
        File.WriteAllText(output, result.Text);
        string[] answers = Start("/bin/sh", "-c", $"'{probe}/mask' <'{output}'").Split('\n');
        string[] expected = File.ReadAllLines(Path.Combine(probe, "answers"));
        Assert.True(expected.Length > 800, "real Xen's answers are missing");
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], answers.ElementAtOrDefault(i));
        }
    }

    private static string Start(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!; // not by the shell
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        return output;
    }
}
