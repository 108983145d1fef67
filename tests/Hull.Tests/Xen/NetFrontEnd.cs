using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Globalization;
using System.Text;
using System.Threading;
using Hull.Devices.Virtio;
using Hull.Memory;
using Hull.Tests.Devices.Virtio;
using Hull.Xen.Events;
using Hull.Xen.Network;
using Hull.Xen.Store;
using Xunit;

namespace Hull.Tests.Xen;

/// <summary>A front end of a network card, as a test drives it: rings, grants and nodes of its own.</summary>
internal sealed class NetFrontEnd : IDisposable
{
    internal const ulong SendRing = 0x20_0000;
    internal const ulong ReceiveRing = 0x20_1000;

    /// <summary>Grant reference 8 + i is the page <see cref="Page"/>(i); 100 + i the same, to be read only.</summary>
    internal const uint FirstReference = 8;
    internal const uint FirstReadOnly = 100;

    private const string Front = "/local/domain/1/device/vif/0";
    private const string BackPath = "/local/domain/0/backend/vif/1/0";
    private const ulong GrantFrame = 0x8000UL << 12;
    private const int Slots = 256;

    private uint _sent;
    private uint _posted;

    internal NetFrontEnd(params string[] features)
    {
        Assert.Equal(0, Domain.CallWith(12, 7, 0x7FF0, 1, 0, 0, 0x8000, 0));
        Grant(2, 1, SendRing);
        Grant(3, 1, ReceiveRing);
        for (uint i = 0; i < 32; i++)
        {
            Grant(FirstReference + i, 1, Page(i));
            Grant(FirstReadOnly + i, 1 | 4, Page(i));
        }

        Backend = new NetBackend(Domain.Domain, new NetCard(Port, [2, 0, 0, 0, 0, 1], 2), 0);
        Features = features;
    }

    internal TestDomain Domain { get; } = new();

    internal TestPort Port { get; } = new();

    internal NetBackend Backend { get; }

    internal string[] Features { get; set; }

    /// <summary>A node that is written last, over another.</summary>
    internal (string Key, string Value)? After { get; init; }

    internal string? BackState => Back("state");

    /// <summary>What the back end says under a key.</summary>
    internal string? Back(string key) => Read($"{BackPath}/{key}");

    internal static ulong Page(uint index) => 0x10_8000 + (index * 0x1000);

    /// <summary>What Linux does: two ports, two rings, and says that it is connected.</summary>
    internal void Connect()
    {
        _sent = _posted = 0;
        Domain.Memory.TryWrite(new GuestPhysical(SendRing), new byte[GuestMemory.PageSize]);
        Domain.Memory.TryWrite(new GuestPhysical(ReceiveRing), new byte[GuestMemory.PageSize]);
        Domain.Memory.Write(new GuestPhysical(SendRing + 12), 1u);
        Domain.Memory.Write(new GuestPhysical(ReceiveRing + 12), 1u);
        SendPort = Domain.Domain.Events.Allocate(PortState.Unbound, 0)!;    // the first of many
        ReceivePort = Domain.Domain.Events.Allocate(PortState.Unbound, 0)!;
        Write("tx-ring-ref", "2");
        Write("rx-ring-ref", "3");
        Write("event-channel-tx", SendPort.Number.ToString(CultureInfo.InvariantCulture));
        Write("event-channel-rx", ReceivePort.Number.ToString(CultureInfo.InvariantCulture));
        foreach (string feature in Features)
        {
            Write(feature, "1");
        }

        if (After is var (key, value))
        {
            Write(key, value);
        }

        SetState("4");
    }

    internal EventPort SendPort { get; private set; } = null!;

    internal EventPort ReceivePort { get; private set; } = null!;

    internal void SetState(string state) => Domain.Domain.Act(() =>
    {
        Write("state", state);
        Domain.Domain.Store.Store.Announce();
    });

    internal void WaitForState(string state) => Assert.True(
        SpinWait.SpinUntil(() => BackState == state, TimeSpan.FromSeconds(60)), $"state {BackState}, not {state}");

    /// <summary>Puts raw slots into the sending ring, and notifies.</summary>
    internal void Send(params byte[][] slots)
    {
        foreach (byte[] slot in slots)
        {
            Domain.Memory.TryWrite(new GuestPhysical(SendRing + 64 + (_sent++ % Slots * 12)), slot);
        }

        ClaimSent(_sent);
    }

    internal void ClaimSent(uint producer)
    {
        _sent = producer;
        Domain.Memory.Write(new GuestPhysical(SendRing), producer);
        Kick(SendPort);
    }

    internal static byte[] Slot(uint reference, ushort offset, ushort flags, ushort id, ushort size)
    {
        byte[] slot = new byte[12];
        BinaryPrimitives.WriteUInt32LittleEndian(slot, reference);
        BinaryPrimitives.WriteUInt16LittleEndian(slot.AsSpan(4), offset);
        BinaryPrimitives.WriteUInt16LittleEndian(slot.AsSpan(6), flags);
        BinaryPrimitives.WriteUInt16LittleEndian(slot.AsSpan(8), id);
        BinaryPrimitives.WriteUInt16LittleEndian(slot.AsSpan(10), size);
        return slot;
    }

    /// <summary>The answers to all that was sent, id and status each.</summary>
    internal (ushort Id, short Status)[] WaitForAnswers()
    {
        Assert.True(SpinWait.SpinUntil(() => Answered == _sent, TimeSpan.FromSeconds(60)), "no answer");
        List<(ushort, short)> answers = [];
        for (uint i = 0; i < _sent; i++)
        {
            ulong at = SendRing + 64 + (i % Slots * 12);
            answers.Add((Domain.Memory.Read<ushort>(new GuestPhysical(at)), Domain.Memory.Read<short>(new GuestPhysical(at + 2))));
        }

        return [.. answers];
    }

    /// <summary>Until the other side has taken so many and wants to be told of the next.</summary>
    internal void WaitUntilTaken(uint count) => Assert.True(
        SpinWait.SpinUntil(
            () => Domain.Memory.Read<uint>(new GuestPhysical(SendRing + 4)) == count + 1, TimeSpan.FromSeconds(60)),
        "not taken");

    internal uint Answered => Domain.Memory.Read<uint>(new GuestPhysical(SendRing + 8));

    internal uint Received => Domain.Memory.Read<uint>(new GuestPhysical(ReceiveRing + 8));

    /// <summary>Gives pages to be filled, and notifies as a driver that was asked to.</summary>
    internal void Post(params uint[] references)
    {
        foreach (uint reference in references)
        {
            ulong at = ReceiveRing + 64 + (_posted % Slots * 8);
            Domain.Memory.Write(new GuestPhysical(at), _posted++);
            Domain.Memory.Write(new GuestPhysical(at + 4), reference);
        }

        Domain.Memory.Write(new GuestPhysical(ReceiveRing), _posted);
        Kick(ReceivePort);
    }

    /// <summary>Answer <paramref name="index"/> of the receiving ring as its four halves: id, offset, flags, status.</summary>
    internal ushort[] Answer(uint index)
    {
        Assert.True(SpinWait.SpinUntil(() => Received > index, TimeSpan.FromSeconds(60)), "nothing received");
        ushort[] halves = new ushort[4];
        for (uint i = 0; i < 4; i++)
        {
            halves[i] = Domain.Memory.Read<ushort>(new GuestPhysical(ReceiveRing + 64 + (index % Slots * 8) + (2 * i)));
        }

        return halves;
    }

    internal byte[] ReadPage(uint index, int length)
    {
        byte[] bytes = new byte[length];
        Domain.Memory.TryRead(new GuestPhysical(Page(index)), bytes);
        return bytes;
    }

    internal uint Flags(uint reference) => Domain.Memory.Read<uint>(new GuestPhysical(GrantFrame + (reference * 8)));

    public void Dispose()
    {
        Backend.Dispose();
        Domain.Dispose();
    }

    private void Kick(EventPort port) => Assert.Equal(0, Domain.CallWith(32, 4, (uint)port.Number));

    private void Grant(uint reference, ushort flags, ulong page)
    {
        GuestPhysical entry = new(GrantFrame + (reference * 8));
        Domain.Memory.Write(entry, (uint)flags);
        Domain.Memory.Write(new GuestPhysical(entry.Value + 4), (uint)(page >> 12));
    }

    private void Write(string key, string value) =>
        Domain.Domain.Store.Store.Tree.Write(0, $"{Front}/{key}", Encoding.ASCII.GetBytes(value));

    private string? Read(string path)
    {
        lock (Domain.Domain.Lock)
        {
            return Domain.Domain.Store.Store.Tree.Find(path) is StoreNode node ? Encoding.Latin1.GetString([.. node.Value]) : null;
        }
    }
}
