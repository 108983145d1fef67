using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Threading;
using Hull.Bus;

namespace Hull.Devices.Virtio;

/// <summary>
/// Console device: a pair of queues for each port and, where there are several or one has a name, a pair for messages about
/// them. What the guest writes goes out on a thread for each port, so that a reader who does not read holds up only his.
/// Virtio 1.2 section 5.3, "Console Device".
/// </summary>
internal sealed class ConsoleDevice : VirtioDevice
{
    internal const int MaximumPorts = 16;

    private const ulong FeatureSize = 1;
    private const ulong FeatureMultiport = 2;
    private const ulong FeatureEmergencyWrite = 4;
    private const int ControlIn = 2;
    private const int ControlOut = 3;
    private const int EmergencyAt = 8;
    private const int QueueSize = 128;

    // Linux gives buffers of a page for input, and writes up to this much at once.
    private const int InputBytes = 4096;
    private const int OutputBytes = 32 << 10;

    // No driver writes so much at once, and a flush is over some time.
    private const ulong LongestWrite = 64 << 20;

    private readonly ConsolePort[] _ports;
    private readonly PortWork[] _work;
    private readonly QueuePump[] _readers;
    private readonly QueuePump[] _writers;
    private readonly QueuePump _control;
    private readonly ConsoleMessages _messages;
    private readonly DescriptorChain _chain = new();
    private readonly bool _isMultiport;
    private uint _size;
    private volatile bool _draining;

    /// <summary>Makes the device; it owns the ends from now on.</summary>
    /// <param name="context">The machine.</param>
    /// <param name="names">The ports' names; null for a console.</param>
    /// <param name="ends">The ports' ends.</param>
    internal ConsoleDevice(DeviceContext context, List<string?> names, List<IConsoleEnd> ends)
        : base(3, context.Memory, QueueSizes(names))
    {
        _isMultiport = IsMultiport(names);
        _ports = new ConsolePort[names.Count];
        _work = new PortWork[names.Count];
        _readers = new QueuePump[names.Count];
        _writers = new QueuePump[names.Count];
        _messages = new ConsoleMessages(_ports, () => (Rows, Columns));
        int threads = context.IsDeterministic ? 0 : 1;
        _control = new QueuePump($"hull-console{context.Index}", threads, ControlStep, context.NewBell());
        for (int i = 0; i < _ports.Length; i++)
        {
            int port = i;
            PortWork work = _work[i] = new PortWork(this, port);
            _readers[i] = new QueuePump($"hull-console{context.Index}-in", threads, work.InputStep, context.NewBell());
            _writers[i] = new QueuePump($"hull-console{context.Index}-out", threads, work.OutputStep, context.NewBell());
            _ports[i] = new ConsolePort(names[i], ends[i], _readers[i].Notify, () => HostChanged(port));
        }

        for (int i = 0; i < _ports.Length; i++)
        {
            ends[i].Connect(_ports[i], Resize);
        }
    }

    /// <inheritdoc/>
    internal override uint PciClass => 0x07_8000;

    /// <inheritdoc/>
    internal override ulong DeviceFeatures => FeatureSize | FeatureEmergencyWrite | (_isMultiport ? FeatureMultiport : 0);

    /// <inheritdoc/>
    internal override int ConfigurationLength => 12;

    private int Rows => (int)(Volatile.Read(ref _size) >> 16);

    private int Columns => (int)(Volatile.Read(ref _size) & 0xFFFF);

    private bool HasMessages => (Features & FeatureMultiport) != 0;

    /// <inheritdoc/>
    internal override void Notified(int queue) => PumpOf(queue).Notify();

    /// <inheritdoc/>
    internal override Doorbell? BellOf(int queue) => PumpOf(queue).Bell;

    /// <inheritdoc/>
    internal override void ReadConfiguration(int offset, Span<byte> destination)
    {
        Span<byte> now = stackalloc byte[12];
        BinaryPrimitives.WriteUInt16LittleEndian(now, (ushort)Columns);
        BinaryPrimitives.WriteUInt16LittleEndian(now[2..], (ushort)Rows);
        BinaryPrimitives.WriteUInt32LittleEndian(now[4..], (uint)_ports.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(now[EmergencyAt..], 0);
        now.Slice(offset, destination.Length).CopyTo(destination);
    }

    /// <inheritdoc/>
    internal override void WriteConfiguration(int offset, ReadOnlySpan<byte> source)
    {
        // Before any driver, and after all of them: a dying kernel's way out. Section 5.3.4.
        if (offset == EmergencyAt)
        {
            _ports[0].Write(source[..1]);
        }
    }

    /// <inheritdoc/>
    internal override void Started()
    {
        foreach (QueuePump reader in _readers)
        {
            reader.Notify();
        }
    }

    /// <summary>Takes what the guest has written so far, and returns when all of it is with the ports' ends. Any thread.</summary>
    internal void Flush() => Array.ForEach(_work, static work => work.Flush());

    /// <inheritdoc/>
    protected override void Stopped(int queue)
    {
        _draining = true;
        _control.Drain();
        for (int i = 0; i < _ports.Length; i++)
        {
            _readers[i].Drain();
            _writers[i].Drain();
        }

        _draining = false;
        if (queue < 0)
        {
            _messages.Reset();
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _draining = true;
        foreach (ConsolePort port in _ports)
        {
            port.Stop();
            port.End.Dispose();
        }

        for (int i = 0; i < _ports.Length; i++)
        {
            _readers[i].Dispose();
            _writers[i].Dispose();
        }

        _control.Dispose();
        base.Dispose();
    }

    private QueuePump PumpOf(int queue) => queue is ControlIn or ControlOut
        ? _control
        : ((queue & 1) == 0 ? _readers : _writers)[queue < ControlIn ? 0 : (queue / 2) - 1];

    // One console needs no messages: its size is in the configuration space.
    private static bool IsMultiport(List<string?> names) => names.Count > 1 || names[0] is not null;

    private static ushort[] QueueSizes(List<string?> names)
    {
        ushort[] sizes = new ushort[IsMultiport(names) ? 2 * (names.Count + 1) : 2];
        Array.Fill(sizes, (ushort)QueueSize);
        return sizes;
    }

    private void Resize(int rows, int columns)
    {
        uint size = ((uint)(ushort)rows << 16) | (ushort)columns;
        if (Interlocked.Exchange(ref _size, size) != size)
        {
            ConfigurationChanged();
            _messages.Resized();
            _control.Notify();
        }
    }

    private void HostChanged(int port)
    {
        _messages.HostChanged(port);
        _control.Notify();
    }

    // Messages of the driver, then ours to it while it has room for them.
    private bool ControlStep()
    {
        if (!HasMessages)
        {
            return false;
        }

        if (TryTake(ControlOut, _chain, out _))
        {
            Span<byte> message = stackalloc byte[ConsoleMessages.HeaderBytes];
            if (_chain.Read(0, message) != message.Length)
            {
                Break(ControlOut, "a message about a port that is too short");
                return false;
            }

            int opened = _messages.Take(message);
            Return(ControlOut, _chain, 0);
            if (opened >= 0)
            {
                _readers[opened].Notify(); // what came before waits
            }

            return true;
        }

        if (!_messages.HasNext || !TryTake(ControlIn, _chain, out _))
        {
            return false;
        }

        Span<byte> next = stackalloc byte[ConsoleMessages.LongestBytes];
        next = next[.._messages.Next(next)];
        Return(ControlIn, _chain, (uint)_chain.Write(0, next));
        return true;
    }

    /// <summary>The work of one port.</summary>
    private sealed class PortWork(ConsoleDevice owner, int index)
    {
        private readonly int _queue = index == 0 ? 0 : (2 * index) + 2;
        private readonly DescriptorChain _input = new();
        private readonly DescriptorChain _output = new();
        private readonly byte[] _in = new byte[InputBytes];
        private readonly byte[] _out = new byte[OutputBytes];
        private readonly Lock _outputLock = new(); // the port's own thread, and who flushes

        // Host to guest.
        internal bool InputStep()
        {
            ConsolePort port = owner._ports[index];
            int count = port.End.WaitsForGuest && !port.IsGuestOpen ? 0 : port.Peek(_in);
            if (count == 0 || !owner.TryTake(_queue, _input, out _))
            {
                return false;
            }

            count = _input.Write(0, _in.AsSpan(0, count));
            owner.Return(_queue, _input, (uint)count);
            port.Drop(count); // it may close the port, of which the guest is to hear behind the last bytes
            return true;
        }

        // Guest to host.
        internal bool OutputStep()
        {
            lock (_outputLock)
            {
                return TryMoveOutput();
            }
        }

        // As many as the ring may hold: a guest that goes on is not waited for.
        internal void Flush()
        {
            for (int i = 0; i < QueueSize && OutputStep(); i++)
            {
            }
        }

        private bool TryMoveOutput()
        {
            if (!owner.TryTake(_queue + 1, _output, out _))
            {
                return false;
            }

            if (_output.ReadableBytes > LongestWrite)
            {
                owner.Break(_queue + 1, $"{_output.ReadableBytes} bytes written at once");
                return false;
            }

            for (ulong done = 0; done < _output.ReadableBytes && !owner._draining;)
            {
                int piece = _output.Read(done, _out);
                done += (uint)Put(_out.AsSpan(0, piece));
            }

            owner.Return(_queue + 1, _output, 0);
            return true;
        }

        // All of it, or as much as a reset leaves time for.
        private int Put(ReadOnlySpan<byte> bytes)
        {
            int whole = bytes.Length;
            while (bytes.Length > 0 && !owner._draining)
            {
                bytes = bytes[owner._ports[index].Write(bytes)..];
            }

            return whole;
        }
    }
}
