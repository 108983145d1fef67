namespace Hull.Devices.Irq;

/// <summary>
/// The registers of a <see cref="LocalApic"/>: reading, writing, and which MSRs exist. Everything but
/// <see cref="IsLogicalTarget"/> and <see cref="IsSoftwareEnabled"/> is called under the APIC's lock.
/// </summary>
internal sealed class LocalApicRegisters
{
    // Version 0x14 (P4 and later), six LVT entries.
    // Of the low half; in x2APIC mode setting one is #GP. SDM vol. 3A, "ICR Operation in x2APIC Mode".
    private const ulong ReservedCommandBits = 0xFFF3_2000;
    private const uint VersionValue = 0x0005_0014;
    private const uint Masked = 0x10000;
    private const uint SoftwareEnable = 0x100;
    private const int ErrorIllegalSent = 1 << 5;
    private const int ErrorIllegalRegister = 1 << 7;

    private readonly LocalApic _apic;
    private readonly ApicTimer _timer;
    private volatile uint _logicalDestination;
    private volatile uint _destinationFormat;
    private volatile uint _spurious;
    private ulong _command;
    private uint _errorStatus;
    private uint _errors;
    private uint _lvtThermal;
    private uint _lvtPerformance;
    private uint _lvtError;

    internal LocalApicRegisters(LocalApic apic, ApicTimer timer)
    {
        _apic = apic;
        _timer = timer;
    }

    /// <summary>SVR bit 8. Any thread.</summary>
    internal bool IsSoftwareEnabled => (_spurious & SoftwareEnable) != 0;

    /// <summary>LVT LINT0.</summary>
    internal uint Lint0 { get; private set; }

    /// <summary>LVT LINT1.</summary>
    internal uint Lint1 { get; private set; }

    /// <summary>The values after reset.</summary>
    internal void Reset()
    {
        _destinationFormat = uint.MaxValue;
        _spurious = 0xFF;
        _command = 0;
        _errorStatus = 0;
        _errors = 0;
        _lvtThermal = Masked;
        _lvtPerformance = Masked;
        _lvtError = Masked;
        Lint1 = Masked;

        // QUIRK: the bootstrap processor comes up in virtual-wire mode, as firmware would leave it, because guests are
        // also started without firmware.
        Lint0 = _apic.Id == 0 ? (uint)ApicDelivery.ExtInt << 8 : Masked;
        _logicalDestination = 0;
        ModeChanged();
    }

    /// <summary>The APIC entered or left x2APIC mode: there, the logical id comes from the physical one.</summary>
    internal void ModeChanged()
    {
        if (_apic.IsX2Apic)
        {
            _logicalDestination = ((_apic.Id >> 4) << 16) | (1u << (int)(_apic.Id & 0xF));
        }
    }

    /// <summary>SDM vol. 3A, "Logical Destination Mode" and "Logical Destination Mode in x2APIC Mode". Any thread.</summary>
    internal bool IsLogicalTarget(uint destination)
    {
        uint own = _logicalDestination;
        if (_apic.IsX2Apic)
        {
            return destination == ApicMessage.Broadcast
                || (destination >> 16 == own >> 16 && (destination & own & 0xFFFF) != 0);
        }

        if (destination is ApicMessage.Broadcast)
        {
            return true;
        }

        own >>= 24;
        if (destination > 0xFF)
        {
            return false;
        }

        bool flat = _destinationFormat >> 28 == 0xF;
        return flat ? (own & destination) != 0
            : (destination >> 4 == 0xF || destination >> 4 == own >> 4) && (own & destination & 0xF) != 0;
    }

    /// <summary>Notes an error and raises its interrupt.</summary>
    internal void RaiseError(int bit)
    {
        _errors |= (uint)bit;
        byte vector = (byte)_lvtError;
        if ((_lvtError & Masked) == 0 && vector >= 16)
        {
            _apic.Request(vector, level: false);
        }
    }

    /// <summary>Reads a register through memory.</summary>
    internal uint Read(uint offset)
    {
        if (offset is >= ApicRegister.Isr and < ApicRegister.ErrorStatus)
        {
            return _apic.ReadVectors(offset);
        }

        switch (offset)
        {
            case ApicRegister.Id:
                return _apic.IsX2Apic ? _apic.Id : _apic.Id << 24;
            case ApicRegister.Version:
                return VersionValue;
            case ApicRegister.TaskPriority:
                return _apic.TaskPriorityRegister;
            case ApicRegister.ArbitrationPriority or ApicRegister.ProcessorPriority:
                return _apic.ProcessorPriority;
            case ApicRegister.LogicalDestination:
                return _logicalDestination;
            case ApicRegister.DestinationFormat:
                return _destinationFormat;
            case ApicRegister.SpuriousVector:
                return _spurious;
            case ApicRegister.ErrorStatus:
                return _errorStatus;
            case ApicRegister.CommandLow:
                return (uint)_command;
            case ApicRegister.CommandHigh:
                return (uint)(_command >> 32);
            case ApicRegister.LvtTimer:
                return _timer.Lvt;
            case ApicRegister.LvtThermal:
                return _lvtThermal;
            case ApicRegister.LvtPerformance:
                return _lvtPerformance;
            case ApicRegister.LvtLint0:
                return Lint0;
            case ApicRegister.LvtLint1:
                return Lint1;
            case ApicRegister.LvtError:
                return _lvtError;
            case ApicRegister.InitialCount:
                return _timer.InitialCount;
            case ApicRegister.CurrentCount:
                return _timer.CurrentCount;
            case ApicRegister.DivideConfiguration:
                return _timer.DivideRegister;
            case ApicRegister.Eoi or ApicRegister.RemoteRead or ApicRegister.SelfIpi:
                return 0;
            default:
                RaiseError(ErrorIllegalRegister);
                return 0;
        }
    }

    /// <summary>Reads in x2APIC mode. SDM vol. 3A, "x2APIC Register Address Space".</summary>
    internal bool TryReadMsr(uint offset, out ulong value)
    {
        value = 0;
        bool readable = offset switch
        {
            >= ApicRegister.Isr and <= ApicRegister.ErrorStatus => true,
            ApicRegister.Id or ApicRegister.Version or ApicRegister.TaskPriority => true,
            ApicRegister.ProcessorPriority or ApicRegister.LogicalDestination => true,
            ApicRegister.SpuriousVector or ApicRegister.CommandLow => true,
            >= ApicRegister.LvtTimer and <= ApicRegister.CurrentCount => true,
            ApicRegister.DivideConfiguration => true,
            _ => false,
        };
        if (readable)
        {
            value = offset == ApicRegister.CommandLow ? _command : Read(offset);
        }

        return readable;
    }

    /// <summary>True when WRMSR of this value in x2APIC mode is no #GP.</summary>
    internal static bool IsMsrWritable(uint offset, ulong value) => offset switch
    {
        ApicRegister.CommandLow => (value & ReservedCommandBits) == 0,
        ApicRegister.Eoi or ApicRegister.ErrorStatus => value == 0,
        ApicRegister.TaskPriority or ApicRegister.SelfIpi => value <= 0xFF,
        ApicRegister.SpuriousVector or ApicRegister.DivideConfiguration => value <= uint.MaxValue,
        >= ApicRegister.LvtTimer and <= ApicRegister.InitialCount => value <= uint.MaxValue,
        _ => false,
    };

    /// <summary>
    /// Writes a register other than EOI and TPR. In x2APIC mode the command register takes all 64 bits.
    /// </summary>
    /// <param name="offset">The register.</param>
    /// <param name="wide">The value.</param>
    /// <param name="command">A message to send when the lock is dropped.</param>
    internal bool TryWrite(uint offset, ulong wide, out Command command)
    {
        uint value = (uint)wide;
        command = default;
        switch (offset)
        {
            case ApicRegister.LogicalDestination:
                _logicalDestination = value & 0xFF00_0000;
                break;
            case ApicRegister.DestinationFormat:
                _destinationFormat = value | 0x0FFF_FFFF;
                break;
            case ApicRegister.SpuriousVector:
                WriteSpurious(value);
                break;
            case ApicRegister.ErrorStatus:
                _errorStatus = _errors;
                _errors = 0;
                break;
            case ApicRegister.CommandLow:
                ulong old = _apic.IsX2Apic ? wide : (_command & 0xFFFF_FFFF_0000_0000) | value;
                _command = old & 0xFFFF_FFFF_000C_CFFF;
                command = Decode();
                break;
            case ApicRegister.CommandHigh:
                _command = (uint)_command | ((ulong)value << 32);
                break;
            case ApicRegister.InitialCount:
                _timer.WriteInitialCount(value);
                break;
            case ApicRegister.DivideConfiguration:
                _timer.WriteDivide(value);
                break;
            case ApicRegister.SelfIpi when _apic.IsX2Apic:
                command = new Command(1, new ApicMessage(0, false, ApicDelivery.Fixed, (byte)value, false));
                break;
            default:
                return TryWriteLvt(offset, value);
        }

        return true;
    }

    private bool TryWriteLvt(uint offset, uint value)
    {
        uint forced = IsSoftwareEnabled ? 0 : Masked;
        switch (offset)
        {
            case ApicRegister.LvtTimer:
                _timer.WriteLvt((value & 0x700FF) | forced);
                return true;
            case ApicRegister.LvtThermal:
                _lvtThermal = (value & 0x107FF) | forced;
                return true;
            case ApicRegister.LvtPerformance:
                _lvtPerformance = (value & 0x107FF) | forced;
                return true;
            case ApicRegister.LvtLint0:
                Lint0 = (value & 0x1A7FF) | forced;
                return true;
            case ApicRegister.LvtLint1:
                Lint1 = (value & 0x1A7FF) | forced;
                return true;
            case ApicRegister.LvtError:
                _lvtError = (value & 0x100FF) | forced;
                return true;
            default:
                RaiseError(ErrorIllegalRegister);
                return false;
        }
    }

    /// <summary>Software disable masks every LVT entry. SDM vol. 3A, "Local APIC State After It Has Been Software Disabled".</summary>
    private void WriteSpurious(uint value)
    {
        _spurious = value & 0x3FF;
        if (!IsSoftwareEnabled)
        {
            _timer.WriteLvt(_timer.Lvt | Masked);
            _lvtThermal |= Masked;
            _lvtPerformance |= Masked;
            _lvtError |= Masked;
            Lint0 |= Masked;
            Lint1 |= Masked;
        }
    }

    private Command Decode()
    {
        uint low = (uint)_command;
        ApicDelivery delivery = (ApicDelivery)((low >> 8) & 7);
        bool deassert = delivery == ApicDelivery.Init && (low & 0xC000) == 0x8000;
        byte vector = (byte)low;
        if (delivery is ApicDelivery.Fixed or ApicDelivery.LowestPriority && vector < 16)
        {
            RaiseError(ErrorIllegalSent);
            return default;
        }

        if (deassert || delivery is (ApicDelivery)3 or ApicDelivery.ExtInt)
        {
            return default;
        }

        bool logical = (low & 0x800) != 0;
        uint destination = (uint)(_command >> 32);
        if (!_apic.IsX2Apic)
        {
            destination >>= 24;
            destination = logical ? destination : ApicMessage.WidenDestination(destination);
        }

        // Interprocessor interrupts are edges, whatever the trigger bit says.
        return new Command((low >> 18) & 3, new ApicMessage(destination, logical, delivery, vector, false));
    }

    /// <summary>A message that a write of the command register asks for.</summary>
    /// <param name="Shorthand">0 none, 1 self, 2 all, 3 all but self.</param>
    /// <param name="Message">The message.</param>
    internal readonly record struct Command(uint Shorthand, ApicMessage Message)
    {
        /// <summary>True when there is something to send.</summary>
        internal bool IsSet { get; } = true;
    }
}
