using System;
using System.Collections.Generic;
using System.IO;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Storage;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

/// <summary>Every device of Hull's, made for a driver that will do it no good. What they need of the host is in a folder.</summary>
internal sealed class HostileDevices : IDisposable
{
    private const string Memory = "/dev/shm"; // a million flushes cost nothing there

    private readonly string _folder = Directory.Exists(Memory)
        ? Directory.CreateDirectory(Path.Combine(Memory, $"hull-hostile{Guid.NewGuid():n}")).FullName
        : Directory.CreateTempSubdirectory("hull-hostile").FullName;

    internal static IReadOnlyList<string> Kinds => DeviceText.Kinds;

    /// <summary>Each kind with each name; true: a packed ring.</summary>
    /// <param name="names">Those of both rings.</param>
    /// <param name="splitOnly">Those of the split ring.</param>
    internal static TheoryData<string, string, bool> EachWith(string[] names, string[] splitOnly)
    {
        TheoryData<string, string, bool> cases = [];
        foreach (string kind in Kinds)
        {
            foreach (string name in names)
            {
                cases.Add(kind, name, false);
                cases.Add(kind, name, true);
            }

            foreach (string name in splitOnly)
            {
                cases.Add(kind, name, false);
            }
        }

        return cases;
    }

    /// <summary>Each kind with a split ring and a packed one.</summary>
    internal static TheoryData<string, bool> Both()
    {
        TheoryData<string, bool> cases = [];
        foreach (string kind in Kinds)
        {
            cases.Add(kind, false);
            cases.Add(kind, true);
        }

        return cases;
    }

    /// <summary>Makes a device behind a driver; without threads it works on that of its notifications.</summary>
    internal VirtioDriver Create(string kind, bool packed = false, bool threads = false) => kind == "vsock"
        ? new VirtioDriver(context => new VsockDevice(context, Path.Combine(_folder, "sock"), 3), threads, packed)
        : new VirtioDriver(Spec(kind), threads, packed);

    /// <summary>A queue whose requests the device takes at once.</summary>
    internal static int QueueOf(string kind, VirtioDevice device) => kind == "vsock" ? 1 : device.Queues.Length - 1;

    /// <summary>Features without which that queue has no use.</summary>
    internal static ulong Features(string kind) => kind == "console" ? 2ul : 0;

    /// <inheritdoc/>
    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private DeviceSpec Spec(string kind)
    {
        switch (kind)
        {
            case "disk":
                string image = Path.Combine(_folder, "disk.img");
                File.WriteAllBytes(image, new byte[1 << 20]);
                return new DiskSpec { File = image, Format = DiskFormat.Raw };
            case "pmem":
                string file = Path.Combine(_folder, "pmem.img");
                File.WriteAllBytes(file, new byte[2 << 20]);
                return new PmemSpec { File = file };
            case "net":
                return new NetSpec { Unplugged = true };
            case "rng":
                return new RngSpec { Source = "/dev/zero" };
            case "fs":
                return new FsSpec { Path = _folder, ReadOnly = true };
            case "p9":
                return new P9Spec { Path = _folder, ReadOnly = true };
            case "console":
                return new ConsoleSpec { Ports = "none agent=none" };
            default:
                return DeviceText.Parse(kind);
        }
    }
}
