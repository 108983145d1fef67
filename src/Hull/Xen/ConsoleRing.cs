using System;
using Hull.Memory;
using Hull.Xen.Events;

namespace Hull.Xen;

/// <summary>
/// The domain's console: two rings of bytes in one page, and an event channel. Under the domain's lock but for
/// <see cref="Offer"/>. Xen, public/io/console.h, "struct xencons_interface".
/// </summary>
internal sealed class ConsoleRing
{
    private const uint InputSize = 1024;
    private const uint OutputSize = 2048;
    private const uint OutputOffset = 1024;
    private const uint InputConsumer = 3072;
    private const uint InputProducer = 3076;
    private const uint OutputConsumer = 3080;
    private const uint OutputProducer = 3084;
    private const ulong Page = SpecialPages.ConsoleFrame * GuestMemory.PageSize;

    private readonly Domain _domain;
    private readonly ConsoleOutput _output;
    private EventPort _port;

    /// <summary>Makes the console, with a port of its own.</summary>
    internal ConsoleRing(Domain domain, ConsoleOutput output)
    {
        _domain = domain;
        _output = output;
        _port = Connect();
    }

    /// <summary>The domain begins anew: a port again.</summary>
    internal void Restart() => _port = Connect();

    /// <summary>Gives the guest input. Any thread.</summary>
    /// <returns>Bytes taken, as many as the ring had room for.</returns>
    internal int Offer(ReadOnlySpan<byte> bytes)
    {
        byte[] copy = bytes[..Math.Min(bytes.Length, (int)InputSize)].ToArray();
        int taken = 0;
        _domain.Act(() => taken = Put(copy));
        return taken;
    }

    private EventPort Connect()
    {
        EventPort port = _domain.Events.Connect(Drain, "console");
        _domain.Parameters[HvmParameters.ConsoleFrame] = SpecialPages.ConsoleFrame;
        _domain.Parameters[HvmParameters.ConsoleEventChannel] = (ulong)port.Number;
        return port;
    }

    private static GuestPhysical At(uint offset) => new(Page + offset);

    private int Put(ReadOnlySpan<byte> bytes)
    {
        uint producer = _domain.Memory.Read<uint>(At(InputProducer));
        uint used = producer - _domain.Memory.Read<uint>(At(InputConsumer));
        int room = used > InputSize ? 0 : (int)Math.Min(InputSize - used, (uint)bytes.Length);
        for (int i = 0; i < room; i++)
        {
            _domain.Memory.Write(At(producer++ % InputSize), bytes[i]);
        }

        if (room > 0)
        {
            _domain.Memory.Write(At(InputProducer), producer);
            _domain.Events.Notify(_port, Drain);
        }

        return room;
    }

    // What a guest claims beyond the ring's size is not there.
    private void Drain()
    {
        uint consumer = _domain.Memory.Read<uint>(At(OutputConsumer));
        uint producer = _domain.Memory.Read<uint>(At(OutputProducer));
        uint count = Math.Min(producer - consumer, OutputSize);
        Span<byte> bytes = stackalloc byte[(int)OutputSize];
        for (uint i = 0; i < count; i++)
        {
            bytes[(int)i] = _domain.Memory.Read<byte>(At(OutputOffset + ((consumer + i) % OutputSize)));
        }

        if (count > 0)
        {
            _domain.Memory.Write(At(OutputConsumer), producer);
            _output(bytes[..(int)count]);
            _domain.Events.Notify(_port, Drain);
        }
    }
}
