using System.Threading;
using Hull.Memory;

namespace Hull.Devices.Virtio;

/// <summary>
/// A split ring: a table of descriptors, a ring of the driver's with what is available, one of the device's with what is
/// used. Virtio 1.2 section 2.7, "Split Virtqueues".
/// </summary>
internal sealed class SplitRing(RingPlace place) : IRing
{
    private const ushort NoInterrupt = 1;
    private const ushort NoNotify = 1;
    private const uint DescriptorSize = 16;

    private readonly GuestMemory _memory = place.Memory;
    private readonly bool _eventIndex = place.HasEventIndex;
    private readonly bool _indirect = place.HasIndirect;
    private ushort _nextAvailable;
    private ushort _nextUsed;
    private ushort _staged;
    private ushort _signalledUsed;

    /// <inheritdoc/>
    public bool IsPolled => !_eventIndex && (_memory.Read<ushort>(DriverRing) & NoInterrupt) != 0;

    /// <inheritdoc/>
    public bool HasStaged => _staged != 0;

    private GuestPhysical Descriptors => place.Descriptors;

    private GuestPhysical DriverRing => place.DriverArea;

    private GuestPhysical DeviceRing => place.DeviceArea;

    private ushort Size => place.Size;

    /// <summary>True when the parts are aligned, in RAM, and of a size that a split ring has.</summary>
    internal static bool Fits(in RingPlace place) => (place.Size & (place.Size - 1)) == 0
        && (place.Descriptors.Value & 15) == 0 && (place.DriverArea.Value & 1) == 0 && (place.DeviceArea.Value & 3) == 0
        && place.Memory.Contains(place.Descriptors, DescriptorSize * place.Size)
        && place.Memory.Contains(place.DriverArea, 6u + (2u * place.Size))
        && place.Memory.Contains(place.DeviceArea, 6u + (8u * place.Size));

    /// <inheritdoc/>
    public bool TryTake(DescriptorChain chain, out bool more, ref string? fault)
    {
        more = false;
        if (!TryFindAvailable(out ushort waiting, ref fault))
        {
            return false;
        }

        more = waiting > 1;
        ushort head = _memory.Read<ushort>(DriverRing + 4u + (2u * (uint)(_nextAvailable & (Size - 1))));
        _nextAvailable++;
        chain.Head = head;
        return TryCollect(chain, head, ref fault);
    }

    /// <inheritdoc/>
    public bool AskForMore()
    {
        SetNotifications(true);
        Interlocked.MemoryBarrier();
        return _memory.Read<ushort>(DriverRing + 2u) != _nextAvailable;
    }

    /// <inheritdoc/>
    public void Stage(DescriptorChain chain, uint written)
    {
        GuestPhysical entry = DeviceRing + 4u + (8u * (uint)((_nextUsed + _staged) & (Size - 1)));
        _memory.Write(entry, (uint)chain.Head);
        _memory.Write(entry + 4u, written);
        _staged++;
    }

    /// <inheritdoc/>
    public bool Publish()
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

    /// <inheritdoc/>
    public void Unstage()
    {
        _nextAvailable -= _staged;
        _staged = 0;
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
    private bool TryFindAvailable(out ushort waiting, ref string? fault)
    {
        if (!TryCount(out waiting, ref fault))
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

        return AskForMore() && TryCount(out waiting, ref fault);
    }

    private bool TryCount(out ushort waiting, ref string? fault)
    {
        waiting = (ushort)(_memory.Read<ushort>(DriverRing + 2u) - _nextAvailable);
        Volatile.ReadBarrier();
        if (waiting > Size)
        {
            fault = $"the available index is {waiting} ahead in a queue of {Size}";
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

    private bool TryCollect(DescriptorChain chain, ushort head, ref string? fault)
    {
        GuestPhysical table = Descriptors;
        uint entries = Size;
        uint index = head;
        for (int steps = 0; steps < DescriptorChain.MaximumSegments; steps++)
        {
            if (index >= entries)
            {
                return Fail(ref fault, $"descriptor {index} of a table of {entries}");
            }

            Descriptor descriptor = _memory.Read<Descriptor>(table + (index * DescriptorSize));
            if ((descriptor.Flags & DescriptorFlag.Indirect) != 0)
            {
                bool inTable = table != Descriptors;
                uint count = descriptor.Length / DescriptorSize;
                if (!_indirect || inTable || (descriptor.Flags & DescriptorFlag.Next) != 0 || count == 0
                    || descriptor.Length % DescriptorSize != 0 || count > ushort.MaxValue
                    || !_memory.Contains(new GuestPhysical(descriptor.Address), descriptor.Length))
                {
                    return Fail(ref fault, $"an indirect table of {descriptor.Length} bytes at 0x{descriptor.Address:x}");
                }

                table = new GuestPhysical(descriptor.Address);
                entries = count;
                index = 0;
                continue;
            }

            bool writable = (descriptor.Flags & DescriptorFlag.Write) != 0;
            if (!chain.TryAdd(new GuestPhysical(descriptor.Address), descriptor.Length, writable))
            {
                return Fail(ref fault, $"a buffer of {descriptor.Length} bytes at 0x{descriptor.Address:x}");
            }

            if ((descriptor.Flags & DescriptorFlag.Next) == 0)
            {
                return true;
            }

            index = descriptor.Next;
        }

        return Fail(ref fault, "a chain without an end");
    }

    private static bool Fail(ref string? fault, string what)
    {
        fault = what;
        return false;
    }

    // Virtio 1.2 section 2.7.5, "The Virtqueue Descriptor Table".
    private readonly record struct Descriptor(ulong Address, uint Length, ushort Flags, ushort Next);
}
