using System.Threading;
using Hull.Memory;

namespace Hull.Devices.Virtio;

/// <summary>
/// The device's side of a virtqueue, split or packed. The driver may write anything anywhere at any time: each index and
/// descriptor is copied once and checked then. Any thread; requests may be returned in any order. Virtio 1.2 section 2.6,
/// "Virtqueues".
/// </summary>
internal sealed class Virtqueue
{
    private readonly Lock _lock = new();
    private readonly GuestMemory _memory;
    private IRing? _ring;
    private uint _epoch;
    private string? _fault;

    /// <summary>Makes a queue that is not set up.</summary>
    internal Virtqueue(GuestMemory memory, ushort maximumSize)
    {
        _memory = memory;
        MaximumSize = maximumSize;
        Size = maximumSize;
    }

    /// <summary>Entries at the most; a power of two.</summary>
    internal ushort MaximumSize { get; }

    /// <summary>Entries, as the driver chose.</summary>
    internal ushort Size { get; set; }

    /// <summary>Where the descriptor table is, or the packed ring.</summary>
    internal GuestPhysical Descriptors { get; set; }

    /// <summary>Where the driver's ring is (available), or its event suppression.</summary>
    internal GuestPhysical DriverRing { get; set; }

    /// <summary>Where the device's ring is (used), or its event suppression.</summary>
    internal GuestPhysical DeviceRing { get; set; }

    /// <summary>The driver has set the queue up.</summary>
    internal bool IsEnabled => Volatile.Read(ref _ring) is not null;

    /// <summary>What the driver did that no driver may; the device then needs a reset. Null: nothing.</summary>
    internal string? Fault => Volatile.Read(ref _fault);

    /// <summary>
    /// The driver wants no interrupts and has no other way to say when it will: it looks at the ring until its request is
    /// done, as firmware does. Virtio 1.2 section 2.7.7, "Used Buffer Notification Suppression".
    /// </summary>
    internal bool IsPolled
    {
        get
        {
            lock (_lock)
            {
                return _ring is { IsPolled: true };
            }
        }
    }

    /// <summary>The driver enables the queue with what it has set.</summary>
    /// <returns>False when the rings are not in RAM, or not aligned.</returns>
    internal bool TryEnable(ulong features)
    {
        RingPlace place = new(_memory, Descriptors, DriverRing, DeviceRing, Size, features);
        bool isPacked = (features & VirtioFeature.RingPacked) != 0;
        lock (_lock)
        {
            if (Size == 0 || Size > MaximumSize || !(isPacked ? PackedRing.Fits(place) : SplitRing.Fits(place)))
            {
                return false;
            }

            Volatile.Write(ref _ring, isPacked ? new PackedRing(place) : new SplitRing(place));
            return true;
        }
    }

    /// <summary>Back to what it was before the driver came; requests on their way are not returned any more.</summary>
    internal void Reset()
    {
        lock (_lock)
        {
            _epoch++;
            _ring = null;
            Size = MaximumSize;
            Descriptors = default;
            DriverRing = default;
            DeviceRing = default;
            Volatile.Write(ref _fault, null);
        }
    }

    /// <summary>
    /// Takes the next request. When there is none, the driver is asked to notify of the next; a caller that gets false
    /// may go and wait.
    /// </summary>
    /// <param name="chain">Gets the request's buffers.</param>
    /// <param name="more">True when another request waits behind it.</param>
    /// <returns>False when nothing is there, or the queue is not enabled or broken.</returns>
    internal bool TryTake(DescriptorChain chain, out bool more)
    {
        lock (_lock)
        {
            more = false;
            if (_ring is null || _fault is not null)
            {
                return false;
            }

            chain.Begin(_memory, _epoch);
            string? fault = null;
            bool taken = _ring.TryTake(chain, out more, ref fault);
            _fault = fault;
            return taken;
        }
    }

    /// <summary>Asks the driver to notify of the next request, though those that were taken are still under way.</summary>
    /// <returns>True when one waits already.</returns>
    internal bool AskForMore()
    {
        lock (_lock)
        {
            return _ring is not null && _fault is null && _ring.AskForMore();
        }
    }

    /// <summary>Returns a request.</summary>
    /// <param name="chain">The request.</param>
    /// <param name="written">Bytes that the device wrote to it, from the first writable one on.</param>
    /// <returns>True when the driver wants an interrupt.</returns>
    internal bool Return(DescriptorChain chain, uint written)
    {
        lock (_lock)
        {
            if (_ring is null || chain.Epoch != _epoch)
            {
                return false;
            }

            _ring.Stage(chain, written);
            return _ring.Publish();
        }
    }

    /// <summary>
    /// Prepares to return a request with others, all at once, as the buffers of one packet must be: the driver sees none
    /// before <see cref="Publish"/>. One thread takes from such a queue.
    /// </summary>
    /// <param name="chain">The request.</param>
    /// <param name="written">Bytes that the device wrote to it, from the first writable one on.</param>
    internal void Stage(DescriptorChain chain, uint written)
    {
        lock (_lock)
        {
            if (chain.Epoch == _epoch)
            {
                _ring?.Stage(chain, written);
            }
        }
    }

    /// <summary>Returns what was staged.</summary>
    /// <returns>True when the driver wants an interrupt.</returns>
    internal bool Publish()
    {
        lock (_lock)
        {
            return _ring is { HasStaged: true } && _ring.Publish();
        }
    }

    /// <summary>Takes back what was staged: those requests are the next to be taken again.</summary>
    internal void Unstage()
    {
        lock (_lock)
        {
            _ring?.Unstage();
        }
    }

    /// <summary>The driver broke the rules somewhere else in a request: the device needs a reset.</summary>
    internal void Break(string what)
    {
        lock (_lock)
        {
            _fault ??= what;
        }
    }
}
