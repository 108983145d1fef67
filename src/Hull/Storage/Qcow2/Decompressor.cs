using System;
using System.Collections.Generic;
using System.IO;
using System.IO.Compression;
using System.Threading;
using Hull.Host;

namespace Hull.Storage.Qcow2;

/// <summary>
/// Unpacks clusters and keeps the last few, since a guest reads a cluster in pieces. Any thread. QEMU's
/// docs/interop/qcow2.txt, "Compressed Clusters Descriptor".
/// </summary>
internal sealed class Decompressor(IImageFile file, ClusterLayout layout, bool usesZstd)
{
    private const int CacheBytes = 4 << 20;

    private readonly Lock _lock = new();
    private readonly LinkedList<(ulong Descriptor, byte[] Content)> _recent = [];
    private readonly int _capacity = Math.Clamp(CacheBytes / layout.ClusterSize, 2, 16);

    /// <summary>Copies from a packed cluster.</summary>
    /// <exception cref="Qcow2Damage">It is no packed cluster.</exception>
    /// <exception cref="IOException">The host cannot read.</exception>
    internal void Read(ulong descriptor, int offset, Span<byte> destination)
    {
        byte[] content = Find(descriptor) ?? Unpack(descriptor);
        content.AsSpan(offset, destination.Length).CopyTo(destination);
    }

    /// <summary>The bytes of the file that a descriptor stands for.</summary>
    internal static (ulong Offset, int Length) Range(ClusterLayout layout, ulong descriptor)
    {
        int offsetBits = 62 - (layout.ClusterBits - 8);
        ulong offset = descriptor & ((1UL << offsetBits) - 1);
        int sectors = (int)((descriptor & (Qcow2Format.Compressed - 1)) >> offsetBits) + 1;
        return (offset, (sectors * 512) - (int)(offset & 511));
    }

    /// <summary>Forgets a cluster whose place may get other content.</summary>
    internal void Forget(ulong descriptor)
    {
        lock (_lock)
        {
            for (LinkedListNode<(ulong Descriptor, byte[])>? node = _recent.First; node is not null; node = node.Next)
            {
                if (node.Value.Descriptor == descriptor)
                {
                    _recent.Remove(node);
                    return;
                }
            }
        }
    }

    private byte[]? Find(ulong descriptor)
    {
        lock (_lock)
        {
            for (LinkedListNode<(ulong Descriptor, byte[] Content)>? node = _recent.First; node is not null; node = node.Next)
            {
                if (node.Value.Descriptor == descriptor)
                {
                    _recent.Remove(node);
                    _recent.AddFirst(node);
                    return node.Value.Content;
                }
            }
        }

        return null;
    }

    private byte[] Unpack(ulong descriptor)
    {
        (ulong offset, int length) = Range(layout, descriptor);
        byte[] packed = new byte[length];
        if (offset >= Qcow2Format.MostBytes || file.Read(offset, packed) == 0)
        {
            throw new Qcow2Damage($"{file.Name}: a packed cluster at {offset}, behind the end");
        }

        byte[] content = new byte[layout.ClusterSize];
        try
        {
            using MemoryStream input = new(packed);
            using Stream unpacker = usesZstd ? new ZstdUnpacker(input) : new DeflateStream(input, CompressionMode.Decompress);
            unpacker.ReadExactly(content);
        }
        catch (Exception e) when (e is InvalidDataException or EndOfStreamException or DllNotFoundException)
        {
            throw new Qcow2Damage($"{file.Name}: the packed cluster at {offset} cannot be unpacked: {e.Message}");
        }

        lock (_lock)
        {
            _recent.AddFirst((descriptor, content));
            if (_recent.Count > _capacity)
            {
                _recent.RemoveLast();
            }
        }

        return content;
    }
}
