using System;
using System.Runtime.InteropServices;
using System.Threading;
using Hull.Bus;
using Hull.Host;
using Hull.Kvm.Abi;

namespace Hull.Kvm;

/// <summary>
/// The table of messages that the kernel sends by itself, by number (GSI). The first are the I/O APIC's level-triggered
/// inputs: their ends come back as exits. The others belong to the lines of cards' vectors, as long as there are any left.
/// Linux, "KVM API", "KVM_SET_GSI_ROUTING".
/// </summary>
internal sealed class KvmRoutes : IDisposable
{
    // Each change gives the kernel the whole table, and each line holds a descriptor.
    private const int MostLines = 256;

    private readonly Lock _lock = new();
    private readonly KvmFile _vm;
    private readonly int _inputs;
    private readonly MsiMessage?[] _messages;
    private readonly KvmMsiLine?[] _owners;
    private bool _disposed;
    private int _attached;
    private ulong _made;
    private ulong _signals;

    /// <summary>Makes the table, with no routes.</summary>
    /// <param name="vm">The machine.</param>
    /// <param name="inputs">Inputs of the I/O APIC.</param>
    internal KvmRoutes(KvmFile vm, int inputs)
    {
        int room = vm.Check(KvmCapability.IrqFd) == 0 ? 0 : vm.Check(KvmCapability.IrqRouting) - inputs;
        _vm = vm;
        _inputs = inputs;
        _messages = new MsiMessage?[inputs + Math.Clamp(room, 0, MostLines)];
        _owners = new KvmMsiLine?[_messages.Length];
    }

    /// <summary>The most lines that have a number at once.</summary>
    internal int Room => _messages.Length - _inputs;

    /// <summary>How many have one now.</summary>
    internal int Attached => Volatile.Read(ref _attached);

    /// <summary>How often a line was given one.</summary>
    internal ulong Made => Volatile.Read(ref _made);

    /// <summary>Messages that went by them.</summary>
    internal ulong Signals => Volatile.Read(ref _signals);

    /// <summary>A level-triggered input of the I/O APIC. Returns when the kernel knows it.</summary>
    /// <exception cref="HullException">The kernel refused.</exception>
    internal void SetInput(int input, MsiMessage message)
    {
        lock (_lock)
        {
            if (_messages[input] != message)
            {
                _messages[input] = message;
                _vm.CallList(KvmRequests.SetGsiRouting, List());
            }
        }
    }

    /// <summary>Finds a number for a line.</summary>
    /// <returns>Negative when none is left.</returns>
    internal int Take(KvmMsiLine line)
    {
        lock (_lock)
        {
            int number = _disposed ? -1 : Array.IndexOf(_owners, null, _inputs);
            if (number >= 0)
            {
                _owners[number] = line;
                _attached++;
                _made++;
            }

            return number;
        }
    }

    /// <summary>Sets a line's message. Returns when the kernel knows it.</summary>
    /// <returns>False when the kernel refused.</returns>
    internal bool TrySet(int number, MsiMessage message)
    {
        lock (_lock)
        {
            _messages[number] = message;
            return _vm.TryCallAnytime(KvmRequests.SetGsiRouting, ref MemoryMarshal.GetReference(List())) >= 0;
        }
    }

    /// <summary>A line gives its number back; the kernel forgets it with the next change.</summary>
    internal void Free(int number)
    {
        lock (_lock)
        {
            _messages[number] = null;
            _owners[number] = null;
            _attached--;
        }
    }

    /// <summary>A message goes by a line.</summary>
    internal void Count() => Interlocked.Increment(ref _signals);

    /// <summary>Ends the lines that are left.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
        }

        // Without the lock, which a line takes inside its own.
        for (int number = _inputs; number < _owners.Length; number++)
        {
            Volatile.Read(ref _owners[number])?.Dispose();
        }
    }

    private Span<byte> List()
    {
        const uint MessageType = 2;
        int headBytes = Marshal.SizeOf<KvmListHead>();
        Span<byte> list = new byte[headBytes + (_messages.Length * Marshal.SizeOf<KvmRoute>())];
        Span<KvmRoute> entries = MemoryMarshal.Cast<byte, KvmRoute>(list[headBytes..]);
        uint count = 0;
        for (int number = 0; number < _messages.Length; number++)
        {
            if (_messages[number] is MsiMessage message)
            {
                entries[(int)count++] = new KvmRoute
                {
                    Gsi = (uint)number,
                    Type = MessageType,
                    AddressLow = (uint)message.Address,
                    AddressHigh = (uint)(message.Address >> 32),
                    Data = message.Data,
                };
            }
        }

        MemoryMarshal.Write(list, new KvmListHead { Count = count });
        return list;
    }
}
