using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Text.Json;
using Xunit;

namespace Hull.Tests.Storage;

/// <summary>A fact that needs qemu-img and qemu-io: the first one installs them, or all say why they are skipped.</summary>
internal sealed class QemuFactAttribute : FactAttribute
{
    public QemuFactAttribute() => Skip = QemuTools.WhyNot.Value;
}

/// <summary>As <see cref="QemuFactAttribute"/>, with data.</summary>
internal sealed class QemuTheoryAttribute : TheoryAttribute
{
    public QemuTheoryAttribute() => Skip = QemuTools.WhyNot.Value;
}

/// <summary>QEMU's own tools: what they say of an image is the measure.</summary>
internal static class QemuTools
{
    /// <summary>Why they cannot be used; null when they can.</summary>
    internal static readonly Lazy<string?> WhyNot = new(() =>
    {
        if (!File.Exists("/usr/bin/qemu-io") && Environment.IsPrivilegedProcess)
        {
            _ = TryRun("apt-get", ["install", "-y", "--no-install-recommends", "-q", "qemu-utils"]);
        }

        return File.Exists("/usr/bin/qemu-io") ? null : "no qemu-utils: run: sudo apt-get install qemu-utils";
    });

    /// <summary>Runs qemu-img; it must succeed.</summary>
    internal static string Image(params string[] arguments) => Run("qemu-img", arguments);

    /// <summary>Runs commands of qemu-io's on a qcow2 image.</summary>
    internal static void Io(string image, IEnumerable<string> commands)
    {
        List<string> arguments = ["-f", "qcow2"];
        foreach (string command in commands)
        {
            arguments.AddRange(["-c", command]);
        }

        string output = Run("qemu-io", [.. arguments, image]);
        Assert.False(output.Contains("failed", StringComparison.Ordinal), output);
    }

    /// <summary>qemu-img check finds neither errors nor leaks.</summary>
    internal static void AssertClean(string image, string context)
    {
        (int status, string output) = TryRun("qemu-img", ["check", "-f", "qcow2", image]);
        Assert.True(status == 0, $"{context}: qemu-img check: status {status}\n{output}");
    }

    /// <summary>The guest of an image sees these bytes.</summary>
    internal static void AssertContent(string image, byte[] content, string context)
    {
        string raw = image + ".expected";
        File.WriteAllBytes(raw, content);
        (int status, string output) = TryRun("qemu-img", ["compare", "-f", "qcow2", "-F", "raw", image, raw]);
        File.Delete(raw);
        Assert.True(status == 0, $"{context}: qemu-img compare: status {status}\n{output}");
    }

    /// <summary>What qemu-img map says of an image is so: what is zeros, and where in the file the rest is.</summary>
    internal static void AssertMap(string image, byte[] content, string context)
    {
        byte[] file = File.ReadAllBytes(image);
        using JsonDocument map = JsonDocument.Parse(Image("map", "-f", "qcow2", "--output=json", image));
        int at = 0;
        foreach (JsonElement extent in map.RootElement.EnumerateArray())
        {
            int length = extent.GetProperty("length").GetInt32();
            Assert.True(extent.GetProperty("start").GetInt32() == at && at + length <= content.Length, $"{context}: qemu-img map: {extent}");
            ReadOnlySpan<byte> bytes = content.AsSpan(at, length);
            at += length;
            if (extent.GetProperty("zero").GetBoolean())
            {
                Assert.True(bytes.IndexOfAnyExcept((byte)0) < 0, $"{context}: qemu-img map says zeros: {extent}");
            }
            else if (extent.GetProperty("depth").GetInt32() == 0 && extent.TryGetProperty("offset", out JsonElement offset))
            {
                Assert.True(bytes.SequenceEqual(file.AsSpan(offset.GetInt32(), length)), $"{context}: qemu-img map has other bytes: {extent}");
            }
        }

        Assert.True(at == content.Length, $"{context}: qemu-img map ends at {at}");
    }

    /// <summary>Runs a program.</summary>
    internal static (int Status, string Output) TryRun(string program, IEnumerable<string> arguments)
    {
        ProcessStartInfo info = new(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        info.Environment["LC_ALL"] = "C";
        using Process process = Process.Start(info)!; // a new process: never null
        System.Threading.Tasks.Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + error.GetAwaiter().GetResult());
    }

    private static string Run(string program, string[] arguments)
    {
        (int status, string output) = TryRun(program, arguments);
        Assert.True(status == 0, $"{program} {string.Join(' ', arguments)}: status {status}\n{output}");
        return output;
    }
}

/// <summary>A folder for images, in memory where the host has one, gone at the end.</summary>
internal sealed class ImageFolder : IDisposable
{
    private readonly string _path = Path.Combine(
        Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath(), $"hull-images-{Guid.NewGuid():n}");

    internal ImageFolder() => Directory.CreateDirectory(_path);

    internal string this[string name] => Path.Combine(_path, name);

    public void Dispose() => Directory.Delete(_path, recursive: true);
}
