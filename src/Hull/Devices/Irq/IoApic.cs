using System;
using System.Threading;
using Hull.Bus;
using Hull.Platform;

namespace Hull.Devices.Irq;

/// <summary>
/// The I/O APIC: 24 inputs, each with a redirection entry that makes a message of it. 82093AA data sheet; the EOI
/// register of version 0x20. Polarity is ignored: an input is asserted or not.
/// </summary>
internal sealed class IoApic : IMmioDevice
{
    private const int SelectOffset = 0x00;
    private const int WindowOffset = 0x10;
    private const int EoiOffset = 0x40;
    private const uint Version = 0x20;
    private const ulong Masked = 1 << 16;
    private const ulong Level = 1 << 15;
    private const ulong RemoteIrr = 1 << 14;
    private const ulong ReadOnly = RemoteIrr | (1 << 12);
    private const ulong Writable = 0xFFFF_0000_0001_FFFF & ~ReadOnly;

    private readonly Lock _lock = new();
    private readonly IMsiSink _messages;
    private readonly ulong[] _entries = new ulong[PlatformMap.IoApicInputs];
    private uint _inputs;
    private uint _select;
    private uint _id = PlatformMap.IoApicId;

    /// <summary>Who has to know of level-triggered inputs before they open; null: nobody. Before the machine runs.</summary>
    internal IIoApicRoutes? Routes { get; set; }

    /// <summary>Makes the chip with all inputs masked; its interrupts leave as messages.</summary>
    internal IoApic(IMsiSink messages)
    {
        _messages = messages;
        Reset();
    }

    /// <summary>Goes to the state after power-on; the inputs keep their levels.</summary>
    internal void Reset()
    {
        lock (_lock)
        {
            _entries.AsSpan().Fill(Masked);
            _select = 0;
            _id = PlatformMap.IoApicId;
        }
    }

    /// <summary>Drives an input. Any thread.</summary>
    internal void SetInput(int input, bool level)
    {
        MsiMessage? message = null;
        lock (_lock)
        {
            uint bit = 1u << input;
            bool rose = level && (_inputs & bit) == 0;
            _inputs = level ? _inputs | bit : _inputs & ~bit;
            if (rose)
            {
                message = Evaluate(input, edge: true);
            }
        }

        Send(message);
    }

    /// <summary>A local APIC ended a level-triggered interrupt. Any thread.</summary>
    internal void EndOfInterrupt(byte vector)
    {
        for (int input = 0; input < _entries.Length; input++)
        {
            MsiMessage? message = null;
            lock (_lock)
            {
                ulong entry = _entries[input];
                if ((byte)entry == vector && (entry & RemoteIrr) != 0)
                {
                    _entries[input] = entry & ~RemoteIrr;
                    message = Evaluate(input, edge: false);
                }
            }

            Send(message);
        }
    }

    /// <inheritdoc/>
    public ulong ReadMmio(ulong offset, int size)
    {
        lock (_lock)
        {
            return offset switch
            {
                SelectOffset => _select,
                WindowOffset => ReadRegister(_select),
                _ => 0,
            };
        }
    }

    /// <inheritdoc/>
    public void WriteMmio(ulong offset, int size, ulong value)
    {
        switch (offset)
        {
            case SelectOffset:
                lock (_lock)
                {
                    _select = (byte)value;
                }

                break;
            case WindowOffset:
                MsiMessage? message;
                (int Input, ulong Entry)? opening;
                lock (_lock)
                {
                    message = WriteRegister(_select, (uint)value, out opening);
                }

                Send(opening is { } it ? Open(it.Input, it.Entry) : message);
                break;
            case EoiOffset:
                EndOfInterrupt((byte)value);
                break;
            default:
                break;
        }
    }

    private uint ReadRegister(uint index)
    {
        uint input = (index - 0x10) >> 1;
        return index switch
        {
            0 or 2 => _id << 24,
            1 => Version | ((uint)(_entries.Length - 1) << 16),
            >= 0x10 when input < _entries.Length => (uint)(_entries[input] >> (int)((index & 1) * 32)),
            _ => 0,
        };
    }

    // An input that has to be known elsewhere first is not opened here, but is what opening says.
    private MsiMessage? WriteRegister(uint index, uint value, out (int Input, ulong Entry)? opening)
    {
        opening = null;
        if (index == 0)
        {
            _id = (value >> 24) & 0xF;
            return null;
        }

        int input = (int)(index - 0x10) >> 1;
        if (index < 0x10 || input >= _entries.Length)
        {
            return null;
        }

        ulong entry = Changed(_entries[input], (index & 1) != 0, value);
        if (Routes is not null && (entry & (Masked | Level)) == Level)
        {
            _entries[input] = entry | Masked;
            opening = (input, entry);
            return null;
        }

        _entries[input] = entry;
        return Evaluate(input, edge: false);
    }

    // No message leaves before those who have routes know of it; they are called with no lock held.
    private MsiMessage? Open(int input, ulong entry)
    {
        Routes?.Route(input, Compose(entry));
        lock (_lock)
        {
            if ((_entries[input] | RemoteIrr) != (entry | Masked | RemoteIrr))
            {
                return null; // another processor has written meanwhile
            }

            _entries[input] &= ~Masked;
            return Evaluate(input, edge: false);
        }
    }

    private static ulong Changed(ulong old, bool high, uint value)
    {
        ulong wide = high ? (uint)old | ((ulong)value << 32) : (old & ~0xFFFF_FFFFUL) | value;
        ulong entry = (wide & Writable) | (old & ReadOnly);

        // An edge entry has no remote IRR; Linux also clears a stuck one this way.
        return (entry & Level) == 0 ? entry & ~RemoteIrr : entry;
    }

    /// <summary>Decides whether an input makes a message now. Under the lock.</summary>
    private MsiMessage? Evaluate(int input, bool edge)
    {
        ulong entry = _entries[input];
        bool level = (entry & Level) != 0;
        bool asserted = (_inputs >> input & 1) != 0;
        if ((entry & Masked) != 0 || !asserted || (level ? (entry & RemoteIrr) != 0 : !edge))
        {
            return null;
        }

        uint delivery = (uint)(entry >> 8) & 7;
        if (level && delivery <= (uint)ApicDelivery.LowestPriority)
        {
            _entries[input] |= RemoteIrr;
        }

        return Compose(entry);
    }

    /// <summary>An entry as the message that it stands for.</summary>
    private static MsiMessage Compose(ulong entry)
    {
        ulong address = PlatformMap.LocalApicBase
            | (((entry >> 56) & 0xFF) << 12)
            | (((entry >> 49) & 0x7F) << 5)
            | (((entry >> 11) & 1) << 2);
        uint data = (uint)entry & 0x7FF;
        return new MsiMessage(address, (entry & Level) != 0 ? data | 0xC000 : data);
    }

    private void Send(MsiMessage? message)
    {
        if (message is { } it)
        {
            _messages.Send(it);
        }
    }
}
