using System;

namespace Hull.Devices;

/// <summary>
/// What a guest says of its own memory, in bytes and counts; null where its driver says nothing of that. Nobody checks it. Virtio 1.2
/// section 5.5.6.3, "Memory Statistics".
/// </summary>
public sealed record GuestMemoryStatistics
{
    private const int Tags = 8;

    /// <summary>Memory that the guest's kernel has to give.</summary>
    public ulong? Total { get; init; }

    /// <summary>Memory that nobody uses.</summary>
    public ulong? Free { get; init; }

    /// <summary>Memory that programs could have without swapping.</summary>
    public ulong? Available { get; init; }

    /// <summary>Memory with files' pages that could go at once.</summary>
    public ulong? Caches { get; init; }

    /// <summary>Bytes read back from the guest's swap since it started.</summary>
    public ulong? SwappedIn { get; init; }

    /// <summary>Bytes written there.</summary>
    public ulong? SwappedOut { get; init; }

    /// <summary>Page faults that needed a disk.</summary>
    public ulong? MajorFaults { get; init; }

    /// <summary>Those that did not.</summary>
    public ulong? MinorFaults { get; init; }

    /// <summary>From the device's values by tag, as long as the section's table or longer.</summary>
    internal static GuestMemoryStatistics From(ReadOnlySpan<ulong?> values)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(values.Length, Tags);
        return new GuestMemoryStatistics
        {
            SwappedIn = values[0],
            SwappedOut = values[1],
            MajorFaults = values[2],
            MinorFaults = values[3],
            Free = values[4],
            Total = values[5],
            Available = values[6],
            Caches = values[7],
        };
    }
}
