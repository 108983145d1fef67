using System;
using System.Buffers.Binary;
using System.IO;
using System.Threading.Tasks;
using Hull.Boot;
using Microsoft.Win32.SafeHandles;

namespace Hull.Cli.Store;

/// <summary>
/// Files to boot from that Hull makes once for each key and keeps in the cache. They are given as open files, which stay what they
/// are when another Hull makes room there. At a file's end its length is written: one that a power cut has left short is made again.
/// </summary>
internal sealed class CachedFiles(DiskBootCache cache)
{
    private const int TrailerSize = 16;
    private const ulong Magic = 0x3145_4C49_464C_5548; // "HULFILE1"

    /// <summary>The file of a key; null when it is not there, or not whole.</summary>
    /// <param name="key">Says all that the file depends on.</param>
    /// <param name="name">What messages call it.</param>
    internal BootBlob? Find(string key, string name)
    {
        if (cache.Open(key) is not FileStream file)
        {
            return null;
        }

        // Not closed: the blob is read when the machine is built.
        SafeFileHandle handle = file.SafeFileHandle;
        Span<byte> trailer = stackalloc byte[TrailerSize];
        long length = RandomAccess.GetLength(handle) - TrailerSize;
        if (length > 0 && RandomAccess.Read(handle, trailer, length) == TrailerSize
            && BinaryPrimitives.ReadUInt64LittleEndian(trailer) == Magic
            && BinaryPrimitives.ReadInt64LittleEndian(trailer[8..]) == length)
        {
            return BootBlob.FromHandle(name, handle, length);
        }

        file.Dispose();
        return null;
    }

    /// <summary>Makes a file.</summary>
    /// <param name="key">As above.</param>
    /// <param name="name">As above.</param>
    /// <param name="write">Writes the content; false when there is none.</param>
    /// <returns>The file; null when there is no content, or the cache takes none.</returns>
    internal BootBlob? Make(string key, string name, Func<Stream, bool> write)
    {
        using IBootCacheDraft? draft = cache.Create(key);
        if (draft is null)
        {
            return null;
        }

        try
        {
            if (!write(draft.Content))
            {
                return null;
            }

            Span<byte> trailer = stackalloc byte[TrailerSize];
            BinaryPrimitives.WriteUInt64LittleEndian(trailer, Magic);
            BinaryPrimitives.WriteInt64LittleEndian(trailer[8..], draft.Content.Position);
            draft.Content.Write(trailer);
            draft.Commit();
        }
        catch (IOException)
        {
            return null; // a full disk
        }

        return Find(key, name);
    }

    /// <summary>The file of a key, made when it is not there; its bytes when the cache takes none.</summary>
    /// <param name="key">Says all that the file depends on.</param>
    /// <param name="name">What messages call it.</param>
    /// <param name="build">Makes the content.</param>
    internal async Task<BootBlob> GetAsync(string key, string name, Func<Task<byte[]>> build)
    {
        if (Find(key, name) is BootBlob kept)
        {
            return kept;
        }

        byte[] content = await build().ConfigureAwait(false);
        return Make(key, name, Write) ?? BootBlob.FromBytes(name, content);

        bool Write(Stream to)
        {
            to.Write(content);
            return true;
        }
    }
}
