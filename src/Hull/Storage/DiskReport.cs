using System;
using System.Collections.Generic;

namespace Hull.Storage;

/// <summary>What an image says of itself.</summary>
public sealed record DiskReport
{
    /// <summary>The file.</summary>
    public required string File { get; init; }

    /// <summary>Its format.</summary>
    public required DiskFormat Format { get; init; }

    /// <summary>Bytes that the guest sees.</summary>
    public required ulong Size { get; init; }

    /// <summary>Bytes that it takes on the host's disk.</summary>
    public required ulong Taken { get; init; }

    /// <summary>What only a qcow2 image has; null for a raw one.</summary>
    public Qcow2Report? Qcow2 { get; init; }
}

/// <summary>What a qcow2 image says of itself.</summary>
public sealed record Qcow2Report
{
    /// <summary>2 or 3.</summary>
    public required int Version { get; init; }

    /// <summary>Bytes of a cluster.</summary>
    public required int ClusterSize { get; init; }

    /// <summary>Clusters are divided in 32.</summary>
    public bool ExtendedL2 { get; init; }

    /// <summary>Bits of a reference count.</summary>
    public int RefcountBits { get; init; }

    /// <summary>"zlib" or "zstd".</summary>
    public required string Compression { get; init; }

    /// <summary>It was not closed by a program that leaves its counts behind.</summary>
    public bool Dirty { get; init; }

    /// <summary>It is marked as damaged.</summary>
    public bool Corrupt { get; init; }

    /// <summary>The file below, as the image names it.</summary>
    public string? BackingFile { get; init; }

    /// <summary>The format of the file below, as the image says.</summary>
    public string? BackingFormat { get; init; }

    /// <summary>The snapshots inside.</summary>
    public IReadOnlyList<SnapshotReport> Snapshots { get; init; } = [];

    /// <summary>The dirty bitmaps inside.</summary>
    public IReadOnlyList<BitmapReport> Bitmaps { get; init; } = [];
}

/// <summary>A snapshot inside an image.</summary>
/// <param name="Id">The image's number for it.</param>
/// <param name="Name">The user's name for it.</param>
/// <param name="Size">Bytes that the guest saw.</param>
/// <param name="Taken">When.</param>
public sealed record SnapshotReport(string Id, string Name, ulong Size, DateTimeOffset Taken);

/// <summary>A dirty bitmap inside an image.</summary>
/// <param name="Name">The user's name for it.</param>
/// <param name="Records">Every write is to be recorded in it.</param>
/// <param name="Inconsistent">Not every write was.</param>
public sealed record BitmapReport(string Name, bool Records, bool Inconsistent);
