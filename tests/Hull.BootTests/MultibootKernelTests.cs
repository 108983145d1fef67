using System;
using System.IO;
using System.Linq;
using System.Text.Json;
using Xunit;

namespace Hull.BootTests;

/// <summary>Multiboot kernels of a few bytes, through the command: arguments, modules, the exit port, the counters.</summary>
public sealed class MultibootKernelTests : IDisposable
{
    private const uint LoadAddress = 0x10_0000;
    private const int HeaderSize = 32;

    private readonly string _folder = Directory.CreateTempSubdirectory("hull-test-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(0u, 1)]
    [InlineData(0x10u, 0x21)]
    [InlineData(0x81u, 3)]
    public void ExitPort_EndsWithTwiceTheValueAndOne(uint value, int status)
    {
        RunResult result = HullRun.Hull("run", Write(Exit(value)), "--exit-port", "0xf4");

        Assert.True(result.Status == status, result.ToString());
        Assert.Equal("", result.Error);
    }

    [Fact]
    public void CommandLine_IsThePathAndTheWords()
    {
        string kernel = Write([.. PrintTextAt(16), .. Exit(0)]);

        RunResult result = HullRun.Hull("run", kernel, "--append", "one two", "--exit-port", "244");

        Assert.Equal(kernel + " one two", result.Text);
    }

    [Fact]
    public void Modules_AreToldByTheirWords_TheRamDiskFirst()
    {
        string file = Path.Combine(_folder, "module");
        File.WriteAllText(file, "content");
        string kernel = Write([.. PrintModules(), .. Exit(0)]);

        RunResult result = HullRun.Hull(
            "run", kernel, "--initrd", file, "--module", file + " a b", "--module", file, "--exit-port", "0xf4");

        Assert.Equal($"{file}{file} a b{file}", result.Text);
    }

    [Fact]
    public void TestDevice_IsThereOnlyWhenAsked()
    {
        // mov dx, 0xE0; mov al, 0x2A; out dx, al; mov al, 0; in al, dx; movzx eax, al; then the exit port.
        byte[] probe = [0x66, 0xBA, 0xE0, 0, 0xB0, 0x2A, 0xEE, 0xB0, 0, 0xEC, 0x0F, 0xB6, 0xC0, 0x66, 0xBA, 0xF4, 0, 0xEF, 0xF4];
        string kernel = Write(probe);

        Assert.Equal(0x55, HullRun.Hull("run", kernel, "--exit-port", "0xf4", "--testdev").Status);
        Assert.Equal(0xFF, HullRun.Hull("run", kernel, "--exit-port", "0xf4").Status);
    }

    [Theory]
    [InlineData("--exit-port 0x3f8: a device has a port", "--exit-port", "0x3f8")]
    [InlineData("--exit-port '70000'", "--exit-port", "70000")]
    [InlineData("needs a Linux kernel", "--", "true")]
    [InlineData("cannot open module /nowhere/x", "--module", "/nowhere/x y")]
    public void BadArguments_AreOneLineAnd125(string part, params string[] arguments)
    {
        RunResult result = HullRun.Hull(["run", Write(Exit(0)), .. arguments]);

        Assert.True(result.Status == 125, result.ToString());
        Assert.True(result.Error.Count(letter => letter == '\n') == 1, $"more than a line: {result.Error}");
        Assert.Contains(part, result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Stat_IsATableOnStandardError()
    {
        RunResult result = HullRun.Hull("run", Write(Exit(0)), "--exit-port", "0xf4", "--stat");

        Assert.Equal("", result.Text);
        string line = Assert.Single(result.Error.Split('\n'), static l => l.StartsWith("translations ", StringComparison.Ordinal));
        Assert.InRange(int.Parse(line.Split(' ')[^1], System.Globalization.CultureInfo.InvariantCulture), 1, 10);
    }

    [Fact]
    public void StatAsJson_IsTheLastLineOfStandardError()
    {
        RunResult result = HullRun.Hull("run", Write(Exit(0)), "--exit-port", "0xf4", "--stat", "-o", "json");

        using JsonDocument json = JsonDocument.Parse(result.Error.TrimEnd('\n').Split('\n')[^1]);
        Assert.Equal("soft", json.RootElement.GetProperty("engine").GetString());
        Assert.InRange(json.RootElement.GetProperty("counters").GetProperty("translations").GetInt32(), 1, 10);
    }

    // mov dx, 0xF4; mov eax, value; out dx, eax; hlt.
    private static byte[] Exit(uint value) => [0x66, 0xBA, 0xF4, 0, 0xB8, .. BitConverter.GetBytes(value), 0xEF, 0xF4];

    // mov esi, [ebx+field]; then the loop.
    private static byte[] PrintTextAt(byte field) => [0x8B, 0x73, field, .. PrintLoop()];

    // mov dx, COM1; lodsb; test al, al; jz out; out dx, al; jmp lodsb.
    private static byte[] PrintLoop() => [0x66, 0xBA, 0xF8, 0x03, 0xAC, 0x84, 0xC0, 0x74, 0x03, 0xEE, 0xEB, 0xF8];

    // mov ecx, [ebx+20]; mov edi, [ebx+24]; next: mov esi, [edi+8]; print; add edi, 16; dec ecx; jnz next.
    private static byte[] PrintModules() =>
    [
        0x8B, 0x4B, 0x14, 0x8B, 0x7B, 0x18, 0x8B, 0x77, 0x08, .. PrintLoop(), 0x83, 0xC7, 0x10, 0x49, 0x75, 0xEB,
    ];

    // A file of no format: the header with its addresses, then code.
    private string Write(byte[] code)
    {
        const uint magic = 0x1BAD_B002;
        const uint flags = 0x1_0003;
        uint entry = LoadAddress + HeaderSize;
        uint[] header = [magic, flags, unchecked(0 - magic - flags), LoadAddress, LoadAddress, 0, 0, entry];
        byte[] file = new byte[HeaderSize + code.Length];
        Buffer.BlockCopy(header, 0, file, 0, HeaderSize);
        code.CopyTo(file, HeaderSize);
        string path = Path.Combine(_folder, "kernel.bin");
        File.WriteAllBytes(path, file);
        return path;
    }
}
