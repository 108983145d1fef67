using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.IO;
using System.Text;
using Hull.Files.NineP;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Files;

public sealed class P9ServerTests : IDisposable
{
    private readonly SharedFolder _folder = new();
    private readonly byte[] _reply = new byte[65536];
    private P9Server? _server;

    [Fact]
    public void Version_IsAgreedOn()
    {
        byte[] golden = [21, 0, 0, 0, 100, 0xFF, 0xFF, 0, 0, 2, 0, 8, 0, .. "9P2000.L"u8];
        using P9Server server = new(_folder.Open());
        int length = server.Handle(golden, _reply);
        byte[] expected = [21, 0, 0, 0, 101, 0xFF, 0xFF, 0, 0, 2, 0, 8, 0, .. "9P2000.L"u8];
        Assert.Equal(expected, _reply[..length]);
    }

    [Fact]
    public void FileIsMadeWrittenAndRead()
    {
        Start();
        Assert.Equal(0, Call(P9Type.Walk, [.. D(0), .. D(1), .. W(0)], out _));
        Assert.Equal(0, Call(P9Type.Create, [.. D(1), .. S("new"), .. D(0x8042), .. D(0x1A4), .. D(0)], out _));
        Assert.Equal(0, Call(P9Type.Write, [.. D(1), .. Q(2), .. D(3), .. "abc"u8], out _));
        Assert.Equal(0, Call(P9Type.Read, [.. D(1), .. Q(0), .. D(100)], out byte[] answer));
        Assert.Equal([5, 0, 0, 0, 0, 0, .. "abc"u8], answer);
        Assert.Equal(0, Call(P9Type.Clunk, D(1), out _));
        Assert.Equal("\0\0abc", File.ReadAllText(_folder.Of("new")));
    }

    [Fact]
    public void WalkThatGetsPartOfTheWay_GivesNoFid()
    {
        Start();
        Assert.Equal(0, Call(P9Type.Walk, [.. D(0), .. D(1), .. W(2), .. S("folder"), .. S("nothing")], out byte[] answer));
        Assert.Equal(2 + 13, answer.Length);
        Assert.Equal(Errno.BadDescriptor, Call(P9Type.GetAttr, [.. D(1), .. Q(0x7FF)], out _));
        Assert.Equal(Errno.NoEntry, Call(P9Type.Walk, [.. D(0), .. D(1), .. W(1), .. S("nothing")], out _));
        Assert.Equal(1, _server!.FidCount);
    }

    [Theory]
    [InlineData("..")]
    [InlineData("folder/inner")]
    [InlineData("up/x")]
    public void WalkOutside_IsRefused(string name)
    {
        Start();
        Assert.Equal(Errno.Invalid, Call(P9Type.Walk, [.. D(0), .. D(1), .. W(1), .. S(name)], out _));
    }

    [Fact]
    public void ReadDir_GivesEveryNameOnce()
    {
        for (int i = 0; i < 300; i++)
        {
            File.WriteAllText(_folder.Of($"folder/{i}"), "");
        }

        Start();
        Assert.Equal(0, Call(P9Type.Walk, [.. D(0), .. D(1), .. W(1), .. S("folder")], out _));
        Assert.Equal(0, Call(P9Type.Open, [.. D(1), .. D(0)], out _));
        HashSet<string> names = [];
        ulong offset = 0;
        while (true)
        {
            Assert.Equal(0, Call(P9Type.ReadDir, [.. D(1), .. Q(offset), .. D(512)], out byte[] answer));
            if (answer.Length == 4)
            {
                break;
            }

            for (int at = 4; at < answer.Length;)
            {
                offset = BinaryPrimitives.ReadUInt64LittleEndian(answer.AsSpan(at + 13));
                int length = BinaryPrimitives.ReadUInt16LittleEndian(answer.AsSpan(at + 22));
                Assert.True(names.Add(Encoding.UTF8.GetString(answer, at + 24, length)));
                at += 24 + length;
            }
        }

        Assert.Equal(303, names.Count);
    }

    [Fact]
    public void AttributesOnTheirWay_AreBounded()
    {
        Start();
        int made = 0;
        for (uint fid = 1; fid < 1000; fid++)
        {
            Assert.Equal(0, Call(P9Type.Walk, [.. D(0), .. D(fid), .. W(0)], out _));
            made += Call(P9Type.XAttrCreate, [.. D(fid), .. S("user.a"), .. Q(65536), .. D(0)], out _) == 0 ? 1 : 0;
        }

        Assert.Equal(256, made);
    }

    [Fact]
    public void ReadOnlyShare_RefusesChanges()
    {
        Start(readOnly: true);
        Assert.Equal(Errno.ReadOnly, Call(P9Type.MkDir, [.. D(0), .. S("d"), .. D(0x1ED), .. D(0)], out _));
        Assert.Equal(Errno.ReadOnly, Call(P9Type.UnlinkAt, [.. D(0), .. S("file"), .. D(0)], out _));
        Assert.Equal(Errno.ReadOnly, Call(P9Type.RenameAt, [.. D(0), .. S("file"), .. D(0), .. S("x")], out _));
        Assert.Equal(Errno.ReadOnly, Call(P9Type.SetAttr, [.. D(0), .. D(1), .. new byte[52]], out _));
    }

    public void Dispose()
    {
        _server?.Dispose();
        _folder.Dispose();
    }

    private static byte[] W(ushort value) => [(byte)value, (byte)(value >> 8)];

    private static byte[] D(uint value) => BitConverter.GetBytes(value);

    private static byte[] Q(ulong value) => BitConverter.GetBytes(value);

    private static byte[] S(string text) => [.. W((ushort)Encoding.UTF8.GetByteCount(text)), .. Encoding.UTF8.GetBytes(text)];

    private void Start(bool readOnly = false)
    {
        _server = new P9Server(_folder.Open(readOnly));
        Assert.Equal(0, Call(P9Type.Version, [.. D(65536), .. S("9P2000.L")], out _));
        Assert.Equal(0, Call(P9Type.Attach, [.. D(0), .. D(uint.MaxValue), .. S("root"), .. S(""), .. D(0)], out _));
    }

    private int Call(P9Type type, byte[] body, out byte[] answer)
    {
        byte[] request = [.. D((uint)(7 + body.Length)), (byte)type, 1, 0, .. body];
        int length = _server!.Handle(request, _reply);
        Assert.Equal(length, BinaryPrimitives.ReadInt32LittleEndian(_reply));
        answer = _reply[7..length];
        return _reply[4] == 7 ? BinaryPrimitives.ReadInt32LittleEndian(answer) : 0;
    }
}
