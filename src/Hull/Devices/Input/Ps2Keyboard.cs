using System;
using System.Collections.Generic;

namespace Hull.Devices.Input;

/// <summary>
/// A PS/2 keyboard's side of the protocol: it acknowledges every command and says who it is. Called under the
/// controller's lock. IBM PS/2 Hardware Interface Technical Reference, "Keyboards".
/// </summary>
internal sealed class Ps2Keyboard
{
    private const int Capacity = 64;
    private const byte Acknowledge = 0xFA;

    private readonly Queue<byte> _bytes = new(Capacity + 8);
    private bool _enabled = true;
    private byte _last;
    private byte _pendingCommand;

    /// <summary>Scancodes from the user; dropped while the guest has scanning switched off.</summary>
    /// <returns>False when there is no room for all of them.</returns>
    internal bool TryType(ReadOnlySpan<byte> scancodes)
    {
        if (_bytes.Count + scancodes.Length > Capacity)
        {
            return false;
        }

        if (_enabled)
        {
            foreach (byte code in scancodes)
            {
                _bytes.Enqueue(code);
            }
        }

        return true;
    }

    /// <summary>The next byte for the guest.</summary>
    internal bool TryRead(out byte value)
    {
        bool any = _bytes.TryDequeue(out value);
        _last = any ? value : _last;
        return any;
    }

    /// <summary>A byte from the guest.</summary>
    internal void Write(byte value)
    {
        if (_pendingCommand != 0)
        {
            byte command = _pendingCommand;
            _pendingCommand = 0;
            Reply(Acknowledge);
            if (command == 0xF0 && value == 0)
            {
                Reply(0x41); // Scancode set 2, as the controller translates it.
            }

            return;
        }

        switch (value)
        {
            case 0xED or 0xF0 or 0xF3 or 0xFB or 0xFC or 0xFD:
                _pendingCommand = value;
                Reply(Acknowledge);
                break;
            case 0xEE:
                Reply(0xEE);
                break;
            case 0xF2:
                Reply(Acknowledge);
                Reply(0xAB);
                Reply(0x41); // 0x83, translated.
                break;
            case 0xF4 or 0xF5 or 0xF6:
                _enabled = value != 0xF5;
                Reply(Acknowledge);
                break;
            case 0xFE:
                Reply(_last);
                break;
            case 0xFF:
                _bytes.Clear();
                _enabled = true;
                Reply(Acknowledge);
                Reply(0xAA);
                break;
            default:
                Reply(Acknowledge);
                break;
        }
    }

    private void Reply(byte value)
    {
        if (_bytes.Count < Capacity)
        {
            _bytes.Enqueue(value);
        }
    }
}
