using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Hull.Bus;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Host;
using Hull.Memory;
using Hull.Platform;

namespace Hull;

/// <summary>A device of a running machine.</summary>
/// <param name="Id">Its name among the machine's.</param>
/// <param name="Kind">As in <c>--device KIND</c>.</param>
/// <param name="Slot">Its PCI slot, as the guest sees it; null for one behind MMIO, or that is Xen's.</param>
public sealed record DeviceStatus(string Id, string Kind, int? Slot);

/// <summary>
/// The devices that the user gave a machine, in their PCI slots; they come and go while the guest runs. Any thread.
/// </summary>
internal sealed class MachineDevices : IDisposable
{
    private readonly MachineSpec _spec;
    private readonly GuestMemory _memory;
    private readonly IoBus _bus;
    private readonly Chipset _chipset;
    private readonly TerminalLink _terminal;
    private readonly IReadOnlyDictionary<string, ProgramEnd> _ports;
    private readonly Lock _lock = new();
    private readonly List<Card> _cards = [];
    private readonly List<Other> _others = [];
    private readonly Func<DeviceSpec, DeviceContext, IOtherDevice?>? _makeOther;
    private int _nextIndex;
    private int _mmioDevices;
    private bool _disposed;

    /// <summary>Makes the devices of a specification.</summary>
    /// <param name="spec">The specification.</param>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="bus">Ports and MMIO.</param>
    /// <param name="chipset">PCI and hotplug.</param>
    /// <param name="terminal">The consoles' way to the terminal.</param>
    /// <param name="others">
    /// Makes a device that comes to the guest in another way than PCI, or null for one that does not; null: all are virtio.
    /// </param>
    /// <exception cref="HullException">One of them cannot be had.</exception>
    internal MachineDevices(
        MachineSpec spec,
        GuestMemory memory,
        IoBus bus,
        Chipset chipset,
        TerminalLink terminal,
        Func<DeviceSpec, DeviceContext, IOtherDevice?>? others)
    {
        _makeOther = others;
        _bus = bus;
        _spec = spec;
        _memory = memory;
        _chipset = chipset;
        _terminal = terminal;
        _ports = spec.Ports.ToDictionary(static port => port.Key, static port => new ProgramEnd(port.Value.Invoke));
        chipset.Hotplug.Ejected = Ejected;
        try
        {
            foreach (DeviceSpec device in spec.Devices)
            {
                DeviceContext context = NextContext();
                _ = TryMakeOther(device, context)?.Id ?? Insert(device, context).Id;
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>What there is.</summary>
    internal IReadOnlyList<DeviceStatus> List()
    {
        lock (_lock)
        {
            List<DeviceStatus> list = _others.ConvertAll(static other => new DeviceStatus(other.Id, DeviceText.KindOf(other.Spec), null));
            list.AddRange(_cards.ConvertAll(static card => new DeviceStatus(card.Id, DeviceText.KindOf(card.Spec), card.Slot)));
            return list;
        }
    }

    /// <summary>The specifications of all that there is, for the machine's next life.</summary>
    internal IReadOnlyList<DeviceSpec> Specs()
    {
        // In their first order: a card's address comes from its place.
        List<(int Index, DeviceSpec Spec)> specs = All(static card => (card.Index, card.Spec));
        lock (_lock)
        {
            specs.AddRange(_others.ConvertAll(static other => (other.Index, other.Spec)));
        }

        specs.Sort(static (one, other) => one.Index.CompareTo(other.Index));
        return specs.ConvertAll(static one => one.Spec);
    }

    /// <summary>The PCI slots of the disks, in the order in which they are tried for a boot.</summary>
    internal IReadOnlyList<int> DiskSlots() => All(static card => card.Spec is DiskSpec ? card.Slot : null).FindAll(static slot => slot is not null)
        .ConvertAll(static slot => slot!.Value); // those that are left have one

    /// <summary>Puts a device into a free slot of the running machine, and tells the guest.</summary>
    /// <returns>Its name.</returns>
    /// <exception cref="HullException">It cannot be had, or there is no slot.</exception>
    internal string Add(DeviceSpec spec)
    {
        if (_spec.Deterministic)
        {
            throw new HullException("--deterministic: the machine has the devices that it started with");
        }

        if (spec.Mmio)
        {
            throw new HullException("a device behind MMIO cannot come while the guest runs: leave out mmio");
        }

        DeviceContext context = NextContext();
        if (TryMakeOther(spec, context) is Other other)
        {
            return other.Id;
        }

        Card card = Insert(spec, context);
        _chipset.Hotplug.Add(card.Slot!.Value); // not behind MMIO
        return card.Id;
    }

    /// <summary>Asks the guest to let go of a device.</summary>
    /// <returns>Ends when the guest has.</returns>
    /// <exception cref="HullException">There is no such device.</exception>
    internal Task Remove(string id)
    {
        Other? other;
        lock (_lock)
        {
            other = _others.Find(other => other.Id == id);
        }

        if (other is not null)
        {
            other.Device.Leave(() => ThreadPool.UnsafeQueueUserWorkItem(Forget, other, preferLocal: false));
            return other.Gone.Task;
        }

        Card card = Find(card => card.Id == id) ?? throw new HullException(
            $"there is no device '{id}': the machine has {string.Join(", ", List().Select(static device => device.Id))}");
        _chipset.Hotplug.AskFor(card.Slot ?? throw new HullException($"{id} is behind MMIO: it stays"));
        return card.Gone.Task;
    }

    /// <summary>The program's end of a console port; null when there is none of that name.</summary>
    internal ProgramEnd? FindPort(string name) => _ports.GetValueOrDefault(name);

    /// <summary>Takes what the guest has written to consoles so far, and returns when all of it is with the ports' ends.</summary>
    internal void FlushConsoles() => All(static card => card.Device as ConsoleDevice).ForEach(static console => console?.Flush());

    /// <summary>The first device of a type; null when there is none.</summary>
    internal T? FindFirst<T>()
        where T : VirtioDevice => (T?)Find(static card => card.Device is T)?.Device;

    /// <inheritdoc/>
    public void Dispose()
    {
        Card[] cards;
        Other[] others;
        lock (_lock)
        {
            _disposed = true;
            cards = [.. _cards];
            others = [.. _others];
            _cards.Clear();
            _others.Clear();
        }

        // A driver of the guest's may be in one still: only its own thread stops later.
        foreach (Card card in cards)
        {
            if (card.Slot is int slot)
            {
                _chipset.Pci.Detach(slot);
            }

            card.Device.Dispose();
        }

        Array.ForEach(others, static other => other.Dispose());
    }

    private List<T> All<T>(Converter<Card, T> part)
    {
        lock (_lock)
        {
            return _cards.ConvertAll(part);
        }
    }

    private Card? Find(Predicate<Card> wanted)
    {
        lock (_lock)
        {
            return _cards.Find(wanted);
        }
    }

    private DeviceContext NextContext() => new()
    {
        Memory = _memory,
        VcpuCount = _spec.VcpuCount,
        IsDeterministic = _spec.Deterministic,
        HasDoorbells = _bus.Doorbells is not null,
        Notice = _spec.Notice ?? (static _ => { }),
        Terminal = _terminal,
        Ports = _ports,
        Index = Interlocked.Increment(ref _nextIndex) - 1,
    };

    private Card Insert(DeviceSpec spec, DeviceContext context)
    {
        lock (_lock)
        {
            ThrowIfEnded();
            string id = ChooseId(spec);
            int? slot = spec.Mmio ? null : _chipset.Pci.FindFreeDevice();
            VirtioDevice device = spec.Create(context);
            device.OffersPacked = spec.Packed;
            Card card = new(context.Index, id, spec, device, slot);
            _cards.Add(card);
            Connect(device, slot);
            return card;
        }
    }

    private void Connect(VirtioDevice device, int? slot)
    {
        if (slot is int pci)
        {
            _chipset.Pci.Attach(new VirtioPci(device, _chipset.Messages), pci);
            return;
        }

        int index = _mmioDevices++;
        if (index == PlatformMap.VirtioMmioDevices)
        {
            throw new HullException($"at most {PlatformMap.VirtioMmioDevices} devices fit behind MMIO: leave out mmio");
        }

        VirtioMmio registers = new(device, _chipset.Interrupts.CreateIsaLine(PlatformMap.VirtioMmioIrq(index)));
        ulong at = PlatformMap.VirtioMmioBase + ((ulong)index * PlatformMap.VirtioMmioBytes);
        _bus.MapMmio(new GuestPhysical(at), PlatformMap.VirtioMmioBytes, registers);
    }

    // Null: it is a virtio device.
    private Other? TryMakeOther(DeviceSpec spec, DeviceContext context)
    {
        lock (_lock)
        {
            ThrowIfEnded();
            if (_makeOther is null)
            {
                return null;
            }

            string id = ChooseId(spec);
            if (_makeOther(spec, context) is not IOtherDevice device)
            {
                return null;
            }

            Other other = new(context.Index, id, spec, device);
            _others.Add(other);
            return other;
        }
    }

    private void ThrowIfEnded()
    {
        if (_disposed)
        {
            throw new HullException("the machine has ended");
        }
    }

    private string ChooseId(DeviceSpec spec)
    {
        if (spec.Id is string wanted)
        {
            return IsFree(wanted) ? wanted
                : throw new HullException($"two devices want the name '{wanted}': give one of them another (id=NAME)");
        }

        string kind = DeviceText.KindOf(spec);
        int number = 0;
        while (!IsFree($"{kind}{number}"))
        {
            number++;
        }

        return $"{kind}{number}";
    }

    private bool IsFree(string id) => !_cards.Exists(card => card.Id == id) && !_others.Exists(other => other.Id == id);

    // The guest has let go of it.
    private void Forget(Other other)
    {
        other.Dispose();
        lock (_lock)
        {
            _others.Remove(other);
        }

        other.Gone.TrySetResult();
    }

    // On a vCPU's thread: the host's files are closed on another.
    private void Ejected(int slot)
    {
        Card? card;
        lock (_lock)
        {
            card = _cards.Find(card => card.Slot == slot);
            if (card is null)
            {
                return;
            }

            _cards.Remove(card);
        }

        _chipset.Pci.Detach(slot);
        ThreadPool.UnsafeQueueUserWorkItem(
            static card =>
            {
                card.Device.Dispose();
                card.Gone.TrySetResult();
            },
            card,
            preferLocal: false);
    }

    private sealed record Other(int Index, string Id, DeviceSpec Spec, IOtherDevice Device) : IDisposable
    {
        private readonly Lock _lock = new();
        private bool _disposed;

        internal TaskCompletionSource Gone { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        // The machine's end and the guest's letting go may come at once: who is second waits for the first.
        public void Dispose()
        {
            lock (_lock)
            {
                if (!_disposed)
                {
                    _disposed = true;
                    Device.Dispose();
                }
            }
        }
    }

    private sealed record Card(int Index, string Id, DeviceSpec Spec, VirtioDevice Device, int? Slot)
    {
        internal TaskCompletionSource Gone { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
