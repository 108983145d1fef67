using System;
using System.Threading;
using Hull.Bus;
using Hull.Platform;

namespace Hull.Devices.Power;

/// <summary>
/// The ACPI fixed registers: PM1a events (power button, the clock's alarm) and control (soft off, suspension). The machine is always in ACPI mode.
/// ACPI, "PM1 Event Grouping" and "PM1 Control Grouping".
/// </summary>
internal sealed class AcpiPm1 : IByteRegisters, IIrqSource
{
    private const int StatusOffset = 0;
    private const int EnableOffset = 2;
    private const int ControlOffset = 4;
    private const ushort PowerButtonBit = 1 << 8;
    private const ushort RtcBit = 1 << 10;

    // Timer, global lock, power and sleep button, RTC. Only the power button and the RTC ever happen, but a driver that enables
    // an event reads back whether it worked.
    private const ushort Events = 0x0721;
    private const ushort WakeBit = 1 << 15;
    private const ushort SleepEnable = 1 << 13;
    private const ushort SciEnable = 1;

    private readonly Lock _lock = new();
    private readonly IrqLine _sci;
    private readonly Action _poweredOff;
    private readonly Action? _suspended;
    private readonly Action? _resumed;
    private bool _isSuspended;
    private ushort _status;
    private ushort _enable;
    private ushort _control;
    private volatile bool _level;

    /// <summary>Makes the registers.</summary>
    /// <param name="sci">The system control interrupt.</param>
    /// <param name="poweredOff">The guest asked for soft off. Called on the vCPU's thread, with no lock held.</param>
    /// <param name="suspended">The guest asked for suspension to RAM; null: there is none. Called as the first.</param>
    /// <param name="resumed">An event that the guest has enabled ends the suspension. Any thread, with no lock held.</param>
    internal AcpiPm1(IrqLine sci, Action poweredOff, Action? suspended, Action? resumed)
    {
        _suspended = suspended;
        _resumed = resumed;
        _sci = sci;
        _poweredOff = poweredOff;
    }

    /// <inheritdoc/>
    public bool IrqLevel => _level;

    /// <summary>Puts the registers on their ports.</summary>
    internal void Map(IoBus bus) => bus.MapPorts(PlatformMap.AcpiPm1EventPort, 6, new BytePorts(this, 6));

    /// <summary>The user pressed the power button. Any thread.</summary>
    /// <returns>False when no guest listens: nobody has enabled the event.</returns>
    internal bool PressPowerButton()
    {
        bool listens;
        lock (_lock)
        {
            _status |= PowerButtonBit;
            listens = (_enable & PowerButtonBit) != 0;
            Refresh();
        }

        Tell();
        return listens;
    }

    /// <summary>The clock's alarm came: what wakes a system that sleeps. Any thread.</summary>
    internal void RtcAlarm()
    {
        lock (_lock)
        {
            _status |= RtcBit;
            Refresh();
        }

        Tell();
    }

    /// <inheritdoc/>
    public byte ReadRegister(int offset)
    {
        lock (_lock)
        {
            int value = (offset & ~1) switch
            {
                StatusOffset => _status,
                EnableOffset => _enable,

                // QUIRK: SCI_EN is always set: there is no SMI command port that would set it.
                _ => _control | SciEnable,
            };
            return (byte)(value >> ((offset & 1) * 8));
        }
    }

    /// <inheritdoc/>
    public void WriteRegister(int offset, byte value)
    {
        int shift = (offset & 1) * 8;
        ushort wide = (ushort)(value << shift);
        ushort kept = (ushort)~(0xFF << shift);
        bool off = false;
        bool suspend = false;
        lock (_lock)
        {
            switch (offset & ~1)
            {
                case StatusOffset:
                    _status &= (ushort)~wide;
                    break;
                case EnableOffset:
                    _enable = (ushort)((_enable & kept) | (wide & Events));
                    break;
                case ControlOffset:
                    _control = (ushort)((_control & kept) | (wide & 0x1C02));
                    bool sleep = (wide & SleepEnable) != 0;
                    off = sleep && _control >> 10 == PlatformMap.AcpiSleepTypeS5;
                    suspend = sleep && _control >> 10 == PlatformMap.AcpiSleepTypeS3 && _suspended is not null;
                    break;
                default:
                    break;
            }

            Refresh();
        }

        _sci.Follow(this);
        if (off)
        {
            _poweredOff();
        }

        if (suspend)
        {
            // What wakes it is seen only when all vCPUs were told to stop: an event that comes before is found below.
            _suspended!();
            lock (_lock)
            {
                _isSuspended = true;
            }

            Tell();
        }
    }

    /// <summary>After an event: the interrupt, or the end of a suspension. Without the lock.</summary>
    private void Tell()
    {
        bool resumes;
        lock (_lock)
        {
            resumes = _isSuspended && (_status & _enable) != 0;
            if (resumes)
            {
                _isSuspended = false;
                _status |= WakeBit;
            }
        }

        _sci.Follow(this);
        if (resumes)
        {
            _resumed?.Invoke();
        }
    }

    private void Refresh() => _level = (_status & _enable) != 0;
}
