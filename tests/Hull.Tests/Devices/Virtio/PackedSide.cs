using Hull.Memory;

namespace Hull.Tests.Devices.Virtio;

/// <summary>
/// A driver's side of a packed ring. Tests describe chains in a table as a split ring has it; offering one copies it into the
/// ring, with all that is wrong in it.
/// </summary>
internal sealed class PackedSide(GuestMemory memory, ulong table, int size)
{
    internal const ulong RingOffset = 0xE000;
    private const int AvailableFlag = 1 << 7;
    private const int UsedFlag = 1 << 15;
    private readonly ushort[] _slots = new ushort[65536];
    private int _next;
    private int _nextUsed;
    private bool _wrap = true;
    private bool _usedWrap = true;
    private ushort _count;

    /// <summary>What the device said last.</summary>
    internal uint Id { get; private set; }

    /// <summary>What the device said last.</summary>
    internal uint Length { get; private set; }

    internal void Offer(ushort head)
    {
        int first = _next;
        ushort firstFlags = 0;
        ushort index = head;
        ushort slots = 0;
        bool more = true;
        while (more && slots < size)
        {
            GuestPhysical from = new(table + ((ulong)(index % 1024) * 16));
            GuestPhysical to = Entry(_next);
            ushort flags = (ushort)(memory.Read<ushort>(from + 12u) & 7);
            more = (flags & VirtioDriver.Next) != 0;
            index = memory.Read<ushort>(from + 14u);
            memory.Write(to, memory.Read<ulong>(from));
            memory.Write(to + 8u, memory.Read<uint>(from + 8u));
            memory.Write(to + 12u, head);
            flags |= (ushort)(_wrap ? AvailableFlag : UsedFlag);
            if (slots++ == 0)
            {
                firstFlags = flags;
            }
            else
            {
                memory.Write(to + 14u, flags);
            }

            Move(ref _next, ref _wrap, 1);
        }

        _slots[head] = slots;
        memory.Write(Entry(first) + 14u, firstFlags);
    }

    /// <summary>How many requests came back since the start.</summary>
    internal ushort CountUsed()
    {
        while (true)
        {
            ushort flags = memory.Read<ushort>(Entry(_nextUsed) + 14u);
            bool used = ((flags & AvailableFlag) != 0) == _usedWrap && ((flags & UsedFlag) != 0) == _usedWrap;
            if (!used)
            {
                return _count;
            }

            Length = memory.Read<uint>(Entry(_nextUsed) + 8u);
            Id = memory.Read<ushort>(Entry(_nextUsed) + 12u);
            Move(ref _nextUsed, ref _usedWrap, System.Math.Max(_slots[Id], (ushort)1));
            _count++;
        }
    }

    private GuestPhysical Entry(int index) => new(table + RingOffset + ((ulong)index * 16));

    private void Move(ref int at, ref bool wrap, int slots)
    {
        at += slots;
        if (at >= size)
        {
            at -= size;
            wrap = !wrap;
        }
    }
}
