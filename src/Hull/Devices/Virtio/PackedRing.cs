using System.Threading;
using Hull.Memory;

namespace Hull.Devices.Virtio;

/// <summary>
/// A packed ring: one ring of descriptors that driver and device write in turn; two bits of each say whose turn it is.
/// Virtio 1.2 section 2.8, "Packed Virtqueues".
/// </summary>
internal sealed class PackedRing(RingPlace place) : IRing
{
    private const ushort AvailableFlag = 1 << 7;
    private const ushort UsedFlag = 1 << 15;
    private const ushort EventsOn = 0;
    private const ushort EventsOff = 1;
    private const ushort EventsAtIndex = 2;
    private const uint DescriptorSize = 16;
    private const uint FlagsAt = 14;

    private readonly GuestMemory _memory = place.Memory;
    private readonly Staged[] _staged = new Staged[place.Size];
    private int _stagedCount;
    private int _stagedSlots;
    private int _nextAvailable;
    private int _nextUsed;
    private bool _availableWrap = true;
    private bool _usedWrap = true;

    /// <inheritdoc/>
    public bool IsPolled => false; // no firmware knows packed rings

    /// <inheritdoc/>
    public bool HasStaged => _stagedCount != 0;

    /// <summary>True when the parts are aligned and in RAM. A packed ring need not be a power of two.</summary>
    internal static bool Fits(in RingPlace place) =>
        (place.Descriptors.Value & 15) == 0 && (place.DriverArea.Value & 3) == 0 && (place.DeviceArea.Value & 3) == 0
        && place.Memory.Contains(place.Descriptors, DescriptorSize * place.Size)
        && place.Memory.Contains(place.DriverArea, 4)
        && place.Memory.Contains(place.DeviceArea, 4);

    /// <inheritdoc/>
    public bool TryTake(DescriptorChain chain, out bool more, ref string? fault)
    {
        more = false;
        if (!IsAvailable())
        {
            if (!AskForMore())
            {
                return false;
            }
        }
        else if (!place.HasEventIndex)
        {
            _memory.Write(place.DeviceArea + 2u, EventsOff);
        }

        if (!TryCollect(chain, ref fault))
        {
            return false;
        }

        Move(ref _nextAvailable, ref _availableWrap, chain.Slots);
        more = IsAvailable();
        return true;
    }

    /// <inheritdoc/>
    public bool AskForMore()
    {
        AskForNotifications();
        Interlocked.MemoryBarrier();
        return IsAvailable();
    }

    /// <inheritdoc/>
    public void Stage(DescriptorChain chain, uint written)
    {
        // Written when published: the entry may be the chain's own, which is needed again after Unstage. A driver that gives
        // more chains than there are entries has made some of them twice.
        if (_stagedCount < _staged.Length)
        {
            _staged[_stagedCount++] = new Staged(chain.Head, chain.Slots, written);
            _stagedSlots += chain.Slots;
        }
    }

    /// <inheritdoc/>
    public bool Publish()
    {
        int first = _nextUsed;
        bool firstWrap = _usedWrap;
        for (int i = 0; i < _stagedCount; i++)
        {
            GuestPhysical entry = Entry(_nextUsed);
            _memory.Write(entry + 8u, _staged[i].Written);
            _memory.Write(entry + 12u, _staged[i].Id);
            if (i > 0)
            {
                _memory.Write(entry + FlagsAt, UsedFlags(_staged[i], _usedWrap));
            }

            Move(ref _nextUsed, ref _usedWrap, _staged[i].Slots);
        }

        // With the first one's flags the driver sees them all. x86 keeps stores in order; the compiler must too.
        Volatile.WriteBarrier();
        _memory.Write(Entry(first) + FlagsAt, UsedFlags(_staged[0], firstWrap));
        int moved = _stagedSlots;
        _stagedCount = 0;
        _stagedSlots = 0;

        // The driver writes what it wants to be told of, then looks at the ring; we do it the other way round.
        Interlocked.MemoryBarrier();
        return WantsInterrupt(moved);
    }

    /// <inheritdoc/>
    public void Unstage()
    {
        _nextAvailable -= _stagedSlots;
        if (_nextAvailable < 0)
        {
            _nextAvailable += place.Size;
            _availableWrap = !_availableWrap;
        }

        _stagedCount = 0;
        _stagedSlots = 0;
    }

    private static ushort UsedFlags(in Staged staged, bool wrap) =>
        (ushort)((wrap ? AvailableFlag | UsedFlag : 0) | (staged.Written != 0 ? DescriptorFlag.Write : 0));

    private void Move(ref int at, ref bool wrap, int slots)
    {
        at += slots;
        if (at >= place.Size)
        {
            at -= place.Size;
            wrap = !wrap;
        }
    }

    private GuestPhysical Entry(int index) => place.Descriptors + (DescriptorSize * (uint)index);

    // Section 2.8.1, "Driver and Device Ring Wrap Counters".
    private bool IsAvailable()
    {
        ushort flags = _memory.Read<ushort>(Entry(_nextAvailable) + FlagsAt);
        Volatile.ReadBarrier();
        return ((flags & AvailableFlag) != 0) == _availableWrap && ((flags & UsedFlag) != 0) != _availableWrap;
    }

    private bool TryCollect(DescriptorChain chain, ref string? fault)
    {
        int at = _nextAvailable;
        for (ushort slots = 1; slots <= place.Size; slots++)
        {
            Descriptor descriptor = _memory.Read<Descriptor>(Entry(at));
            at = at + 1 == place.Size ? 0 : at + 1;
            bool isLast = (descriptor.Flags & DescriptorFlag.Next) == 0;
            bool isIndirect = (descriptor.Flags & DescriptorFlag.Indirect) != 0;
            if (isIndirect ? slots != 1 || !isLast || !TryCollectTable(chain, descriptor) : !TryAdd(chain, descriptor))
            {
                fault = $"a buffer of {descriptor.Length} bytes at 0x{descriptor.Address:x}";
                return false;
            }

            if (isLast)
            {
                chain.Head = descriptor.Id;
                chain.Slots = slots;
                return true;
            }
        }

        fault = "a chain without an end";
        return false;
    }

    // Section 2.8.7, "Indirect Flag: Scatter-Gather Support": all entries of the table, in order.
    private bool TryCollectTable(DescriptorChain chain, in Descriptor table)
    {
        uint count = table.Length / DescriptorSize;
        GuestPhysical at = new(table.Address);
        if (!place.HasIndirect || count is 0 or > DescriptorChain.MaximumSegments || table.Length % DescriptorSize != 0
            || !_memory.Contains(at, table.Length))
        {
            return false;
        }

        for (uint i = 0; i < count; i++)
        {
            Descriptor descriptor = _memory.Read<Descriptor>(at + (i * DescriptorSize));
            if ((descriptor.Flags & DescriptorFlag.Indirect) != 0 || !TryAdd(chain, descriptor))
            {
                return false;
            }
        }

        return true;
    }

    private static bool TryAdd(DescriptorChain chain, in Descriptor descriptor) => chain.TryAdd(
        new GuestPhysical(descriptor.Address), descriptor.Length, (descriptor.Flags & DescriptorFlag.Write) != 0);

    // Section 2.8.10, "Event Suppression Structure Format".
    private void AskForNotifications()
    {
        if (place.HasEventIndex)
        {
            _memory.Write(place.DeviceArea, (ushort)(_nextAvailable | (_availableWrap ? 0x8000 : 0)));
            Volatile.WriteBarrier();
            _memory.Write(place.DeviceArea + 2u, EventsAtIndex);
        }
        else
        {
            _memory.Write(place.DeviceArea + 2u, EventsOn);
        }
    }

    private bool WantsInterrupt(int moved)
    {
        ushort flags = (ushort)(_memory.Read<ushort>(place.DriverArea + 2u) & 3);
        Volatile.ReadBarrier();
        if (flags != EventsAtIndex || !place.HasEventIndex)
        {
            return flags != EventsOff;
        }

        // Counted from where the device is now: was the driver's mark passed just now?
        ushort mark = _memory.Read<ushort>(place.DriverArea);
        int behind = _nextUsed - (mark & 0x7FFF) + ((mark >> 15 != 0) == _usedWrap ? 0 : place.Size);
        return behind > 0 && behind <= moved;
    }

    private readonly record struct Staged(ushort Id, ushort Slots, uint Written);

    // Section 2.8.13, "The Virtqueue Descriptor Ring": the identifier is that of the last descriptor of a chain.
    private readonly record struct Descriptor(ulong Address, uint Length, ushort Id, ushort Flags);
}
