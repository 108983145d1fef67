using System;
using System.Threading;

namespace Hull.Devices.Serial;

/// <summary>
/// What the host has for a serial port: a bounded queue that the port empties as the guest reads. Nothing is dropped;
/// a writer is told how much went in, and waits for <see cref="RoomAppeared"/>.
/// </summary>
internal sealed class SerialInput
{
    private const int Capacity = 65_536;

    // Room for what a cleared FIFO gives back to a queue that has filled up meanwhile.
    private const int RingSize = Capacity + 64;

    private readonly Lock _lock = new();
    private readonly byte[] _ring = new byte[RingSize];
    private readonly Action _arrived;
    private int _first;
    private int _count;
    private bool _refused;

    /// <summary>Makes the queue; <paramref name="arrived"/> tells the port that it holds something.</summary>
    internal SerialInput(Action arrived) => _arrived = arrived;

    /// <summary>Raised, with no lock held, when at least half is free again after a write did not fit. Any thread.</summary>
    internal event Action? RoomAppeared;

    /// <summary>Bytes that wait.</summary>
    internal int Count => Volatile.Read(ref _count);

    /// <summary>Adds as much as there is room for. Any thread; does not block.</summary>
    /// <returns>How many bytes went in.</returns>
    internal int Offer(ReadOnlySpan<byte> bytes)
    {
        int taken;
        lock (_lock)
        {
            taken = Math.Clamp(Capacity - _count, 0, bytes.Length);
            int at = (_first + _count) % RingSize;
            int whole = Math.Min(taken, RingSize - at);
            bytes[..whole].CopyTo(_ring.AsSpan(at));
            bytes[whole..taken].CopyTo(_ring);
            _count += taken;
            _refused |= taken < bytes.Length;
        }

        if (taken > 0)
        {
            _arrived();
        }

        return taken;
    }

    /// <summary>Adds everything, waiting for the guest when it must. For a host thread that reads a terminal or a file.</summary>
    /// <exception cref="OperationCanceledException">The wait was cancelled; part may have gone in.</exception>
    internal void Write(ReadOnlySpan<byte> bytes, CancellationToken cancellation)
    {
        using SemaphoreSlim room = new(0);
        void OnRoom() => room.Release();
        RoomAppeared += OnRoom;
        try
        {
            while (true)
            {
                bytes = bytes[Offer(bytes)..];
                if (bytes.IsEmpty)
                {
                    return;
                }

                room.Wait(cancellation);
            }
        }
        finally
        {
            RoomAppeared -= OnRoom;
        }
    }

    /// <summary>Takes bytes out, for the port. It calls <see cref="Taken"/> when its lock is dropped.</summary>
    internal int Take(Span<byte> destination)
    {
        lock (_lock)
        {
            int taken = Math.Min(destination.Length, _count);
            for (int i = 0; i < taken; i++)
            {
                destination[i] = _ring[(_first + i) % RingSize];
            }

            _first = (_first + taken) % RingSize;
            _count -= taken;
            return taken;
        }
    }

    /// <summary>Puts a byte back in front.</summary>
    internal void Return(byte value)
    {
        lock (_lock)
        {
            _first = (_first + RingSize - 1) % RingSize;
            _ring[_first] = value;
            _count++;
        }
    }

    /// <summary>Tells the writers if there is room for them again.</summary>
    internal void Taken()
    {
        bool tell;
        lock (_lock)
        {
            tell = _refused && _count <= Capacity / 2;
            _refused &= !tell;
        }

        if (tell)
        {
            RoomAppeared?.Invoke();
        }
    }
}
