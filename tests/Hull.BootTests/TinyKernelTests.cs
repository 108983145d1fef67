using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Xunit;

namespace Hull.BootTests;

/// <summary>Kernels of a few bytes: what the command says when the guest does one thing.</summary>
public sealed class TinyKernelTests : IDisposable
{
    // nop; vaddps zmm0, zmm1, zmm2. EVEX is not known to Hull's CPU, whatever the host has.
    private static readonly byte[] Vaddps = [0x90, 0x62, 0xF1, 0x74, 0x48, 0x58, 0xC2];

    private readonly string _folder = Directory.CreateTempSubdirectory("hull-test-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void BreakpointWithoutAnIdt_IsATripleFault()
    {
        RunResult result = Run(
            0x0F, 0x01, 0x1D, 0x08, 0x00, 0x10, 0x00, // lidt [zeros]
            0xCC,                                     // int3
            0, 0, 0, 0, 0, 0);                        // zeros

        Assert.True(result.Status == 7, result.ToString());
        Assert.Equal("hull: the guest triple-faulted (rip 0x100007)\n", result.Error);
    }

    [Fact]
    public void UnknownInstruction_IsTheGuestsInvalidOpcode()
    {
        RunResult result = Run(Vaddps);

        Assert.True(result.Status == 7, result.ToString());
        Assert.Equal("hull: the guest triple-faulted (rip 0x100001)\n", result.Error);
    }

    [Fact]
    public void UnknownInstruction_UnderHullStrict_StopsHullAndIsNamed()
    {
        RunResult result = RunStrict(Vaddps);

        Assert.True(result.Status == 125, result.ToString());
        Assert.StartsWith("hull: ", result.Error, StringComparison.Ordinal);
        Assert.True(result.Error.Count(letter => letter == '\n') == 1, $"more than a line: {result.Error}");
        Assert.True(result.Error.Split("rip 0x").Length == 2, $"the place is there twice, or not: {result.Error}");
        Assert.Contains(
            "unknown instruction at rip 0x100001: vaddps zmm0,zmm1,zmm2 (HULL_STRICT)",
            result.Error,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Ud2_UnderHullStrict_IsStillTheGuests()
    {
        RunResult result = RunStrict(0x0F, 0x0B);

        Assert.True(result.Status == 7, result.ToString());
    }

    [Fact]
    public void TextOnCom1AndPowerOff_IsSuccess()
    {
        RunResult result = Run([.. Say("hello"), .. PowerOff()]);

        Assert.True(result.Status == 0, result.ToString());
        Assert.Equal("hello", result.Text);
        Assert.Equal("", result.Error);
    }

    [Fact]
    public void ResetThroughPortCf9_StartsTheGuestAgain()
    {
        string kernel = TinyKernel.Write(_folder, [.. Say("life;"), .. Reset()]);
        using HullRun run = HullRun.Start("run", kernel);

        for (int life = 0; life < 3; life++)
        {
            run.WaitFor("life;");
        }

        run.Signal("TERM");
        Assert.Equal(128 + 15, run.WaitForEnd().Status);
    }

    private RunResult Run(params byte[] code) => HullRun.Hull("run", TinyKernel.Write(_folder, code));

    private RunResult RunStrict(params byte[] code)
    {
        Dictionary<string, string> environment = new() { ["HULL_STRICT"] = "1" };
        using HullRun run = HullRun.StartIn(environment, "run", TinyKernel.Write(_folder, code));
        return run.Finish();
    }

    // mov dx, 0x3F8; then mov al, letter; out dx, al for each.
    private static byte[] Say(string text) =>
        [0x66, 0xBA, 0xF8, 0x03, .. text.SelectMany(static letter => (byte[])[0xB0, (byte)letter, 0xEE])];

    // mov dx, 0x604; mov ax, SLP_EN | SLP_TYP 5; out dx, ax; hlt. ACPI, "PM1 Control Registers".
    private static byte[] PowerOff() => [0x66, 0xBA, 0x04, 0x06, 0x66, 0xB8, 0x00, 0x34, 0x66, 0xEF, 0xF4];

    // mov dx, 0xCF9; mov al, 6 (system reset, reset CPU); out dx, al; hlt.
    private static byte[] Reset() => [0x66, 0xBA, 0xF9, 0x0C, 0xB0, 0x06, 0xEE, 0xF4];
}
