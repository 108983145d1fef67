using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using Hull.Storage;
using Hull.Storage.Qcow2;
using Xunit;

namespace Hull.Tests.Storage;

/// <summary>
/// A random life of an image, from a seed: made by qemu-img or by Hull with random options, changed by both in turn, with
/// snapshots, and compared with plain bytes.
/// </summary>
internal sealed class Qcow2Sequence
{
    private readonly Random _random;
    private readonly ImageFolder _folder;
    private readonly string _image;
    private readonly string _context;
    private readonly List<byte[]> _snapshots = [];
    private readonly bool _version2;
    private readonly bool _hasBacking;
    private readonly int _refcountBits;
    private byte[] _content;

    internal Qcow2Sequence(int seed, ImageFolder folder)
    {
        _random = new Random(seed);
        _folder = folder;
        _image = folder[$"{seed}.qcow2"];
        int clusterBits = _random.Next(9, 18);
        _version2 = _random.Next(5) == 0;
        bool extended = !_version2 && clusterBits >= 14 && _random.Next(2) == 0;
        _refcountBits = _version2 ? 16 : 1 << _random.Next(7);
        bool zstd = !_version2 && _random.Next(3) == 0;
        _hasBacking = _random.Next(2) == 0;
        _content = new byte[_random.Next(1, 4096) * 512];
        string options = string.Create(CultureInfo.InvariantCulture,
            $"cluster_size={1 << clusterBits},compat={(_version2 ? "0.10" : "1.1")}")
            + (_version2 ? "" : string.Create(CultureInfo.InvariantCulture, $",refcount_bits={_refcountBits},extended_l2={(extended ? "on" : "off")}"))
            + (zstd ? ",compression_type=zstd" : "") + (!_version2 && _random.Next(3) == 0 ? ",lazy_refcounts=on" : "");
        _context = $"seed {seed} ({options}, {_content.Length} bytes{(_hasBacking ? ", backing" : "")})";
        Create(options, clusterBits, extended, zstd);
    }

    internal void Run()
    {
        int rounds = _random.Next(2, 5);
        for (int round = 0; round < rounds; round++)
        {
            switch (_random.Next(6))
            {
                case 0:
                    ByQemu();
                    break;
                case 1 when _snapshots.Count < 2 && _refcountBits >= 16:
                    QemuTools.Image("snapshot", "-c", $"s{_snapshots.Count}", _image);
                    _snapshots.Add([.. _content]);
                    break;
                case 2 when _snapshots.Count == 0:
                    Resize();
                    break;
                default:
                    ByHull();
                    break;
            }
        }

        ByHull();
        QemuTools.AssertClean(_image, _context);
        QemuTools.AssertContent(_image, _content, _context);
        QemuTools.AssertMap(_image, _content, _context);
        using (IImageFile file = ImageFile.Open(_image, readOnly: true))
        {
            Qcow2Findings findings = Qcow2Check.Run(file, Qcow2Repair.None);
            Assert.True(findings is { Corruptions: 0, Leaks: 0 }, $"{_context}: hull image check: {string.Join('\n', findings.Messages)}");
        }

        for (int i = 0; i < _snapshots.Count; i++)
        {
            using IByteStore store = DiskImage.Open(_image, DiskFormat.Qcow2, true, true, $"s{i}");
            Compare(store, _snapshots[i], $"snapshot s{i}");
        }
    }

    private void Create(string options, int clusterBits, bool extended, bool zstd)
    {
        string name = "base-" + Path.GetFileName(_image);
        if (_hasBacking)
        {
            // Sometimes shorter or longer than the disk; a raw one without its ending, so that the image must say it.
            byte[] below = new byte[_random.Next(1, 4096) * 512];
            Fill(below);
            File.WriteAllBytes(_folder[name], below);
            bool isPacked = _random.Next(2) == 0;
            if (isPacked)
            {
                QemuTools.Image("convert", "-c", "-f", "raw", "-O", "qcow2", _folder[name], _folder[name + ".qcow2"]);
                name += ".qcow2";
            }

            below.AsSpan(0, Math.Min(below.Length, _content.Length)).CopyTo(_content);
            if (_random.Next(3) == 0)
            {
                ByHullCreate(clusterBits, extended, zstd, name, isPacked);
                return;
            }

            QemuTools.Image("create", "-q", "-f", "qcow2", "-o", options, "-b", name, "-F", isPacked ? "qcow2" : "raw", _image, $"{_content.Length}");
        }
        else if (_random.Next(2) == 0)
        {
            // Packed clusters from the start.
            Fill(_content);
            File.WriteAllBytes(_folder[name], _content);
            QemuTools.Image("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, _folder[name], _image);
        }
        else if (_random.Next(2) == 0)
        {
            ByHullCreate(clusterBits, extended, zstd, null, false);
        }
        else
        {
            QemuTools.Image("create", "-q", "-f", "qcow2", "-o", options, _image, $"{_content.Length}");
        }
    }

    private void ByHullCreate(int clusterBits, bool extended, bool zstd, string? below, bool isPacked)
    {
        Qcow2Options options = new()
        {
            ClusterSize = 1 << clusterBits,
            ExtendedL2 = extended,
            RefcountBits = _refcountBits,
            Version2 = _version2,
            Zstd = zstd,
            BackingFile = below,
            BackingFormat = isPacked ? DiskFormat.Qcow2 : DiskFormat.Raw,
        };
        Qcow2Store.Create(ImageFile.Create(_image), options, (ulong)_content.Length);
    }

    // Runs of few values, so that some clusters pack well and some are zeros.
    private void Fill(Span<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            Span<byte> part = bytes[..Math.Min(bytes.Length, _random.Next(1, 100_000))];
            switch (_random.Next(3))
            {
                case 0:
                    part.Fill((byte)_random.Next(256));
                    break;
                case 1:
                    _random.NextBytes(part[..(part.Length / 2)]);
                    break;
                default:
                    part.Clear();
                    break;
            }

            bytes = bytes[part.Length..];
        }
    }

    private (int Offset, int Length) Range()
    {
        int sectors = _content.Length / 512;
        int first = _random.Next(sectors);
        int most = _random.Next(4) == 0 ? sectors - first : Math.Min(sectors - first, 200);
        return (first * 512, _random.Next(1, most + 1) * 512);
    }

    private void ByHull()
    {
        using IByteStore store = DiskImage.Open(_image, DiskFormat.Qcow2, false, true);
        Assert.Equal((ulong)_content.Length, store.Length);
        for (int i = _random.Next(30); i > 0; i--)
        {
            (int offset, int length) = Range();
            Span<byte> expected = _content.AsSpan(offset, length);
            switch (_random.Next(8))
            {
                case < 4:
                    Fill(expected);
                    store.Write((ulong)offset, expected);
                    break;
                case 4:
                    expected.Clear();
                    store.WriteZeroes((ulong)offset, (ulong)length, _random.Next(2) == 0);
                    break;
                case 5:
                    store.Discard((ulong)offset, (ulong)length);
                    store.Read((ulong)offset, expected);
                    break;
                case 6:
                    store.Flush();
                    break;
                default:
                    byte[] actual = new byte[length];
                    store.Read((ulong)offset, actual);
                    Assert.True(expected.SequenceEqual(actual), $"{_context}: read of {length} at {offset} is wrong");
                    break;
            }
        }

        Compare(store, _content, "the disk");
    }

    private void ByQemu()
    {
        List<string> commands = [];
        for (int i = _random.Next(1, 6); i > 0; i--)
        {
            (int offset, int length) = Range();
            int pattern = _random.Next(1, 256);
            bool zeros = _random.Next(3) == 0;
            _content.AsSpan(offset, length).Fill(zeros ? (byte)0 : (byte)pattern);
            commands.Add(zeros ? $"write -q -z {offset} {length}" : $"write -q -P {pattern} {offset} {length}");
        }

        QemuTools.Io(_image, commands);
    }

    private void Resize()
    {
        int length = _random.Next(1, 6000) * 512;
        using (Qcow2Store store = DiskImage.OpenQcow2(_image, false, true))
        {
            store.Resize((ulong)length);
        }

        Array.Resize(ref _content, length);
    }

    private void Compare(IByteStore store, byte[] expected, string what)
    {
        byte[] actual = new byte[expected.Length];
        store.Read(0, actual);
        int at = actual.AsSpan().CommonPrefixLength(expected);
        Assert.True(at == expected.Length, $"{_context}: {what} differs at {at}");
        for (ulong offset = 0; offset < store.Length;)
        {
            ulong run = store.FindRun(offset, out bool isZero);
            Assert.True(!isZero || expected.AsSpan((int)offset, (int)run).IndexOfAnyExcept((byte)0) < 0,
                $"{_context}: {what} is said to be zeros at {offset}, {run} bytes");
            offset += run;
        }
    }
}
