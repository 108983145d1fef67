using System;

namespace Hull.Net;

/// <summary>Takes frames.</summary>
internal interface IFrameSink
{
    /// <summary>Takes a frame, from the destination address to the last byte of its payload (no check sequence).</summary>
    /// <param name="frame">The frame; only for the time of the call.</param>
    /// <param name="offload">What its sender has left to do.</param>
    void Put(ReadOnlySpan<byte> frame, in FrameOffload offload);
}

/// <summary>
/// One end of an Ethernet, without the guest: a network card's device stands on it. Frames that cannot go on are dropped, as
/// on any Ethernet. <see cref="IFrameSink.Put"/> comes from several threads; a frame may stay with the port until
/// <see cref="Flush"/>, and neither takes longer than a fraction of a second.
/// </summary>
internal interface IEthernetPort : IFrameSink, IDisposable
{
    /// <summary>What may be left to do in a frame that the port is given.</summary>
    OffloadAbility Takes { get; }

    /// <summary>Bytes of the largest frame that the port takes.</summary>
    int LargestFrame { get; }

    /// <summary>The largest payload on this network, in bytes; 0: the guest's choice.</summary>
    int Mtu { get; }

    /// <summary>The cable is in.</summary>
    bool IsUp { get; }

    /// <summary>Called whenever <see cref="IsUp"/> has changed, on a thread of the port's. Set before the first Receive.</summary>
    Action? LinkChanged { get; set; }

    /// <summary>Says what the receiver can do itself; until then, nothing.</summary>
    void SetReceiver(OffloadAbility able);

    /// <summary>Sends what is still here.</summary>
    void Flush();

    /// <summary>
    /// The next frame for this end; waits for one. One thread. The bytes are the caller's, to change too, until the next
    /// call.
    /// </summary>
    /// <param name="offload">What its sender has left to do.</param>
    /// <returns>The frame; empty after <see cref="Stop"/>.</returns>
    Span<byte> Receive(out FrameOffload offload);

    /// <summary>Ends the wait in <see cref="Receive"/> for good.</summary>
    void Stop();
}

/// <summary>A card without a cable.</summary>
internal sealed class UnpluggedPort : IEthernetPort
{
    /// <inheritdoc/>
    public OffloadAbility Takes => OffloadAbility.All;

    /// <inheritdoc/>
    public int LargestFrame => EthernetFrame.LargestUnsegmented;

    /// <inheritdoc/>
    public int Mtu => 0;

    /// <inheritdoc/>
    public bool IsUp => false;

    /// <inheritdoc/>
    public Action? LinkChanged { get; set; }

    /// <inheritdoc/>
    public void SetReceiver(OffloadAbility able)
    {
    }

    /// <inheritdoc/>
    public void Put(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
    }

    /// <inheritdoc/>
    public void Flush()
    {
    }

    /// <inheritdoc/>
    public Span<byte> Receive(out FrameOffload offload)
    {
        offload = default;
        return [];
    }

    /// <inheritdoc/>
    public void Stop()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
