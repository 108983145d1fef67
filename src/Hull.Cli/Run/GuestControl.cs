using System;
using System.Diagnostics;
using System.Threading.Tasks;
using Hull.Cli.Control;
using Hull.Devices;
using Hull.Host;

namespace Hull.Cli.Run;

/// <summary>Does to a running guest what the other verbs ask. Any thread.</summary>
/// <param name="request">What the guest was started with.</param>
/// <param name="machine">The guest.</param>
/// <param name="stop">Asks the guest to power off, and ends the run when it has not in time.</param>
internal sealed class GuestControl(RunRequest request, Machine machine, Action<TimeSpan> stop)
{
    private static readonly TimeSpan LongestWait = TimeSpan.FromHours(1);
    private readonly long _startedAt = Stopwatch.GetTimestamp();

    /// <summary>Does it.</summary>
    /// <exception cref="HullException">It cannot be done; with the reason.</exception>
    internal ControlAnswer Answer(ControlRequest asked)
    {
        switch (asked.Verb)
        {
            case "status":
                return new ControlAnswer { Guest = Report() };
            case "devices":
                return new ControlAnswer { Devices = [.. List()] };
            case "add":
                return new ControlAnswer { Id = machine.AddDevice(DeviceText.FromJson(asked.Device ?? "")) };
            case "remove":
                return Remove(asked.Id ?? "", WaitOf(asked));
            case "balloon":
                if (asked.Bytes is ulong bytes)
                {
                    machine.SetBalloon(bytes);
                }

                return new ControlAnswer { Bytes = machine.GuestMemoryBytes };
            case "memory":
                return new ControlAnswer
                {
                    Memory = machine.ReadMemoryStatistics(WaitOf(asked))
                        ?? throw new HullException("the guest says nothing of its memory: is its balloon's driver loaded?"),
                };
            case "xen":
                return new ControlAnswer { Xen = machine.ReadXen() };
            case "suspend":
                return machine.SuspendXen(WaitOf(asked)) ? new ControlAnswer()
                    : throw new HullException($"the guest has not gone to sleep in {asked.Seconds:0.#} s");
            case "resume":
                machine.ResumeXen();
                return new ControlAnswer();
            case "stop":
                stop(WaitOf(asked));
                return new ControlAnswer();
            default:
                throw new HullException($"this guest does not know '{asked.Verb}': it is of another version of Hull");
        }
    }

    private static TimeSpan WaitOf(ControlRequest asked) =>
        TimeSpan.FromSeconds(double.IsFinite(asked.Seconds) ? Math.Clamp(asked.Seconds, 0, LongestWait.TotalSeconds) : 0);

    private DeviceReport[] List()
    {
        DeviceStatus[] devices = [.. machine.ListDevices()];
        return Array.ConvertAll(devices, static device => new DeviceReport(device.Id, device.Kind, device.Slot));
    }

    private ControlAnswer Remove(string id, TimeSpan wait)
    {
        Task<bool> removed = machine.RemoveDeviceAsync(id, wait);
        return removed.GetAwaiter().GetResult() ? new ControlAnswer { Id = id }
            : throw new HullException($"the guest has not let go of {id} in {wait.TotalSeconds:0.#} s: it may be in use there");
    }

    private GuestReport Report() => new(
        machine.Name,
        Environment.ProcessId,
        Stopwatch.GetElapsedTime(_startedAt).TotalSeconds,
        request.MemoryBytes,
        request.VcpuCount,
        machine.EngineName);
}
