using System;
using System.IO;

namespace Hull.Cli.Store;

/// <summary>What was measured of /dev/kvm: $XDG_CACHE_HOME/hull/kvm-verdict. A file that cannot be used is no error.</summary>
internal sealed class VerdictFile(XdgDirectories directories) : IVerdictStore
{
    private const int MostBytes = 4096;

    private readonly string _path = Path.Combine(directories.Cache, "kvm-verdict");

    /// <inheritdoc/>
    public string? Load()
    {
        try
        {
            FileInfo file = new(_path);
            return file.Exists && file.Length <= MostBytes ? File.ReadAllText(_path) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <inheritdoc/>
    public void Save(string text)
    {
        try
        {
            // Whole or not at all: another hull may be reading.
            Directory.CreateDirectory(directories.Cache);
            string draft = $"{_path}.{Environment.ProcessId}";
            File.WriteAllText(draft, text);
            File.Move(draft, _path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It is measured again next time.
        }
    }
}
