using System;
using System.Globalization;
using System.IO;
using Hull.Boot;

namespace Hull.Cli.Store;

/// <summary>
/// Unpacked kernels and built RAM disks in $XDG_CACHE_HOME/hull/boot: one file for each key, written under
/// another name and renamed. Those that were not used for longest go when there are many. A cache that cannot be used is no error.
/// </summary>
internal sealed class DiskBootCache : IBootCache
{
    private const int MostFiles = 8;

    private readonly string _root;

    /// <summary>Makes the cache; nothing is read or written yet.</summary>
    internal DiskBootCache(XdgDirectories directories) => _root = Path.Combine(directories.Cache, "boot");

    /// <inheritdoc/>
    public Stream? Open(string key)
    {
        try
        {
            FileStream file = new(PathOf(key), FileMode.Open, FileAccess.Read, FileShare.Read, 0);
            Touch(file);
            return file;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <inheritdoc/>
    public IBootCacheDraft? Create(string key)
    {
        try
        {
            Directory.CreateDirectory(_root);
            RemoveOldest();
            string draft = PathOf(string.Create(
                CultureInfo.InvariantCulture,
                $".draft-{Environment.ProcessId}-{Guid.NewGuid():n}"));
            return new Draft(draft, PathOf(key));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private string PathOf(string key) => Path.Combine(_root, key);

    // The time of the last use is the file's own: the time of access stands still on most file systems (relatime, noatime).
    private static void Touch(FileStream file)
    {
        try
        {
            File.SetLastWriteTimeUtc(file.SafeFileHandle, DateTime.UtcNow);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A cache on a read-only file system grows no older than it is.
        }
    }

    private void RemoveOldest()
    {
        FileInfo[] files = new DirectoryInfo(_root).GetFiles();
        Array.Sort(files, (x, y) => y.LastWriteTimeUtc.CompareTo(x.LastWriteTimeUtc));
        for (int i = 0; i < files.Length; i++)
        {
            // A draft that is an hour old belongs to a process that was killed.
            bool stale = files[i].Name[0] == '.' && files[i].LastWriteTimeUtc < DateTime.UtcNow.AddHours(-1);
            if (stale || (i >= MostFiles && files[i].Name[0] != '.'))
            {
                files[i].Delete();
            }
        }
    }

    private sealed class Draft(string draft, string final) : IBootCacheDraft
    {
        private readonly FileStream _file =
            new(draft, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, 0);

        public Stream Content => _file;

        public void Commit()
        {
            try
            {
                _file.Dispose();
                File.Move(draft, final, overwrite: true);
            }
            catch (IOException)
            {
                // Next time it is made again.
            }
        }

        public void Dispose()
        {
            _file.Dispose();
            File.Delete(draft);
        }
    }
}
