using System;

namespace Hull.Bus;

/// <summary>
/// Where one source sends its messages, which are the same for long: a vector of a card. Disposed of when the source is gone;
/// what it sends afterwards goes as any message.
/// </summary>
internal interface IMsiLine : IMsiSink, IDisposable;

/// <summary>A sink that prepares itself for such sources: KVM, whose irqfd is made for one message.</summary>
internal interface IMsiLines : IMsiSink
{
    /// <summary>A line for one source. It holds nothing before it is much used.</summary>
    IMsiLine OpenLine();
}
