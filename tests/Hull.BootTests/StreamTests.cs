using System;
using System.Diagnostics;
using System.IO;
using System.Security.Cryptography;
using Xunit;

namespace Hull.BootTests;

/// <summary>The standard streams of a command, where more goes over them than the serial ports are left with.</summary>
public sealed class StreamTests : IDisposable
{
    // What a guest's init leaves to the serial ports: a chunk of input, a part of output.
    private const int Chunk = 32 << 10;
    private const int Part = 256 << 10;

    private readonly string _folder = Directory.CreateTempSubdirectory("hull-streams").FullName;

    [Theory]
    [InlineData(Chunk - 1)]
    [InlineData(Chunk)]
    [InlineData(Chunk + 1)]
    [InlineData((3 * Chunk) + 5000)]
    [InlineData(Part)]
    [InlineData(Part + 1)]
    [InlineData(48 << 20)]
    public void Bytes_GoInAndComeBackUnchanged(int size)
    {
        byte[] input = new byte[size];
        new Random(size).NextBytes(input);
        RunResult result = HullRun.HullReading(input, "run", "--", "cat");

        Assert.True(result is { Status: 0, Error: "" } && result.Output.Length == size, $"status {result.Status}, {result.Output.Length} bytes\n{result.Error}");
        Assert.Equal(SHA256.HashData(input), SHA256.HashData(result.Output));
    }

    [Fact]
    public void OutputAndError_AreWholeAndApart_OverTheChangeOfPorts()
    {
        const string script = "for i in $(seq 1 50); do echo $i; echo $i >&2; done; seq 51 90000; seq 51 80000 >&2; exit 7";
        RunResult result = HullRun.HullReading(new byte[100], "run", "--", "sh", "-c", script);

        Assert.Equal(7, result.Status);
        Assert.Equal(Numbers(90_000), result.Text);
        Assert.Equal(Numbers(80_000), result.Error);
    }

    [Fact]
    public void LoadingOfDrivers_IsLeftToThoseThatMoveMuch()
    {
        const string script = "seq 100; ls /sys/bus/virtio 2>/dev/null; seq 60000 >&2; usleep 500000; ls /sys/class/virtio-ports | wc -l";
        RunResult result = HullRun.Hull("run", "--", "sh", "-c", script);

        Assert.True(result.Status == 0 && result.Text == Numbers(100) + "3\n", result.Text);
    }

    [Fact]
    public void GuestThatFindsNoPorts_UsesTheSerialPorts()
    {
        byte[] input = new byte[400_000];
        new Random(2).NextBytes(input);
        RunResult result = HullRun.HullReading(input, "run", "--append", "pci=off", "--", "cat");

        Assert.True(result.Status == 0 && result.Output.AsSpan().SequenceEqual(input), $"{result.Output.Length} bytes came back\n{result.Error}");
    }

    [Fact]
    public void Xen_HasThemToo()
    {
        byte[] input = new byte[8 << 20];
        new Random(3).NextBytes(input);
        RunResult result = HullRun.HullReading(input, "run", "--xen", "--", "cat");

        Assert.True(result.Status == 0 && result.Output.AsSpan().SequenceEqual(input), $"{result.Output.Length} bytes came back\n{result.Error}");
    }

    [Fact]
    public void LateReader_GetsAllThatTheCommandWrote()
    {
        RunResult result = Shell("{ \"$H\" run -- dd if=/dev/zero bs=1M count=9 2>/dev/null; echo status $? >&2; } | (sleep 6; wc -c)");

        Assert.Equal(("9437184\n", "status 0\n"), (result.Text, result.Error));
    }

    [Fact]
    public void ReaderThatStopped_DoesNotHoldTheTimeLimit()
    {
        Stopwatch time = Stopwatch.StartNew();
        RunResult result = Shell("mkfifo f; sleep 100 <f & \"$H\" run --timeout 4 -- yes >f; echo $?; kill $!");

        Assert.True(result.Text == "124\n" && time.Elapsed < TimeSpan.FromSeconds(80), $"{result} after {time.Elapsed}");
    }

    [Fact]
    public void ProcessLeftBehind_ThatGoesOnWriting_DoesNotHoldTheEnd()
    {
        RunResult result = Shell("\"$H\" run -- sh -c 'yes & sleep 0.2; exit 5' >/dev/null; echo $?");

        Assert.Equal("5\n", result.Text);
    }

    [Fact]
    public void WriterThatNeverEnds_IsLeft_WhenTheCommandHasEnough()
    {
        RunResult result = Shell("yes | \"$H\" run -- sh -c 'head -c 1000000 | tail -c 4; exit 3'; echo ${PIPESTATUS[1]}");

        Assert.Equal("y\ny\n3\n", result.Text);
    }

    [Theory]
    [InlineData("echo little")]
    [InlineData("seq 100000")]
    public void FullHostFile_IsNamed_WhateverTheCommandsStatus(string command)
    {
        RunResult result = Shell($"\"$H\" run -- {command} >/dev/full; echo $?");

        Assert.Equal(("125\n", "hull: standard output (/dev/full) fails: No space left on device\n"), (result.Text, result.Error));
    }

    [Fact]
    public void ClosedInput_IsEmpty()
    {
        RunResult result = Shell("\"$H\" run -- head -c 10 <&-; echo $?");

        Assert.Equal("0\n", result.Text);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static string Numbers(int last)
    {
        System.Text.StringBuilder text = new();
        for (int i = 1; i <= last; i++)
        {
            text.Append(i).Append('\n');
        }

        return text.ToString();
    }

    private RunResult Shell(string script) =>
        HullRun.StartProgram("bash", "-c", $"cd '{_folder}'; H='{Checkout.Hull}'; {script}").Finish();
}
