using System.Collections.Generic;
using System.Globalization;
using System.Text;
using Hull.Boot.Initramfs;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Boot;

public sealed class InitramfsBuilderTests
{
    [Fact]
    public void Archive_ReadsBackWithModesDevicesAndContent()
    {
        byte[] archive = new InitramfsBuilder()
            .AddText("/init", "#!/bin/sh\n")
            .AddLink("/bin/ls", "busybox")
            .AddStandardDevices()
            .Build();

        Dictionary<string, Entry> entries = Parse(archive);

        Assert.Equal((0x81EDu, "#!/bin/sh\n"), (entries["init"].Mode, entries["init"].Content));
        Assert.Equal((0xA1FFu, "busybox"), (entries["bin/ls"].Mode, entries["bin/ls"].Content));
        Assert.Equal((0x2180u, 5u, 1u), (entries["dev/console"].Mode, entries["dev/console"].Major, entries["dev/console"].Minor));
        Assert.Equal((4u, 66u), (entries["dev/ttyS2"].Major, entries["dev/ttyS2"].Minor));
        Assert.Equal(0x41EDu, entries["bin"].Mode);
    }

    [Fact]
    public void ParentDirectories_ComeBeforeWhatIsInThem()
    {
        List<string> names = [.. Parse(new InitramfsBuilder().AddText("/a/b/c", "x").Build()).Keys];

        Assert.Equal(["a", "a/b", "a/b/c"], names);
    }

    [Fact]
    public void SameEntriesInOtherOrder_GiveTheSameBytes()
    {
        byte[] one = new InitramfsBuilder().AddText("/x", "1").AddText("/y/z", "2").Build();
        byte[] two = new InitramfsBuilder().AddText("/y/z", "2").AddText("/x", "1").Build();

        Assert.Equal(one, two);
    }

    [Fact]
    public void Busybox_GetsALinkForEachApplet()
    {
        byte[] busybox = [0x7F, (byte)'E', (byte)'L', (byte)'F', 1, 2, 3];

        InitramfsBuilder builder = new InitramfsBuilder().AddBusybox(busybox, ["sh", "busybox", "ls"]);
        Dictionary<string, Entry> entries = Parse(builder.Build());

        Assert.Equal("busybox", entries["bin/sh"].Content);
        Assert.Equal(0x81EDu, entries["bin/busybox"].Mode);
        Assert.Equal("bin", entries["sbin"].Content);
        Assert.Equal(0x43FFu, entries["tmp"].Mode);
    }

    [Fact]
    public void BusyboxThatIsNoExecutable_IsRefused() =>
        Assert.Throws<HullException>(() => new InitramfsBuilder().AddBusybox("#!/bin/sh"u8.ToArray(), []));

    [Theory]
    [InlineData("")]
    [InlineData("/")]
    [InlineData("a//b")]
    public void PathThatNamesNothing_IsRefused(string path) =>
        Assert.Throws<HullException>(() => new InitramfsBuilder().AddText(path, ""));

    private static Dictionary<string, Entry> Parse(byte[] archive)
    {
        Dictionary<string, Entry> entries = [];
        int at = 0;
        while (true)
        {
            Assert.Equal("070701", Encoding.ASCII.GetString(archive, at, 6));
            uint Field(int index) => uint.Parse(
                Encoding.ASCII.GetString(archive, at + 6 + (8 * index), 8),
                NumberStyles.HexNumber,
                CultureInfo.InvariantCulture);
            int nameLength = (int)Field(11);
            int length = (int)Field(6);
            string name = Encoding.UTF8.GetString(archive, at + 110, nameLength - 1);
            int content = (at + 110 + nameLength + 3) & ~3;
            if (name == "TRAILER!!!")
            {
                Assert.Equal(archive.Length, content);
                return entries;
            }

            entries.Add(name, new Entry(
                Field(1),
                Field(9),
                Field(10),
                Encoding.UTF8.GetString(archive, content, length)));
            at = (content + length + 3) & ~3;
        }
    }

    private sealed record Entry(uint Mode, uint Major, uint Minor, string Content);
}
