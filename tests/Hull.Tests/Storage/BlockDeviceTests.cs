using System;
using System.Diagnostics;
using System.IO;
using Hull.Host;
using Hull.Storage;
using Xunit;

namespace Hull.Tests.Storage;

/// <summary>An image that is a block device of the host's: a loop device.</summary>
public sealed class BlockDeviceTests : IDisposable
{
    private const int Size = 8 << 20;

    private readonly ImageFolder _folder = new();
    private string? _device;

    [LoopFact]
    public void BlockDevice_IsADiskOfItsLength_AndKeepsWhatIsWritten()
    {
        byte[] bytes = new byte[1 << 20];
        new Random(1).NextBytes(bytes);
        using (IByteStore disk = DiskImage.Open(Attach(), DiskFormat.ByEnding, readOnly: false))
        {
            Assert.Equal((ulong)Size, disk.Length);
            disk.Write(Size - (1 << 20), bytes);
            disk.Write(0, bytes);
            disk.WriteZeroes(4096, 64 << 10, mayFree: true);
            disk.Discard(512, 512);
            disk.Flush();
            byte[] read = new byte[1 << 20];
            disk.Read(Size - (1 << 20), read);
            Assert.Equal(bytes, read);
            disk.Read(0, read);
            Assert.Equal(-1, read.AsSpan(4096, 64 << 10).IndexOfAnyExcept((byte)0));
            Assert.Equal(bytes[(4096 + (64 << 10))..], read[(4096 + (64 << 10))..]);
            Assert.Throws<HullException>(() => DiskImage.Open(_device!, DiskFormat.ByEnding, readOnly: true));
        }

        Assert.Equal(bytes, File.ReadAllBytes(_folder["disk"])[(Size - (1 << 20))..]);
    }

    [LoopFact]
    public void BlockDevice_IsCopiedWhole()
    {
        byte[] bytes = new byte[Size];
        new Random(2).NextBytes(bytes);
        string device = Attach(bytes);
        using ImageFile file = ImageFile.Open(device, readOnly: true);
        Assert.Equal((ulong)Size, file.Length);
        Assert.Equal((ulong)Size, file.FindRun(0, out bool isHole));
        Assert.False(isHole);
    }

    public void Dispose()
    {
        if (_device is not null)
        {
            LoopFactAttribute.Run("-d", _device);
        }

        _folder.Dispose();
    }

    private string Attach(byte[]? bytes = null)
    {
        File.WriteAllBytes(_folder["disk"], bytes ?? new byte[Size]);
        return _device = LoopFactAttribute.Run("-f", "--show", _folder["disk"])
            ?? throw new InvalidOperationException("losetup makes no device");
    }
}

/// <summary>A fact that needs a loop device; skipped where there is none to be had.</summary>
internal sealed class LoopFactAttribute : FactAttribute
{
    public LoopFactAttribute() =>
        Skip = Environment.IsPrivilegedProcess && Run("-f") is string device && File.Exists(device)
            ? null : "no loop device: run as root, where /dev/loop-control is";

    /// <summary>Runs losetup.</summary>
    /// <returns>What it says; null when it fails.</returns>
    internal static string? Run(params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo("losetup", arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            string text = process.StandardOutput.ReadToEnd().Trim();
            process.WaitForExit();
            return process.ExitCode == 0 ? text : null;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null; // there is no losetup
        }
    }
}
