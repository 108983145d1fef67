using System;
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Numerics;
using Hull.Bus;

namespace Hull.Devices.Virtio;

/// <summary>Serves a message: reads a request, writes an answer, and says how long that is. Any thread, several at once.</summary>
internal delegate int MessageHandler(ReadOnlySpan<byte> request, Span<byte> reply);

/// <summary>
/// A queue whose requests are whole messages, each with room for its answer: copied out, served on a few threads, copied in.
/// </summary>
internal sealed class MessageQueue : IDisposable
{
    private readonly MessageHandler _handler;
    private readonly QueuePump _pump;
    private readonly ConcurrentBag<Work> _free = [];
    private readonly Pace _pace = new();

    /// <summary>Makes the host's side of a queue.</summary>
    /// <param name="name">For the threads' names.</param>
    /// <param name="threads">At the most; 0: who notifies does the work.</param>
    /// <param name="most">Bytes of a message at the most; a longer one breaks the device.</param>
    /// <param name="handler">Serves them.</param>
    /// <param name="bell">What an engine may ring for requests; the queue's from now on. Null: nothing.</param>
    internal MessageQueue(string name, int threads, int most, MessageHandler handler, Doorbell? bell = null)
    {
        _handler = handler;
        MostBytes = most;
        _pump = new QueuePump(name, threads, Step, bell);
    }

    /// <summary>Takes the next request of the queue; gives it back with the bytes of its answer; breaks the device.</summary>
    internal required Func<DescriptorChain, (bool Taken, bool More)> Take { get; init; }

    internal required Action<DescriptorChain, uint> Return { get; init; }

    /// <summary>Asks to be notified of the next request; true when one is there.</summary>
    internal required Func<bool> AskForMore { get; init; }

    /// <summary>A message, of which the header may be missing, is one that the host may take long for, as it does for a sync.</summary>
    internal required Predicate<ReadOnlySpan<byte>> MayTakeLong { get; init; }

    internal required Action<string> Break { get; init; }

    private int MostBytes { get; }

    /// <summary>What an engine may ring; null: nothing.</summary>
    internal Doorbell? Bell => _pump.Bell;

    /// <summary>There may be requests.</summary>
    internal void Notify() => _pump.Notify();

    /// <summary>Waits until none is under way.</summary>
    internal void Drain() => _pump.Drain();

    /// <inheritdoc/>
    public void Dispose() => _pump.Dispose();

    private bool Step()
    {
        if (!_free.TryTake(out Work? work))
        {
            work = new Work();
        }

        (bool taken, bool more) = Take(work.Chain);
        if (taken)
        {
            if (more && _pump.HasThreads)
            {
                _pump.Notify();
            }

            Execute(work, isLast: !more && _pump.HasThreads);
        }

        _free.Add(work);
        return taken;
    }

    private void Execute(Work work, bool isLast)
    {
        DescriptorChain chain = work.Chain;
        if (chain.ReadableBytes > (ulong)MostBytes)
        {
            Break($"a message of {chain.ReadableBytes} bytes");
            return;
        }

        Span<byte> request = Work.Room(ref work.Request, (int)chain.ReadableBytes);
        Span<byte> reply = Work.Room(ref work.Reply, (int)Math.Min(chain.WritableBytes, (ulong)MostBytes));
        chain.Read(0, request);
        if (isLast && (_pace.IsSlow || MayTakeLong(request)) && AskForMore())
        {
            _pump.Notify();
        }

        long start = Stopwatch.GetTimestamp();
        int length = _handler(request, reply);
        _pace.Ended(start);
        chain.Write(0, reply[..length]);
        Return(chain, (uint)length);
    }

    private sealed class Work
    {
        internal byte[] Request = new byte[4096];
        internal byte[] Reply = new byte[4096];

        internal DescriptorChain Chain { get; } = new();

        internal static Span<byte> Room(ref byte[] buffer, int length)
        {
            if (buffer.Length < length)
            {
                buffer = new byte[BitOperations.RoundUpToPowerOf2((uint)length)];
            }

            return buffer.AsSpan(0, length);
        }
    }
}
