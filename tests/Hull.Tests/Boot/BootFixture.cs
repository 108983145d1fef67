using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using Hull.Boot;
using Hull.Host;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Boot;

/// <summary>
/// What the tests of the loaders share: a guest of 16 MiB, and short ways to load and to look.
/// </summary>
public abstract class BootFixture : IDisposable
{
    internal GuestMemory Memory { get; } = new(16UL << 20);

    public void Dispose()
    {
        Memory.Dispose();
        GC.SuppressFinalize(this);
    }

    internal static BootRequest Request(byte[] kernel) => new()
    {
        Kernel = BootBlob.FromBytes("test-kernel", kernel),
        CommandLine = "console=ttyS0 quiet",
    };

    internal LoadedKernel Load(byte[] kernel) => BootLoader.Load(Memory, Request(kernel));

    internal string Refusal(byte[] kernel) => Refusal(Request(kernel));

    internal string Refusal(BootRequest request)
    {
        string message = Assert.Throws<HullException>(() => BootLoader.Load(Memory, request)).Message;
        Assert.DoesNotContain('\n', message);
        return message;
    }

    internal byte[] Read(ulong at, int length)
    {
        byte[] bytes = new byte[length];
        Assert.True(Memory.TryRead(new GuestPhysical(at), bytes));
        return bytes;
    }

    internal T Read<T>(ulong at)
        where T : unmanaged => Memory.Read<T>(new GuestPhysical(at));

    internal string ReadText(ulong at)
    {
        byte[] raw = Read(at, 256);
        return Encoding.UTF8.GetString(raw, 0, Array.IndexOf(raw, (byte)0));
    }

    internal void FillMemory()
    {
        byte[] dirt = new byte[1 << 20];
        Array.Fill(dirt, (byte)0xEE);
        for (ulong at = 0; at < Memory.Size; at += (ulong)dirt.Length)
        {
            Memory.TryWrite(new GuestPhysical(at), dirt);
        }
    }
}

/// <summary>A cache in memory that counts.</summary>
internal sealed class MemoryCache : IBootCache
{
    internal Dictionary<string, byte[]> Blobs { get; } = [];

    internal int Opened { get; private set; }

    internal int Committed { get; private set; }

    public Stream? Open(string key)
    {
        if (!Blobs.TryGetValue(key, out byte[]? blob))
        {
            return null;
        }

        Opened++;
        return new MemoryStream(blob, false);
    }

    public IBootCacheDraft? Create(string key) => new Draft(this, key);

    private sealed class Draft(MemoryCache cache, string key) : IBootCacheDraft
    {
        private readonly MemoryStream _content = new();

        public Stream Content => _content;

        public void Commit()
        {
            cache.Committed++;
            cache.Blobs[key] = _content.ToArray();
        }

        public void Dispose() => _content.Dispose();
    }
}
