using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.IO;
using System.Text;
using System.Threading;
using Hull.Host;

namespace Hull.Cli.Store;

/// <summary>
/// The modules of a kernel in the store: which files a driver needs, in the order in which they are to be loaded. Debian's
/// packages come without modules.dep, so the files themselves are asked (section .modinfo, "depends=").
/// </summary>
internal sealed class KernelModules
{
    // Found when a driver is first asked for: most runs ask for none.
    private readonly Lazy<Dictionary<string, string>> _paths;

    /// <summary>The modules below a directory.</summary>
    /// <param name="directory">lib/modules/RELEASE.</param>
    internal KernelModules(string directory) =>
        _paths = new Lazy<Dictionary<string, string>>(() => Find(directory), LazyThreadSafetyMode.None);

    /// <summary>True when there is a module of this name. What is built in has none.</summary>
    internal bool Has(string driver) => PathOf(driver) is not null;

    /// <summary>
    /// The modules that belong to a kernel file of the user's: those of Hull's store where it lies there, or Debian's
    /// lib/modules/X beside boot/vmlinuz-X. A link counts as what it leads to where nothing lies beside itself.
    /// </summary>
    /// <returns>Null when there are none.</returns>
    internal static KernelModules? FindBeside(string kernel)
    {
        string path = Path.GetFullPath(kernel);
        return FindBesideFile(path)
            ?? (File.ResolveLinkTarget(path, returnFinalTarget: true) is { } target ? FindBesideFile(target.FullName) : null);
    }

    private static KernelModules? FindBesideFile(string path)
    {
        const string prefix = "vmlinuz-";
        string name = Path.GetFileName(path);
        if (Path.GetDirectoryName(path) is not string boot)
        {
            return null;
        }

        if (StoredKernel.TryRead(boot) is { ModulesPath: string own } stored && stored.KernelPath == path)
        {
            return new KernelModules(own);
        }

        if (!name.StartsWith(prefix, StringComparison.Ordinal))
        {
            return null;
        }

        string directory = Path.Combine(boot, "..", "lib", "modules", name[prefix.Length..]);
        return Directory.Exists(Path.Combine(directory, "kernel")) ? new KernelModules(directory) : null;
    }

    /// <summary>The files for some drivers; one that is built in, or that the kernel does not have, has none.</summary>
    /// <exception cref="HullException">A file is no module.</exception>
    internal IReadOnlyList<string> Resolve(IEnumerable<string> drivers)
    {
        List<string> order = [];
        HashSet<string> seen = new(StringComparer.Ordinal);
        foreach (string driver in drivers)
        {
            Add(driver, seen, order);
        }

        return order;
    }

    /// <summary>The names in "depends=" of a module's .modinfo.</summary>
    /// <exception cref="HullException">The file is no module.</exception>
    internal static string[] ReadDependencies(string name, ReadOnlySpan<byte> module)
    {
        foreach (Range part in SplitZeros(FindSection(name, module, ".modinfo"u8)))
        {
            ReadOnlySpan<byte> entry = FindSection(name, module, ".modinfo"u8)[part];
            if (entry.StartsWith("depends="u8))
            {
                return Encoding.ASCII.GetString(entry["depends="u8.Length..]).Split(',', StringSplitOptions.RemoveEmptyEntries);
            }
        }

        return [];
    }

    // The kernel's build lists its modules in modules.order, a path a line; without it the folders are walked.
    private static Dictionary<string, string> Find(string directory)
    {
        Dictionary<string, string> paths = new(StringComparer.Ordinal);
        string order = Path.Combine(directory, "modules.order");
        string kernel = Path.Combine(directory, "kernel");
        if (File.Exists(order))
        {
            foreach (string line in File.ReadLines(order))
            {
                string path = Path.Combine(directory, line);
                paths[NameOf(path)] = path;
            }
        }
        else if (Directory.Exists(kernel))
        {
            foreach (string path in Directory.EnumerateFiles(kernel, "*.ko", SearchOption.AllDirectories))
            {
                paths[NameOf(path)] = path;
            }
        }

        return paths;
    }

    // Files are named with '-' or '_', the kernel says '_'.
    private static string NameOf(string path) => Path.GetFileNameWithoutExtension(path).Replace('-', '_');

    private static List<Range> SplitZeros(ReadOnlySpan<byte> bytes)
    {
        List<Range> parts = [];
        for (int at = 0; at < bytes.Length;)
        {
            int end = bytes[at..].IndexOf((byte)0);
            end = end < 0 ? bytes.Length : at + end;
            parts.Add(at..end);
            at = end + 1;
        }

        return parts;
    }

    // ELF-64, "Section Header Table".
    private static ReadOnlySpan<byte> FindSection(string name, ReadOnlySpan<byte> file, ReadOnlySpan<byte> wanted)
    {
        try
        {
            if (file.StartsWith("\u007fELF"u8))
            {
                ulong table = BinaryPrimitives.ReadUInt64LittleEndian(file[0x28..]);
                int size = BinaryPrimitives.ReadUInt16LittleEndian(file[0x3A..]);
                int count = BinaryPrimitives.ReadUInt16LittleEndian(file[0x3C..]);
                int names = BinaryPrimitives.ReadUInt16LittleEndian(file[0x3E..]);
                ReadOnlySpan<byte> text = SectionAt(file, checked((int)table + (names * size)));
                for (int i = 0; i < count; i++)
                {
                    int header = checked((int)table + (i * size));
                    ReadOnlySpan<byte> own = text[(int)BinaryPrimitives.ReadUInt32LittleEndian(file[header..])..];
                    if (own[..own.IndexOf((byte)0)].SequenceEqual(wanted))
                    {
                        return SectionAt(file, header);
                    }
                }
            }
        }
        catch (Exception e) when (e is ArgumentException or OverflowException)
        {
            // Said below.
        }

        throw new HullException($"{name} is no kernel module: fetch the kernel anew");
    }

    private static ReadOnlySpan<byte> SectionAt(ReadOnlySpan<byte> file, int header) => file.Slice(
        checked((int)BinaryPrimitives.ReadUInt64LittleEndian(file[(header + 0x18)..])),
        checked((int)BinaryPrimitives.ReadUInt64LittleEndian(file[(header + 0x20)..])));

    // The list may name a file that is not there: a part of a kernel's packages, or packed (.ko.xz).
    private string? PathOf(string driver) =>
        _paths.Value.TryGetValue(driver, out string? path) && File.Exists(path) ? path : null;

    private void Add(string driver, HashSet<string> seen, List<string> order)
    {
        if (!seen.Add(driver) || PathOf(driver) is not string path)
        {
            return;
        }

        foreach (string other in ReadDependencies(path, File.ReadAllBytes(path)))
        {
            Add(other.Replace('-', '_'), seen, order);
        }

        order.Add(path);
    }
}
