using System;
using System.Buffers.Text;
using System.IO;
using System.Text;

namespace Hull.Boot.Initramfs;

/// <summary>
/// Writes a cpio archive in the "newc" form that Linux unpacks as its initial file system. The same entries
/// give the same bytes: owner is root, time is zero, inodes count up. Linux, "initramfs buffer format".
/// </summary>
internal sealed class CpioWriter(Stream output)
{
    private const uint TypeFile = 0x8000;
    private const uint TypeDirectory = 0x4000;
    private const uint TypeLink = 0xA000;
    private const uint TypeCharacter = 0x2000;
    private const int HeaderSize = 110;

    private long _at;
    private uint _inode;

    /// <summary>Adds a directory.</summary>
    internal void Directory(string path, uint permissions) => Entry(path, TypeDirectory | permissions, 0, 0, []);

    /// <summary>Adds a file.</summary>
    internal void File(string path, uint permissions, ReadOnlySpan<byte> content) =>
        Entry(path, TypeFile | permissions, 0, 0, content);

    /// <summary>Adds a symbolic link.</summary>
    internal void Link(string path, string target) =>
        Entry(path, TypeLink | 0x1FF, 0, 0, Encoding.UTF8.GetBytes(target));

    /// <summary>Adds a character device.</summary>
    internal void Character(string path, uint permissions, uint major, uint minor) =>
        Entry(path, TypeCharacter | permissions, major, minor, []);

    /// <summary>Adds the entry that ends an archive.</summary>
    internal void Finish()
    {
        _inode = uint.MaxValue;
        Entry("TRAILER!!!", 0, 0, 0, []);
    }

    private void Entry(string path, uint mode, uint major, uint minor, ReadOnlySpan<byte> content)
    {
        byte[] name = Encoding.UTF8.GetBytes(path.TrimStart('/'));
        Span<byte> header = stackalloc byte[HeaderSize];
        "070701"u8.CopyTo(header);
        uint links = (mode & 0xF000) == TypeDirectory ? 2u : 1u;
        ReadOnlySpan<uint> fields =
        [
            unchecked(++_inode), mode, 0, 0, links, 0, (uint)content.Length,
            0, 0, major, minor, (uint)name.Length + 1, 0,
        ];
        for (int i = 0; i < fields.Length; i++)
        {
            Utf8Formatter.TryFormat(fields[i], header[(6 + (8 * i))..], out _, new('X', 8));
        }

        Write(header);
        Write(name);
        Write([0]);
        Pad();
        Write(content);
        Pad();
    }

    private void Write(ReadOnlySpan<byte> bytes)
    {
        output.Write(bytes);
        _at += bytes.Length;
    }

    private void Pad()
    {
        ReadOnlySpan<byte> zeros = [0, 0, 0];
        Write(zeros[..(int)(-_at & 3)]);
    }
}
