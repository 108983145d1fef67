using System.Threading;
using Hull.Memory;

namespace Hull.Devices.Virtio;

/// <summary>
/// The device's side of a split virtqueue. The driver may write anything anywhere at any time: each index and descriptor
/// is copied once and checked then. Any thread; requests may be returned in any order. Virtio 1.2 section 2.7, "Split
/// Virtqueues".
/// </summary>
internal sealed class Virtqueue
{
    private const ushort DescriptorNext = 1;
    private const ushort DescriptorWrite = 2;
    private const ushort DescriptorIndirect = 4;
    private const ushort NoInterrupt = 1;
    private const ushort NoNotify = 1;
    private const uint DescriptorSize = 16;

    private readonly Lock _lock = new();
    private readonly GuestMemory _memory;
    private ushort _nextAvailable;
    private ushort _nextUsed;
    private ushort _staged;
    private ushort _signalledUsed;
    private bool _eventIndex;
    private bool _indirect;
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

    /// <summary>Where the descriptor table is.</summary>
    internal GuestPhysical Descriptors { get; set; }

    /// <summary>Where the driver's ring is (available).</summary>
    internal GuestPhysical DriverRing { get; set; }

    /// <summary>Where the device's ring is (used).</summary>
    internal GuestPhysical DeviceRing { get; set; }

    /// <summary>The driver has set the queue up.</summary>
    internal bool IsEnabled { get; private set; }

    /// <summary>What the driver did that no driver may; the device then needs a reset. Null: nothing.</summary>
    internal string? Fault => Volatile.Read(ref _fault);

    /// <summary>The driver enables the queue with what it has set.</summary>
    /// <returns>False when the rings are not in RAM, or not aligned.</returns>
    internal bool TryEnable(ulong features)
    {
        lock (_lock)
        {
            bool good = Size != 0 && Size <= MaximumSize && (Size & (Size - 1)) == 0
                && (Descriptors.Value & 15) == 0 && (DriverRing.Value & 1) == 0 && (DeviceRing.Value & 3) == 0
                && _memory.Contains(Descriptors, DescriptorSize * Size)
                && _memory.Contains(DriverRing, 6u + (2u * Size))
                && _memory.Contains(DeviceRing, 6u + (8u * Size));
            if (!good)
            {
                return false;
            }

            _eventIndex = (features & VirtioFeature.EventIndex) != 0;
            _indirect = (features & VirtioFeature.IndirectDescriptors) != 0;
            IsEnabled = true;
            return true;
        }
    }

    /// <summary>Back to what it was before the driver came; requests on their way are not returned any more.</summary>
    internal void Reset()
    {
        lock (_lock)
        {
            _epoch++;
            IsEnabled = false;
            Size = MaximumSize;
            Descriptors = default;
            DriverRing = default;
            DeviceRing = default;
            _nextAvailable = 0;
            _nextUsed = 0;
            _staged = 0;
            _signalledUsed = 0;
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
            if (!IsEnabled || _fault is not null || !TryFindAvailable(out ushort waiting))
            {
                return false;
            }

            more = waiting > 1;
            ushort head = _memory.Read<ushort>(DriverRing + 4u + (2u * (uint)(_nextAvailable & (Size - 1))));
            _nextAvailable++;
            chain.Begin(_memory, head, _epoch);
            return TryCollect(chain, head);
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
            if (!IsEnabled || chain.Epoch != _epoch)
            {
                return false;
            }

            WriteUsed(chain, written);
            return Advance();
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
            if (IsEnabled && chain.Epoch == _epoch)
            {
                WriteUsed(chain, written);
            }
        }
    }

    /// <summary>Returns what was staged.</summary>
    /// <returns>True when the driver wants an interrupt.</returns>
    internal bool Publish()
    {
        lock (_lock)
        {
            return _staged != 0 && Advance();
        }
    }

    /// <summary>Takes back what was staged: those requests are the next to be taken again.</summary>
    internal void Unstage()
    {
        lock (_lock)
        {
            _nextAvailable -= _staged;
            _staged = 0;
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

    private void WriteUsed(DescriptorChain chain, uint written)
    {
        GuestPhysical entry = DeviceRing + 4u + (8u * (uint)((_nextUsed + _staged) & (Size - 1)));
        _memory.Write(entry, (uint)chain.Head);
        _memory.Write(entry + 4u, written);
        _staged++;
    }

    private bool Advance()
    {
        _nextUsed += _staged;
        _staged = 0;

        // x86 keeps stores in order; the compiler must too.
        Volatile.WriteBarrier();
        _memory.Write(DeviceRing + 2u, _nextUsed);

        // The driver writes what it wants to be told of, then looks at our index; we do it the other way round.
        Interlocked.MemoryBarrier();
        return WantsInterrupt();
    }

    private bool WantsInterrupt()
    {
        if (!_eventIndex)
        {
            return (_memory.Read<ushort>(DriverRing) & NoInterrupt) == 0;
        }

        // Virtio 1.2 section 2.7.7.2: an interrupt when the index has just moved over the driver's mark.
        ushort mark = _memory.Read<ushort>(DriverRing + 4u + (2u * Size));
        ushort old = _signalledUsed;
        bool wants = (ushort)(_nextUsed - mark - 1) < (ushort)(_nextUsed - old);
        _signalledUsed = _nextUsed;
        return wants;
    }

    // How many requests wait. With none the driver's notifications are asked for, and it is looked once more.
    private bool TryFindAvailable(out ushort waiting)
    {
        if (!TryCount(out waiting))
        {
            return false;
        }

        if (waiting != 0)
        {
            if (!_eventIndex)
            {
                SetNotifications(false);
            }

            return true;
        }

        SetNotifications(true);
        Interlocked.MemoryBarrier();
        return TryCount(out waiting) && waiting != 0;
    }

    private bool TryCount(out ushort waiting)
    {
        waiting = (ushort)(_memory.Read<ushort>(DriverRing + 2u) - _nextAvailable);
        Volatile.ReadBarrier();
        if (waiting > Size)
        {
            _fault ??= $"the available index is {waiting} ahead in a queue of {Size}";
            return false;
        }

        return true;
    }

    private void SetNotifications(bool wanted)
    {
        if (_eventIndex)
        {
            _memory.Write(DeviceRing + 4u + (8u * Size), _nextAvailable);
        }
        else
        {
            _memory.Write(DeviceRing, wanted ? (ushort)0 : NoNotify);
        }
    }

    private bool TryCollect(DescriptorChain chain, ushort head)
    {
        GuestPhysical table = Descriptors;
        uint entries = Size;
        uint index = head;
        for (int steps = 0; steps < DescriptorChain.MaximumSegments; steps++)
        {
            if (index >= entries)
            {
                return Fail($"descriptor {index} of a table of {entries}");
            }

            Descriptor descriptor = _memory.Read<Descriptor>(table + (index * DescriptorSize));
            if ((descriptor.Flags & DescriptorIndirect) != 0)
            {
                bool inTable = table != Descriptors;
                uint count = descriptor.Length / DescriptorSize;
                if (!_indirect || inTable || (descriptor.Flags & DescriptorNext) != 0 || count == 0
                    || descriptor.Length % DescriptorSize != 0 || count > ushort.MaxValue
                    || !_memory.Contains(new GuestPhysical(descriptor.Address), descriptor.Length))
                {
                    return Fail($"an indirect table of {descriptor.Length} bytes at 0x{descriptor.Address:x}");
                }

                table = new GuestPhysical(descriptor.Address);
                entries = count;
                index = 0;
                continue;
            }

            bool writable = (descriptor.Flags & DescriptorWrite) != 0;
            if (!chain.TryAdd(new GuestPhysical(descriptor.Address), descriptor.Length, writable))
            {
                return Fail($"a buffer of {descriptor.Length} bytes at 0x{descriptor.Address:x}");
            }

            if ((descriptor.Flags & DescriptorNext) == 0)
            {
                return true;
            }

            index = descriptor.Next;
        }

        return Fail("a chain without an end");
    }

    private bool Fail(string what)
    {
        _fault ??= what;
        return false;
    }

    // Virtio 1.2 section 2.7.5, "The Virtqueue Descriptor Table".
    private readonly record struct Descriptor(ulong Address, uint Length, ushort Flags, ushort Next);
}
