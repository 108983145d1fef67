using System;
using System.IO;

namespace Hull.Boot;

/// <summary>
/// A store of blobs by key that outlives the process; the loaders know nothing of directories. It may forget
/// anything at any time, and it need not check content: the loaders do.
/// </summary>
public interface IBootCache
{
    /// <summary>Opens the blob; null when there is none.</summary>
    Stream? Open(string key);

    /// <summary>Starts a new blob under the key; null when nothing can be stored.</summary>
    IBootCacheDraft? Create(string key);
}

/// <summary>
/// A blob that is being written. Disposed without <see cref="Commit"/>, it leaves no trace.
/// </summary>
public interface IBootCacheDraft : IDisposable
{
    /// <summary>Where the bytes go; seekable.</summary>
    Stream Content { get; }

    /// <summary>Puts the blob in its place, at once and whole.</summary>
    void Commit();
}
