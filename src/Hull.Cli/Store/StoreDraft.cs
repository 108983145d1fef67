using System;
using System.Globalization;
using System.IO;

namespace Hull.Cli.Store;

/// <summary>
/// A folder that is being filled in a store, with a name that nobody takes for an entry. It is gone at the end unless what it
/// holds was moved to its place, so a failure or Ctrl-C leaves nothing that looks complete.
/// </summary>
internal sealed class StoreDraft : IDisposable
{
    private const string Prefix = ".draft-";

    /// <summary>Makes the folder, and the store's if it is not there; removes what killed processes have left.</summary>
    /// <param name="root">The store's folder.</param>
    internal StoreDraft(string root)
    {
        Directory.CreateDirectory(root);
        RemoveOrphans(root);
        Folder = Path.Combine(
            root, string.Create(CultureInfo.InvariantCulture, $"{Prefix}{Environment.ProcessId}-{Guid.NewGuid():n}"));
        Content = Path.Combine(Folder, "content");
        Directory.CreateDirectory(Content);
    }

    /// <summary>The draft's own folder, for files on the way.</summary>
    internal string Folder { get; }

    /// <summary>What becomes the entry.</summary>
    internal string Content { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Directory.Exists(Folder))
        {
            Directory.Delete(Folder, recursive: true);
        }
    }

    // The draft's name holds its process, which is gone if it was killed.
    private static void RemoveOrphans(string root)
    {
        foreach (string folder in Directory.GetDirectories(root, Prefix + "*"))
        {
            string owner = Path.GetFileName(folder)[Prefix.Length..].Split('-')[0];
            if (!Directory.Exists($"/proc/{owner}"))
            {
                Directory.Delete(folder, recursive: true);
            }
        }
    }
}
