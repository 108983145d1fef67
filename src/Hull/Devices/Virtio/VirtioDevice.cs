using System;
using System.Threading;
using Hull.Bus;
using Hull.Memory;

namespace Hull.Devices.Virtio;

/// <summary>What a device tells its transport (PCI, MMIO). Any thread; the caller holds no lock.</summary>
internal interface IVirtioTransport
{
    /// <summary>A queue has something for the driver.</summary>
    void RaiseQueue(int queue);

    /// <summary>The configuration or the status changed.</summary>
    void RaiseConfiguration();
}

/// <summary>
/// A virtio device, whatever transport it is behind. A derived class has the features, the configuration space and what
/// to do with requests; rings, feature negotiation and interrupts are here and in the transport. Virtio 1.2 section 2,
/// "Basic Facilities of a Virtio Device".
/// </summary>
internal abstract class VirtioDevice : IDisposable
{
    private readonly Virtqueue[] _queues;
    private IVirtioTransport? _transport;
    private int _needsReset;

    /// <summary>Makes a device.</summary>
    /// <param name="id">The device type. Virtio 1.2 section 5, "Device Types".</param>
    /// <param name="memory">The guest's RAM.</param>
    /// <param name="queueSizes">The largest size of each queue; powers of two.</param>
    protected VirtioDevice(ushort id, GuestMemory memory, params ReadOnlySpan<ushort> queueSizes)
    {
        Id = id;
        _queues = new Virtqueue[queueSizes.Length];
        for (int i = 0; i < _queues.Length; i++)
        {
            _queues[i] = new Virtqueue(memory, queueSizes[i]);
        }
    }

    /// <summary>The device type.</summary>
    internal ushort Id { get; }

    /// <summary>Base class, subclass and programming interface for PCI, as 0xBBSSPP.</summary>
    internal virtual uint PciClass => 0xFF_0000;

    /// <summary>The feature bits of this device type (0-23, 50-127 of which 50-63 fit).</summary>
    internal abstract ulong DeviceFeatures { get; }

    /// <summary>Bytes of the configuration space.</summary>
    internal abstract int ConfigurationLength { get; }

    /// <summary>The queues.</summary>
    internal ReadOnlySpan<Virtqueue> Queues => _queues;

    /// <summary>What driver and device have agreed on; 0 before.</summary>
    internal ulong Features { get; set; }

    /// <summary>The device stopped because of what the driver did, and waits for a reset.</summary>
    internal bool NeedsReset => Volatile.Read(ref _needsReset) != 0;

    /// <summary>The driver may have packed rings. Set before the machine runs.</summary>
    internal bool OffersPacked { get; set; }

    /// <summary>Connects the device to its transport. Once, before the machine runs.</summary>
    internal void Connect(IVirtioTransport transport) => _transport = transport;

    /// <summary>The driver put a request into a queue. On a vCPU's thread: host I/O belongs elsewhere.</summary>
    internal abstract void Notified(int queue);

    /// <summary>
    /// What the driver's notification of a queue rings, when that is all it does and an engine could do it; else null.
    /// </summary>
    internal virtual Doorbell? BellOf(int queue) => null;

    /// <summary>Reads the configuration space; the range is inside it. Any thread.</summary>
    internal abstract void ReadConfiguration(int offset, Span<byte> destination);

    /// <summary>The driver writes the configuration space; the range is inside it.</summary>
    internal virtual void WriteConfiguration(int offset, ReadOnlySpan<byte> source)
    {
    }

    /// <summary>The driver is ready (DRIVER_OK): queues are set up and features agreed on.</summary>
    internal virtual void Started()
    {
    }

    /// <summary>Goes back to the state after power-on. Returns when no thread touches the guest's buffers any more.</summary>
    internal void Reset()
    {
        foreach (Virtqueue queue in _queues)
        {
            queue.Reset();
        }

        Stopped(-1);
        Features = 0;
        Volatile.Write(ref _needsReset, 0);
    }

    /// <summary>Resets one queue (RING_RESET).</summary>
    internal void ResetQueue(int queue)
    {
        _queues[queue].Reset();
        Stopped(queue);
    }

    /// <inheritdoc/>
    public virtual void Dispose() => GC.SuppressFinalize(this);

    /// <summary>
    /// Queues were reset: no request of theirs is returned any more. Waits until none is under way.
    /// </summary>
    /// <param name="queue">The queue; -1 for all.</param>
    protected virtual void Stopped(int queue)
    {
    }

    /// <summary>Takes the next request of a queue, and looks for what the driver may have broken.</summary>
    /// <param name="queue">The queue's number.</param>
    /// <param name="chain">Gets the request.</param>
    /// <param name="more">True when another one waits.</param>
    protected bool TryTake(int queue, DescriptorChain chain, out bool more)
    {
        if (NeedsReset)
        {
            more = false;
            return false;
        }

        if (_queues[queue].TryTake(chain, out more))
        {
            return true;
        }

        if (_queues[queue].Fault is not null)
        {
            Fail();
        }

        return false;
    }

    /// <summary>Asks for a notification of a queue's next request: see <see cref="Virtqueue.AskForMore"/>.</summary>
    protected bool AskForMore(int queue) => _queues[queue].AskForMore();

    /// <summary>Returns a request to the driver.</summary>
    protected void Return(int queue, DescriptorChain chain, uint written)
    {
        if (_queues[queue].Return(chain, written))
        {
            _transport?.RaiseQueue(queue);
        }
    }

    /// <summary>Returns what was staged in a queue: see <see cref="Virtqueue.Stage"/>.</summary>
    protected void Publish(int queue)
    {
        if (_queues[queue].Publish())
        {
            _transport?.RaiseQueue(queue);
        }
    }

    /// <summary>A request that the device type does not allow: the device stops until it is reset.</summary>
    protected void Break(int queue, string what)
    {
        _queues[queue].Break(what);
        Fail();
    }

    /// <summary>The configuration changed: the driver is told.</summary>
    protected void ConfigurationChanged() => _transport?.RaiseConfiguration();

    private void Fail()
    {
        if (Interlocked.Exchange(ref _needsReset, 1) == 0)
        {
            _transport?.RaiseConfiguration();
        }
    }
}
