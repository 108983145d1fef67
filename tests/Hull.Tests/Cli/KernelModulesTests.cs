using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using Hull.Cli.Store;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Cli;

/// <summary>Which files a driver needs, in a folder made like a kernel package's lib/modules/RELEASE.</summary>
public sealed class KernelModulesTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("hull-modules-").FullName;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Driver_ComesBehindWhatItNeeds(bool listed)
    {
        Add("kernel/drivers/virtio/virtio_ring.ko", "");
        Add("kernel/drivers/virtio/virtio.ko", "");
        Add("kernel/drivers/virtio/virtio_pci.ko", "virtio_ring,virtio");
        Add("kernel/drivers/block/virtio-blk.ko", "virtio-ring,virtio");
        WriteOrder(listed);

        IReadOnlyList<string> files = new KernelModules(_folder).Resolve(["virtio_pci", "virtio_blk"]);

        Assert.Equal(
            ["virtio_ring.ko", "virtio.ko", "virtio_pci.ko", "virtio-blk.ko"],
            files.Select(file => Path.GetFileName(file)));
    }

    [Fact]
    public void ListedFileThatIsNotThere_IsNoModule()
    {
        Add("kernel/fs/9p/9p.ko", "9pnet");
        Add("kernel/net/9p/9pnet.ko", "");
        WriteOrder(listed: true);
        File.Delete(Path.Combine(_folder, "kernel/net/9p/9pnet.ko"));
        KernelModules modules = new(_folder);

        Assert.True(modules.Has("9p"));
        Assert.False(modules.Has("9pnet"));
        Assert.Equal(["9p.ko"], modules.Resolve(["9p"]).Select(file => Path.GetFileName(file)));
    }

    [Theory]
    [InlineData("vmlinuz", true)]
    [InlineData("config", false)]
    [InlineData("link", true)]
    public void KernelOfTheStore_NamedByItsPath_HasItsModules(string name, bool has)
    {
        Add("modules/6.1.0/kernel/fs/9p/9p.ko", "");
        foreach (string file in (string[])["vmlinuz", "config"])
        {
            File.WriteAllText(Path.Combine(_folder, file), "");
        }

        Directory.CreateDirectory(Path.Combine(_folder, "elsewhere"));
        File.CreateSymbolicLink(Path.Combine(_folder, "elsewhere/link"), "../vmlinuz");
        new StoredKernel("linux-image-x", "1", "linux-image", _folder).WriteOrigin(_folder);

        KernelModules? modules = KernelModules.FindBeside(Path.Combine(_folder, name == "link" ? "elsewhere/link" : name));

        Assert.Equal(has, modules?.Has("9p") ?? false);
    }

    [Fact]
    public void FileThatIsNoModule_IsNamed()
    {
        string path = Path.Combine(_folder, "kernel/x.ko");
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, "not an ELF file");

        HullException e = Assert.Throws<HullException>(() => new KernelModules(_folder).Resolve(["x"]));

        Assert.Contains(path, e.Message, StringComparison.Ordinal);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private void WriteOrder(bool listed)
    {
        if (listed)
        {
            IEnumerable<string> files = Directory.EnumerateFiles(_folder, "*.ko", SearchOption.AllDirectories);
            File.WriteAllLines(
                Path.Combine(_folder, "modules.order"), files.Select(file => Path.GetRelativePath(_folder, file)));
        }
    }

    // ELF-64 with three sections: none, the names, .modinfo.
    private void Add(string name, string depends)
    {
        const int header = 64;
        const int entry = 64;
        byte[] names = Encoding.ASCII.GetBytes("\0.shstrtab\0.modinfo\0");
        byte[] info = Encoding.ASCII.GetBytes($"license=GPL\0depends={depends}\0name=x\0");
        int table = header + names.Length + info.Length;
        byte[] file = new byte[table + (3 * entry)];
        "\u007fELF"u8.CopyTo(file);
        BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(0x28), (ulong)table);
        BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(0x3A), entry);
        BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(0x3C), 3);
        BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(0x3E), 1);
        names.CopyTo(file, header);
        info.CopyTo(file, header + names.Length);
        Section(file.AsSpan(table + entry), 1, header, names.Length);
        Section(file.AsSpan(table + (2 * entry)), 11, header + names.Length, info.Length);
        string path = Path.Combine(_folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, file);
    }

    private static void Section(Span<byte> at, uint name, int offset, int length)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(at, name);
        BinaryPrimitives.WriteUInt64LittleEndian(at[0x18..], (ulong)offset);
        BinaryPrimitives.WriteUInt64LittleEndian(at[0x20..], (ulong)length);
    }
}
