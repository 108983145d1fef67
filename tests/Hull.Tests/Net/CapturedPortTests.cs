using System;
using System.IO;
using Hull.Host;
using Hull.Net;
using Xunit;

namespace Hull.Tests.Net;

public sealed class CapturedPortTests
{
    [Fact]
    public void Frames_AreInTheFile_AsSoonAsTheyAreSent()
    {
        string path = Path.GetTempFileName();
        using CapturedPort port = new(new UnpluggedPort(), path, static _ => { });
        port.Put(Frames.Plain(60, 1), default);
        port.Put(Frames.Plain(1000, 2), default);

        byte[] file = new byte[24 + 16 + 60 + 16 + 1000];
        using (FileStream reader = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite))
        {
            Assert.Equal(file.Length, reader.Length);
            reader.ReadExactly(file);
        }

        Assert.Equal("D4C3B2A1" + "0200" + "0400" + "0000000000000000" + "00000400" + "01000000", Convert.ToHexString(file, 0, 24));
        Assert.Equal("3C000000" + "3C000000", Convert.ToHexString(file, 32, 8));
        Assert.Equal(Frames.Plain(1000, 2), file[(24 + 16 + 60 + 16)..]);
        File.Delete(path);
    }

    [Theory]
    [InlineData("/nowhere/x.pcap")]
    [InlineData("/dev/full")]
    public void FileThatCannotBeMade_IsOneClearLine(string path)
    {
        HullException e = Assert.Throws<HullException>(() => new CapturedPort(new UnpluggedPort(), path, static _ => { }));
        Assert.Contains(path, e.Message, StringComparison.Ordinal);
    }
}
