using Hull.Devices;
using Hull.Xen;

namespace Hull.Cli.Control;

/// <summary>What a verb asks of a running guest: a line of JSON. docs/control.md.</summary>
internal sealed record ControlRequest
{
    /// <summary>"status", "devices", "add", "remove", "balloon", "memory", "stop", "xen", "suspend" or "resume".</summary>
    public required string Verb { get; init; }

    /// <summary>The device to add, as JSON.</summary>
    public string? Device { get; init; }

    /// <summary>The device to remove.</summary>
    public string? Id { get; init; }

    /// <summary>Bytes that the guest is to keep; null only asks.</summary>
    public ulong? Bytes { get; init; }

    /// <summary>For how long to wait for the guest, in seconds.</summary>
    public double Seconds { get; init; }
}

/// <summary>The answer: a line of JSON.</summary>
internal sealed record ControlAnswer
{
    /// <summary>Why it was not done; null: it was.</summary>
    public string? Error { get; init; }

    /// <summary>The device added.</summary>
    public string? Id { get; init; }

    /// <summary>Bytes that the guest has now.</summary>
    public ulong? Bytes { get; init; }

    /// <summary>What the guest says of its memory.</summary>
    public GuestMemoryStatistics? Memory { get; init; }

    /// <summary>The guest.</summary>
    public GuestReport? Guest { get; init; }

    /// <summary>What Xen keeps for it.</summary>
    public XenView? Xen { get; init; }

    /// <summary>Its devices.</summary>
    public DeviceReport[]? Devices { get; init; }
}

/// <summary>A running guest, as `hull ps` shows it.</summary>
internal sealed record GuestReport(string Name, int Pid, double Seconds, ulong MemoryBytes, int Vcpus, string Engine);

/// <summary>A device, as `hull device list` shows it.</summary>
internal sealed record DeviceReport(string Id, string Kind, int? Slot);
