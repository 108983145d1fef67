using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Bus;
using Hull.Devices;
using Hull.Devices.Virtio;
using Hull.Memory;

namespace Hull.Tests.Devices.Virtio;

/// <summary>
/// A driver for one device behind the PCI transport, as a guest would be: it lays rings in real guest memory, with
/// every detail open to be got wrong.
/// </summary>
internal sealed class VirtioDriver : IDisposable
{
    internal const ulong RingsAt = 0x10_0000;
    internal const ulong RingBytes = 0x1_0000;
    internal const ulong DataAt = 0x40_0000;
    internal const ushort Next = 1;
    internal const ushort Write = 2;
    internal const ushort Indirect = 4;
    private const ulong Notify = 0x3000;

    private readonly VirtioPci _pci;
    private readonly RecordingSink _messages = new();
    private readonly Dictionary<int, ushort> _available = [];
    private readonly Dictionary<int, ushort> _used = [];
    private readonly Dictionary<int, PackedSide> _packed = [];
    private readonly bool _isPacked;
    private readonly bool _hasBells;

    /// <summary>Makes the device that a spec describes, behind the transport.</summary>
    internal VirtioDriver(DeviceSpec spec, bool threads = false, bool packed = false)
        : this(spec.Create, threads, packed)
    {
    }

    /// <summary>Puts a device behind the transport.</summary>
    /// <param name="create">Makes it.</param>
    /// <param name="threads">It has threads of its own.</param>
    /// <param name="packed">The rings are packed ones.</param>
    /// <param name="bells">Notifications ring as an engine's do: no write comes to the device where it has a doorbell.</param>
    internal VirtioDriver(Func<DeviceContext, VirtioDevice> create, bool threads, bool packed = false, bool bells = false)
    {
        _isPacked = packed;
        _hasBells = bells;
        Device = create(new DeviceContext { Memory = Memory, IsDeterministic = !threads, HasDoorbells = bells });
        Device.OffersPacked = packed;
        _pci = new VirtioPci(Device, _messages);
    }

    internal GuestMemory Memory { get; } = new(16 << 20, fileBytes: 4 << 20);

    internal VirtioDevice Device { get; }

    internal ulong Status => Read(0x14, 1);

    internal bool NeedsReset => (Status & VirtioStatus.NeedsReset) != 0;

    /// <summary>Interrupts since the start, by INTx (ISR is read).</summary>
    internal ulong TakeInterrupts() => Read(0x1000, 1);

    internal ulong Read(ulong offset, int size) => _pci.ReadMmio(offset, size);

    internal void WriteRegister(ulong offset, int size, ulong value) => _pci.WriteMmio(offset, size, value);

    /// <summary>Brings the device up to DRIVER_OK with features, all queues enabled.</summary>
    internal VirtioDriver Start(ulong features = VirtioFeature.Version1, ushort size = 16)
    {
        Negotiate(features | (_isPacked ? VirtioFeature.RingPacked : 0));
        for (int i = 0; i < Device.Queues.Length; i++)
        {
            SetUpQueue(i, size);
        }

        WriteRegister(0x14, 1, Status | VirtioStatus.DriverOk);
        return this;
    }

    internal void Negotiate(ulong features)
    {
        WriteRegister(0x14, 1, 0);
        _available.Clear();
        _used.Clear();
        _packed.Clear();
        WriteRegister(0x14, 1, VirtioStatus.Acknowledge | VirtioStatus.Driver);
        for (uint half = 0; half < 2; half++)
        {
            WriteRegister(0x08, 4, half);
            WriteRegister(0x0C, 4, (uint)(features >> (int)(32 * half)));
        }

        WriteRegister(0x14, 1, Status | VirtioStatus.FeaturesOk);
    }

    internal void SetUpQueue(int queue, ushort size)
    {
        WriteRegister(0x16, 2, (ulong)queue);
        WriteRegister(0x18, 2, size);
        Memory.TryClear(new GuestPhysical(Table(queue)), RingBytes);
        WriteRegister(0x20, 8, Table(queue) + (_isPacked ? PackedSide.RingOffset : 0));
        WriteRegister(0x28, 8, Table(queue) + 0x8000);
        WriteRegister(0x30, 8, Table(queue) + 0xC000);
        WriteRegister(0x1C, 2, 1);
    }

    /// <summary>The queue starts from its first entry again.</summary>
    internal void Forget(int queue)
    {
        _available.Remove(queue);
        _used.Remove(queue);
        _packed.Remove(queue);
    }

    /// <summary>Resets a queue alone, and sets it up with its three parts where the test wants them.</summary>
    internal void ReplaceQueue(int queue, ulong descriptors, ulong driverRing, ulong deviceRing)
    {
        WriteRegister(0x16, 2, (ulong)queue);
        WriteRegister(0x3A, 2, 1);
        WriteRegister(0x18, 2, 16);
        WriteRegister(0x20, 8, descriptors);
        WriteRegister(0x28, 8, driverRing);
        WriteRegister(0x30, 8, deviceRing);
        WriteRegister(0x1C, 2, 1);
    }

    internal static ulong Table(int queue) => RingsAt + ((ulong)queue * RingBytes);

    /// <summary>Writes one descriptor.</summary>
    internal void Describe(int queue, int index, ulong address, uint length, int flags, int next = 0) =>
        WriteDescriptor(Table(queue) + ((ulong)index * 16), address, length, (ushort)flags, (ushort)next);

    /// <summary>Writes one descriptor of an indirect table; those of packed rings have their flags last.</summary>
    internal void DescribeAt(ulong at, ulong address, uint length, int flags, int next = 0) => WriteDescriptor(
        at, address, length, _isPacked ? (ushort)0 : (ushort)flags, _isPacked ? (ushort)flags : (ushort)next);

    private void WriteDescriptor(ulong at, ulong address, uint length, ushort low, ushort high)
    {
        Memory.Write(new GuestPhysical(at), address);
        Memory.Write(new GuestPhysical(at + 8), length);
        Memory.Write(new GuestPhysical(at + 12), low);
        Memory.Write(new GuestPhysical(at + 14), high);
    }

    /// <summary>Makes a chain available and notifies.</summary>
    internal void Offer(int queue, ushort head, ushort size = 16)
    {
        OfferQuietly(queue, head, size);
        Ring(queue);
    }

    /// <summary>The device wants to be told of the next request. Without event indices.</summary>
    internal bool WantsNotification(int queue) => _isPacked
        ? Memory.Read<ushort>(new GuestPhysical(Table(queue) + 0xC002)) == 0
        : (Memory.Read<ushort>(new GuestPhysical(Table(queue) + 0xC000)) & 1) == 0;

    /// <summary>Makes a chain available.</summary>
    internal void OfferQuietly(int queue, ushort head, ushort size = 16)
    {
        if (_isPacked)
        {
            Packed(queue).Offer(head);
            return;
        }

        ushort index = _available.GetValueOrDefault(queue);
        Memory.Write(new GuestPhysical(Table(queue) + 0x8004 + ((ulong)(index & (size - 1)) * 2)), head);
        _available[queue] = ++index;
        Memory.Write(new GuestPhysical(Table(queue) + 0x8002), index);
    }

    /// <summary>A request of readable bytes and room for an answer, in descriptors 0 and 1.</summary>
    /// <returns>The answer, as long as the device says; null when it never came.</returns>
    internal byte[]? Request(int queue, ReadOnlySpan<byte> readable, int room)
    {
        Memory.TryWrite(new GuestPhysical(DataAt), readable);
        ulong answer = DataAt + 0x10_0000;
        Memory.TryClear(new GuestPhysical(answer), (ulong)room);
        int first = readable.Length > 0 ? 0 : 1;
        Describe(queue, 0, DataAt, (uint)readable.Length, room > 0 ? Next : 0, 1);
        Describe(queue, 1, answer, (uint)room, Write);
        Offer(queue, (ushort)first);
        if (!WaitUsed(queue, out uint _, out uint length))
        {
            return null;
        }

        byte[] bytes = new byte[Math.Min(length, (uint)room)];
        Memory.TryRead(new GuestPhysical(answer), bytes);
        return bytes;
    }

    /// <summary>Waits for the next used entry.</summary>
    internal bool WaitUsed(int queue, out uint id, out uint length, ushort size = 16)
    {
        ushort seen = _used.GetValueOrDefault(queue);
        bool came = SpinWait.SpinUntil(() => Used(queue) != seen || NeedsReset, TimeSpan.FromSeconds(20)) && Used(queue) != seen;
        if (_isPacked)
        {
            (id, length) = (Packed(queue).Id, Packed(queue).Length);
            _used[queue] = (ushort)(seen + (came ? 1 : 0));
            return came;
        }

        ulong at = Table(queue) + 0xC004 + ((ulong)(seen & (size - 1)) * 8);
        id = Memory.Read<uint>(new GuestPhysical(at));
        length = Memory.Read<uint>(new GuestPhysical(at + 4));
        _used[queue] = (ushort)(seen + (came ? 1 : 0));
        return came;
    }

    internal ushort Used(int queue) => _isPacked
        ? Packed(queue).CountUsed()
        : Memory.Read<ushort>(new GuestPhysical(Table(queue) + 0xC002));

    /// <summary>Notifies of a queue.</summary>
    internal void Ring(int queue)
    {
        if (_hasBells && Device.BellOf(queue) is { } bell)
        {
            bell.Ring();
        }
        else
        {
            WriteRegister(Notify + (4 * (ulong)queue), 2, (ulong)queue);
        }
    }

    private PackedSide Packed(int queue)
    {
        if (!_packed.TryGetValue(queue, out PackedSide? side))
        {
            side = new PackedSide(Memory, Table(queue), 16);
            _packed.Add(queue, side);
        }

        return side;
    }

    public void Dispose()
    {
        Device.Dispose();
        Memory.Dispose();
    }

    private sealed class RecordingSink : IMsiSink
    {
        public void Send(MsiMessage message)
        {
        }
    }
}
