using System;
using System.Diagnostics;
using System.IO;
using Hull.Host;
using Hull.Storage;
using Xunit;

namespace Hull.Tests.Storage;

/// <summary>Hull and QEMU's tools keep off each other's images.</summary>
public sealed class ImageLockTests : IDisposable
{
    private readonly ImageFolder _folder = new();
    private readonly string _image;

    public ImageLockTests()
    {
        _image = _folder["disk.img"];
        File.WriteAllBytes(_image, new byte[1 << 20]);
    }

    [QemuFact]
    public void ImageThatHullWrites_IsRefusedByQemu()
    {
        using IByteStore store = DiskImage.Open(_image, DiskFormat.Raw, readOnly: false);
        (int status, string output) = QemuTools.TryRun("qemu-io", ["-f", "raw", "-c", "write 0 512", _image]);
        Assert.NotEqual(0, status);
        Assert.Contains("lock", output, StringComparison.Ordinal);
    }

    [QemuFact]
    public void ImageThatHullReads_CanBeReadByQemuButNotWritten()
    {
        using IByteStore store = DiskImage.Open(_image, DiskFormat.Raw, readOnly: true);
        Assert.Equal(0, QemuTools.TryRun("qemu-io", ["-r", "-f", "raw", "-c", "read 0 512", _image]).Status);
        Assert.NotEqual(0, QemuTools.TryRun("qemu-io", ["-f", "raw", "-c", "write 0 512", _image]).Status);
    }

    [QemuFact]
    public void ImageThatQemuWrites_IsRefusedByHull()
    {
        ProcessStartInfo info = new("qemu-io", ["-f", "raw", _image])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        using Process holder = Process.Start(info)!; // a new process: never null
        holder.StandardInput.WriteLine("write 0 512");
        while (holder.StandardOutput.ReadLine() is { } line && !line.Contains("wrote", StringComparison.Ordinal))
        {
        }

        HullException e = Assert.Throws<HullException>(() => DiskImage.Open(_image, DiskFormat.Raw, readOnly: true));
        Assert.Contains(_image, e.Message, StringComparison.Ordinal);
        holder.StandardInput.Close();
        holder.WaitForExit();
        DiskImage.Open(_image, DiskFormat.Raw, readOnly: true).Dispose();
    }

    [Fact]
    public void Readers_ShareAnImage_AndKeepWritersOff()
    {
        using IByteStore one = DiskImage.Open(_image, DiskFormat.Raw, readOnly: true);
        using IByteStore other = DiskImage.Open(_image, DiskFormat.Raw, readOnly: true);
        Assert.Throws<HullException>(() => DiskImage.Open(_image, DiskFormat.Raw, readOnly: false));
    }

    [Fact]
    public void CreatingAnImageThatIsInUse_LeavesItAsItIs()
    {
        using IByteStore store = DiskImage.Open(_image, DiskFormat.Raw, readOnly: true);
        Assert.Throws<HullException>(() => ImageFile.Create(_image));
        Assert.Equal(1 << 20, new FileInfo(_image).Length);
    }

    public void Dispose() => _folder.Dispose();
}
