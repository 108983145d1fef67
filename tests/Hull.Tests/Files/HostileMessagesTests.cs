using System;
using System.Buffers.Binary;
using System.IO;
using System.Text;
using Hull.Files.Fuse;
using Hull.Files.NineP;
using Xunit;

namespace Hull.Tests.Files;

/// <summary>Messages that no kernel sends, to both servers: an answer inside the room, and nothing outside the folder.</summary>
public sealed class HostileMessagesTests : IDisposable
{
    private const int Seed = 20261122;
    private readonly SharedFolder _folder = new();
    private readonly string[] _names = ["file", "folder", "inner", "up", "root", "fifo", "..", ".", "", "a/b", "secret", "x", new('n', 300)];

    [Theory]
    [InlineData(500_000)]
    public void Fuse_SurvivesAnything(int cases)
    {
        using FuseServer server = new(_folder.Open(), new FuseOptions { ValidSeconds = 1 });
        Random random = new(Seed);
        int done = 0;
        byte[] request = new byte[512];
        byte[] reply = new byte[4096];
        for (int i = 0; i < cases; i++)
        {
            int length = Fill(random, request, 40);
            BinaryPrimitives.WriteUInt32LittleEndian(request, random.Next(20) == 0 ? (uint)random.Next() : (uint)length);
            BinaryPrimitives.WriteUInt32LittleEndian(request.AsSpan(4), (uint)random.Next(54));
            BinaryPrimitives.WriteUInt64LittleEndian(request.AsSpan(16), (ulong)random.Next(24));
            int room = random.Next(5) == 0 ? random.Next(200) : 4096;
            int bytes = server.Handle(request.AsSpan(0, length), reply.AsSpan(0, room));
            Assert.InRange(bytes, 0, room);
            done += bytes >= 16 && BinaryPrimitives.ReadInt32LittleEndian(reply.AsSpan(4)) == 0 ? 1 : 0;
        }

        Assert.True(done > cases / 100, $"only {done} requests did something");
        AssertOutsideIsWhole();
    }

    [Theory]
    [InlineData(500_000)]
    public void NineP_SurvivesAnything(int cases)
    {
        using P9Server server = new(_folder.Open());
        Random random = new(Seed);
        int done = 0;
        byte[] request = new byte[512];
        byte[] reply = new byte[4096];
        ReadOnlySpan<byte> types = [8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32, 40, 50, 52, 54, 70, 72, 74, 76, 100, 104, 108, 110, 110, 110, 116, 118, 120, 122, 255];
        for (int i = 0; i < cases; i++)
        {
            int length = Fill(random, request, 7, lengths: true);
            BinaryPrimitives.WriteUInt32LittleEndian(request, random.Next(20) == 0 ? (uint)random.Next() : (uint)length);
            request[4] = types[random.Next(types.Length)];

            // A new session would end what the others have built up.
            request[4] = request[4] == 100 && random.Next(50) != 0 ? (byte)104 : request[4];
            int room = random.Next(5) == 0 ? random.Next(64) : 4096;
            int bytes = server.Handle(request.AsSpan(0, length), reply.AsSpan(0, room));
            Assert.InRange(bytes, 0, room);
            done += bytes > 0 && reply[4] != 7 ? 1 : 0;
        }

        Assert.True(done > cases / 100, $"only {done} messages did something");

        AssertOutsideIsWhole();
    }

    public void Dispose() => _folder.Dispose();

    // Small numbers, names and rubbish in a row.
    private int Fill(Random random, byte[] request, int header, bool lengths = false)
    {
        int length = random.Next(header, request.Length);
        random.NextBytes(request.AsSpan(0, length));
        for (int at = header; at + 8 < length;)
        {
            if (random.Next(3) != 0)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(request.AsSpan(at), random.Next(8) == 0 ? (uint)random.Next() : (uint)random.Next(16));
                at += 4;
                continue;
            }

            byte[] name = Encoding.ASCII.GetBytes(_names[random.Next(_names.Length)]);
            int prefix = lengths ? 2 : 0;
            if (at + prefix + name.Length + 1 > length)
            {
                break;
            }

            if (lengths)
            {
                BinaryPrimitives.WriteUInt16LittleEndian(request.AsSpan(at), (ushort)name.Length);
            }

            name.CopyTo(request, at + prefix);
            at += prefix + name.Length;
            request[at] = 0;
            at += lengths ? 0 : 1;
        }

        return length;
    }

    private void AssertOutsideIsWhole()
    {
        Assert.Equal(SharedFolder.Secret, File.ReadAllText(_folder.SecretPath));
        Assert.Equal(2, Directory.GetFileSystemEntries(Path.GetDirectoryName(_folder.SecretPath)!).Length);
    }
}
