using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using Hull.Storage;
using Hull.Storage.Qcow2;
using Xunit;

namespace Hull.Tests.Storage;

/// <summary>An image that somebody cuts while it is in use: what is lost must not read as zeros, nor a flush succeed.</summary>
public sealed class CutImageTests : IDisposable
{
    private readonly ImageFolder _folder = new();

    [Theory]
    [InlineData(DiskFormat.Raw)]
    [InlineData(DiskFormat.Qcow2)]
    public void WhatIsLost_IsAnError_UntilTheFileIsWhole(DiskFormat format)
    {
        string path = _folder["disk"];
        DiskTool.Create(path, format, 16 << 20, new Qcow2Options());
        using IByteStore store = DiskImage.Open(path, format, readOnly: false);
        byte[] bytes = new byte[1 << 20];
        new Random(1).NextBytes(bytes);
        store.Write(8 << 20, bytes);
        store.Flush();
        string length = new FileInfo(path).Length.ToString(CultureInfo.InvariantCulture);

        Truncate(path, "600K");
        byte[] read = new byte[1 << 20];
        IOException e = Assert.Throws<IOException>(() => store.Read(8 << 20, read));
        Assert.Contains($"{path} ends at {600 << 10}", e.Message, StringComparison.Ordinal);
        Assert.Throws<IOException>(store.Flush);

        Truncate(path, length);
        store.Read(8 << 20, read);
        store.Write(8 << 20, bytes);
        store.Flush();
        store.Read(8 << 20, read);
        Assert.Equal(bytes, read);
    }

    [Fact]
    public void Clusters_ThatWereNeverWhollyWritten_StillReadAsZeros()
    {
        string path = _folder["disk.qcow2"];
        DiskTool.Create(path, DiskFormat.Qcow2, 16 << 20, new Qcow2Options());
        using IByteStore store = DiskImage.Open(path, DiskFormat.Qcow2, readOnly: false);
        store.Write(512, [1]);
        byte[] read = new byte[64 << 10];
        store.Read(0, read);

        Assert.Equal(512, read.AsSpan().IndexOf((byte)1));
        Assert.Equal(-1, read.AsSpan(513).IndexOfAnyExcept((byte)0));
    }

    public void Dispose() => _folder.Dispose();

    private static void Truncate(string path, string length)
    {
        using Process process = Process.Start("truncate", ["-s", length, path]);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}
