using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using Hull.Host;

namespace Hull.Boot.Initramfs;

/// <summary>
/// Builds an initial file system for Linux, not packed: what is unpacked fastest is what was never packed.
/// Paths are absolute; missing parent directories are made. The result depends only on what was added, not on
/// the order.
/// </summary>
public sealed class InitramfsBuilder
{
    private const uint Executable = 0x1ED; // 0755
    private const uint ReadWrite = 0x1B6; // 0666
    private const uint Owner = 0x180; // 0600

    private readonly SortedDictionary<string, Action<CpioWriter>> _entries = new(StringComparer.Ordinal);

    /// <summary>Adds a directory with permissions 0755.</summary>
    public InitramfsBuilder AddDirectory(string path) => AddDirectory(path, Executable);

    /// <summary>Adds a directory.</summary>
    public InitramfsBuilder AddDirectory(string path, uint permissions)
    {
        string name = Normalize(path);
        return Add(name, cpio => cpio.Directory(name, permissions));
    }

    /// <summary>Adds a file with permissions 0755.</summary>
    public InitramfsBuilder AddFile(string path, ReadOnlyMemory<byte> content) => AddFile(path, content, Executable);

    /// <summary>Adds a file.</summary>
    public InitramfsBuilder AddFile(string path, ReadOnlyMemory<byte> content, uint permissions)
    {
        string name = Normalize(path);
        return Add(name, cpio => cpio.File(name, permissions, content.Span));
    }

    /// <summary>Adds a script or other text with permissions 0755.</summary>
    public InitramfsBuilder AddText(string path, string content) => AddFile(path, Encoding.UTF8.GetBytes(content));

    /// <summary>Adds a symbolic link.</summary>
    public InitramfsBuilder AddLink(string path, string target)
    {
        string name = Normalize(path);
        return Add(name, cpio => cpio.Link(name, target));
    }

    /// <summary>Adds a character device.</summary>
    public InitramfsBuilder AddCharacterDevice(string path, uint major, uint minor, uint permissions)
    {
        string name = Normalize(path);
        return Add(name, cpio => cpio.Character(name, permissions, major, minor));
    }

    /// <summary>
    /// Adds the devices that an init needs before it mounts /dev: console, null, zero, tty, random, urandom,
    /// kmsg and ttyS0-3.
    /// </summary>
    public InitramfsBuilder AddStandardDevices()
    {
        AddCharacterDevice("/dev/console", 5, 1, Owner);
        AddCharacterDevice("/dev/null", 1, 3, ReadWrite);
        AddCharacterDevice("/dev/zero", 1, 5, ReadWrite);
        AddCharacterDevice("/dev/random", 1, 8, ReadWrite);
        AddCharacterDevice("/dev/urandom", 1, 9, ReadWrite);
        AddCharacterDevice("/dev/kmsg", 1, 11, Owner);
        AddCharacterDevice("/dev/tty", 5, 0, ReadWrite);
        for (uint i = 0; i < 4; i++)
        {
            AddCharacterDevice($"/dev/ttyS{i}", 4, 64 + i, Owner);
        }

        return this;
    }

    /// <summary>
    /// Adds busybox as /bin/busybox with a link for each applet in /bin, and the empty directories that
    /// scripts expect; /sbin, /usr/bin and /usr/sbin lead to /bin.
    /// </summary>
    /// <param name="busybox">The statically linked executable.</param>
    /// <param name="applets">Names as `busybox --list` gives them.</param>
    /// <exception cref="HullException">
    /// The executable is not an ELF file, or a name holds a slash.
    /// </exception>
    public InitramfsBuilder AddBusybox(ReadOnlyMemory<byte> busybox, IEnumerable<string> applets)
    {
        if (!ElfImage.HasMagic(busybox.Span))
        {
            throw new HullException("the host's busybox is not an executable: reinstall the package busybox-static");
        }

        AddFile("/bin/busybox", busybox);
        foreach (string applet in applets)
        {
            if (applet.Length == 0 || applet.Contains('/', StringComparison.Ordinal))
            {
                throw new HullException($"busybox names an applet '{applet}': reinstall the package busybox-static");
            }

            if (applet != "busybox")
            {
                AddLink($"/bin/{applet}", "busybox");
            }
        }

        AddLink("/sbin", "bin").AddLink("/usr/bin", "../bin").AddLink("/usr/sbin", "../bin");
        ReadOnlySpan<string> directories = ["/etc", "/mnt", "/proc", "/root", "/run", "/sys", "/var"];
        foreach (string directory in directories)
        {
            AddDirectory(directory);
        }

        return AddDirectory("/tmp", 0x3FF); // 01777
    }

    /// <summary>Writes the archive.</summary>
    public byte[] Build()
    {
        using MemoryStream output = new();
        CpioWriter cpio = new(output);
        HashSet<string> directories = new(StringComparer.Ordinal);
        foreach ((string path, Action<CpioWriter> write) in _entries)
        {
            WriteParents(cpio, path, directories);
            write(cpio);
        }

        cpio.Finish();
        return output.ToArray();
    }

    private void WriteParents(CpioWriter cpio, string path, HashSet<string> directories)
    {
        for (int slash = path.IndexOf('/'); slash > 0; slash = path.IndexOf('/', slash + 1))
        {
            string parent = path[..slash];
            if (!_entries.ContainsKey(parent) && directories.Add(parent))
            {
                cpio.Directory(parent, Executable);
            }
        }
    }

    private InitramfsBuilder Add(string path, Action<CpioWriter> write)
    {
        _entries[path] = write;
        return this;
    }

    private static string Normalize(string path)
    {
        string name = path.Trim('/');
        return name.Length > 0 && !name.Contains("//", StringComparison.Ordinal)
            ? name
            : throw new HullException($"'{path}' is no path for a file in an initramfs");
    }
}
