using System;
using System.Buffers.Binary;
using System.Text;
using System.Threading;

namespace Hull.Devices.Virtio;

/// <summary>
/// The talk about the ports of a console device. What the driver is still to be told is a few bits for each port, however
/// often it changes. Virtio 1.2 section 5.3.6.2, "Multiport Device Operation".
/// </summary>
/// <param name="ports">The ports; filled by the device.</param>
/// <param name="size">Rows and columns of the terminal; 0 where they are not known.</param>
internal sealed class ConsoleMessages(ConsolePort[] ports, Func<(int Rows, int Columns)> size)
{
    /// <summary>Bytes of a message without its text.</summary>
    internal const int HeaderBytes = 8;

    /// <summary>Bytes of the longest message.</summary>
    internal const int LongestBytes = HeaderBytes + 64;

    private readonly Lock _lock = new();
    private readonly Pending[] _pending = new Pending[ports.Length];

    private enum PortEvent : ushort
    {
        DeviceReady = 0,
        DeviceAdd = 1,
        PortReady = 3,
        ConsolePort = 4,
        Resize = 5,
        PortOpen = 6,
        PortName = 7,
    }

    // In the order in which they are sent. Who finds a port by its name may read it at once, so that it is open is known before.
    [Flags]
    private enum Pending
    {
        None = 0,
        Add = 1,
        Console = 2,
        Open = 4,
        Name = 8,
        Size = 16,
    }

    /// <summary>Something is to be told. Any thread.</summary>
    internal bool HasNext
    {
        get
        {
            lock (_lock)
            {
                return Array.Exists(_pending, static pending => pending != Pending.None);
            }
        }
    }

    /// <summary>Takes a message of the driver's. What it says of ports that are not there is ignored.</summary>
    /// <returns>The port that the guest has opened with it; -1: none.</returns>
    internal int Take(ReadOnlySpan<byte> message)
    {
        uint id = BinaryPrimitives.ReadUInt32LittleEndian(message);
        PortEvent what = (PortEvent)BinaryPrimitives.ReadUInt16LittleEndian(message[4..]);
        bool good = BinaryPrimitives.ReadUInt16LittleEndian(message[6..]) == 1;
        lock (_lock)
        {
            if (what == PortEvent.DeviceReady && good)
            {
                Array.Fill(_pending, Pending.Add);
            }
            else if (what == PortEvent.PortReady && id < (uint)ports.Length && good)
            {
                ConsolePort port = ports[id];
                port.IsReady = true;
                _pending[id] |= port.Name is null ? Pending.Console | Pending.Size : Pending.Name;
                _pending[id] |= port.IsHostOpen ? Pending.Open : Pending.None;
            }
            else if (what == PortEvent.PortOpen && id < (uint)ports.Length)
            {
                ports[id].IsGuestOpen = good;
                return good ? (int)id : -1;
            }

            return -1;
        }
    }

    /// <summary>The terminal has another size.</summary>
    internal void Resized()
    {
        lock (_lock)
        {
            for (int i = 0; i < ports.Length; i++)
            {
                _pending[i] |= ports[i] is { IsReady: true, Name: null } ? Pending.Size : Pending.None;
            }
        }
    }

    /// <summary>The host's end of a port was opened or closed.</summary>
    internal void HostChanged(int port)
    {
        lock (_lock)
        {
            _pending[port] |= ports[port] is { IsReady: true } ? Pending.Open : Pending.None;
        }
    }

    /// <summary>The next message; it counts as sent.</summary>
    /// <returns>Its length.</returns>
    internal int Next(Span<byte> message)
    {
        lock (_lock)
        {
            int port = Array.FindIndex(_pending, static pending => pending != Pending.None);
            Pending all = _pending[port];
            Pending first = all & (Pending)(-(int)all);
            _pending[port] &= ~first;
            return Write(message, port, first);
        }
    }

    /// <summary>The driver is gone, and knows of no port.</summary>
    internal void Reset()
    {
        lock (_lock)
        {
            Array.Clear(_pending);
            Array.ForEach(ports, static port => port.IsReady = port.IsGuestOpen = false);
        }
    }

    private int Write(Span<byte> message, int port, Pending what)
    {
        (PortEvent kind, int value) = what switch
        {
            Pending.Add => (PortEvent.DeviceAdd, 1),
            Pending.Console => (PortEvent.ConsolePort, 1),
            Pending.Name => (PortEvent.PortName, 1),
            Pending.Open => (PortEvent.PortOpen, ports[port].IsHostOpen ? 1 : 0),
            _ => (PortEvent.Resize, 0),
        };
        BinaryPrimitives.WriteUInt32LittleEndian(message, (uint)port);
        BinaryPrimitives.WriteUInt16LittleEndian(message[4..], (ushort)kind);
        BinaryPrimitives.WriteUInt16LittleEndian(message[6..], (ushort)value);
        if (kind == PortEvent.PortName)
        {
            return HeaderBytes + Encoding.UTF8.GetBytes(ports[port].Name, message[HeaderBytes..]);
        }

        if (kind == PortEvent.Resize)
        {
            // QUIRK: rows first, as Linux reads it; Virtio 1.2 section 5.3.6.2 has the columns first.
            (int rows, int columns) = size();
            BinaryPrimitives.WriteUInt16LittleEndian(message[HeaderBytes..], (ushort)rows);
            BinaryPrimitives.WriteUInt16LittleEndian(message[(HeaderBytes + 2)..], (ushort)columns);
            return HeaderBytes + 4;
        }

        return HeaderBytes;
    }
}
