using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Xunit;

namespace Hull.BootTests;

/// <summary>
/// Random changes to files on shared folders (`file-changes.c`), which the guest checks at each step and the host at the end; and a
/// host that swaps what the guest walks through.
/// </summary>
public sealed class FileChangeTests : IDisposable
{
    private const int Steps = 8000;

    private readonly string _folder = Directory.CreateTempSubdirectory("hull-changes").FullName;

    [ToolFact("gcc")]
    public void TwoGuestsOnOneShare_ChangeTheirFiles_AndTheHostSeesTheSame()
    {
        Compile();
        HullRun[] runs = [Start(41), Start(42)];
        for (int i = 0; i < runs.Length; i++)
        {
            AssertSame(runs[i].Finish(), 41 + i);
        }
    }

    [GuestFact(TestGuest.GenericKernel)]
    public void NineP_HasWhatTheGuestWrote()
    {
        Compile();
        const string mount = "mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=mmap s /mnt";
        AssertSame(
            HullRun.Hull("run", Checkout.GenericKernel!, "--device", $"p9,path={_folder},tag=s", "--", "sh", "-c",
                $"{mount} && exec /mnt/file-changes /mnt/43 43 {Steps} hij"),
            43);
    }

    [Fact]
    public async Task LinkThatTheHostSwaps_NeverLeadsOutside()
    {
        string outside = Directory.CreateDirectory(Path.Combine(_folder, "outside")).FullName;
        string share = Directory.CreateDirectory(Path.Combine(_folder, "share")).FullName;
        string inside = Directory.CreateDirectory(Path.Combine(share, "d")).FullName;
        File.WriteAllText(Path.Combine(inside, "f"), "inside\n");
        File.WriteAllText(Path.Combine(outside, "f"), "outside\n");
        using CancellationTokenSource over = new();
        int swaps = 0;
        Task swapping = Task.Run(() =>
        {
            string away = Path.Combine(share, "away");
            for (; !over.IsCancellationRequested; swaps++)
            {
                Directory.Move(inside, away);
                File.CreateSymbolicLink(inside, outside);
                Thread.Yield();
                File.Delete(inside);
                Directory.Move(away, inside);
                Thread.Sleep(2); // the guest believes what it finds for a second
            }
        });
        RunResult result = HullRun.Hull("run", "--share", $"{share}:s", "--", "sh", "-c",
            "for i in $(seq 1500); do cat /mnt/s/d/f; ls /mnt/s/d >/dev/null; done 2>/dev/null | sort | uniq -c");
        await over.CancelAsync();
        await swapping;

        Assert.True(swaps > 100 && result.Status == 0, $"{swaps} swaps; {result}");
        Assert.Matches("^ *[0-9]+ inside\n$", result.Text);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private HullRun Start(int seed) => HullRun.Start("run", "--share", $"{_folder}:s", "--", "/mnt/s/file-changes",
        $"/mnt/s/{seed}", seed.ToString(CultureInfo.InvariantCulture), Steps.ToString(CultureInfo.InvariantCulture));

    // The program says the size and the FNV-1a sum that it expects.
    private void AssertSame(RunResult result, int seed)
    {
        Assert.True(result.Status == 0, $"seed {seed}: {result}");
        byte[] content = File.ReadAllBytes(Path.Combine(_folder, seed.ToString(CultureInfo.InvariantCulture)));
        ulong sum = 14695981039346656037;
        foreach (byte value in content)
        {
            sum = unchecked((sum ^ value) * 1099511628211);
        }

        Assert.Equal(string.Create(CultureInfo.InvariantCulture, $"{content.Length} {sum:x16}\n"), result.Text);
    }

    private void Compile()
    {
        using Process gcc = Process.Start("gcc", ["-O1", "-static", "-w", "-o", Path.Combine(_folder, "file-changes"),
            Path.Combine(Checkout.Root, "tests", "Hull.BootTests", "file-changes.c")]);
        gcc.WaitForExit();
        Assert.Equal(0, gcc.ExitCode);
    }
}
