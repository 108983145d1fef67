using System;
using System.Collections.Concurrent;
using Hull.Net;

namespace Hull.Tests.Devices.Virtio;

/// <summary>A port whose frames the test sends and looks at.</summary>
internal sealed class TestPort : IEthernetPort
{
    private readonly FrameRing _incoming = new(1 << 20);

    public OffloadAbility Takes { get; init; } = OffloadAbility.All;

    public int LargestFrame => EthernetFrame.LargestUnsegmented;

    public int Mtu { get; init; }

    public bool IsUp { get; private set; } = true;

    public Action? LinkChanged { get; set; }

    internal BlockingCollection<(byte[] Frame, FrameOffload Offload)> Sent { get; } = [];

    internal OffloadAbility Receiver { get; private set; }

    /// <summary>Frames are only counted, not kept.</summary>
    internal bool IsSink { get; init; }

    internal long Count { get; private set; }

    internal void Arrive(byte[] frame, FrameOffload offload = default) => _incoming.Put(frame, offload);

    internal void Plug(bool isIn)
    {
        IsUp = isIn;
        LinkChanged!();
    }

    public void SetReceiver(OffloadAbility able) => Receiver = able;

    public void Put(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        Count++;
        if (!IsSink)
        {
            Sent.Add((frame.ToArray(), offload));
        }
    }

    public void Flush()
    {
    }

    public Span<byte> Receive(out FrameOffload offload) => _incoming.Take(out offload);

    public void Stop() => _incoming.Stop();

    public void Dispose() => Sent.Dispose();
}
