namespace Hull.Devices.Irq;

/// <summary>What a write of a register does outside the APIC, to be done when the lock is dropped.</summary>
internal struct ApicEffects
{
    /// <summary>A message to send.</summary>
    internal InterruptCommand Command;

    /// <summary>The vector of a level-triggered interrupt that has ended.</summary>
    internal byte? EndOfLevel;

    /// <summary>The APIC was turned off by its MSR, which resets it.</summary>
    internal bool TurnedOff;
}

/// <summary>
/// The registers of a <see cref="LocalApic"/> as software reads and writes them, through memory and as MSRs; identity and errors are
/// kept here. Everything but <see cref="IsLogicalTarget"/> and <see cref="IsSoftwareEnabled"/> is called under the APIC's lock.
/// </summary>
internal sealed class LocalApicRegisters
{
    // Version 0x14 (P4 and later), six LVT entries.
    private const uint VersionValue = 0x0005_0014;
    private const uint SoftwareEnable = 0x100;
    private const int ErrorIllegalSent = 1 << 5;
    private const int ErrorIllegalReceived = 1 << 6;
    private const int ErrorIllegalRegister = 1 << 7;

    private readonly uint _id;
    private readonly ApicBase _base;
    private readonly ApicVectors _vectors;
    private readonly ApicTimer _timer;
    private readonly LogicalDestination _logical;
    private InterruptCommandRegister _command;
    private volatile uint _spurious;
    private uint _errorStatus;
    private uint _errors;

    internal LocalApicRegisters(uint id, ApicBase apicBase, ApicVectors vectors, ApicTimer timer)
    {
        _id = id;
        _base = apicBase;
        _vectors = vectors;
        _timer = timer;
        Lvt = new LocalVectorTable(timer);
        _logical = new LogicalDestination(id, apicBase);
    }

    /// <summary>SVR bit 8. Any thread.</summary>
    internal bool IsSoftwareEnabled => (_spurious & SoftwareEnable) != 0;

    /// <summary>The local vector table.</summary>
    internal LocalVectorTable Lvt { get; }

    /// <summary>The values after reset.</summary>
    internal void Reset()
    {
        _vectors.Reset();
        _timer.Reset();
        Lvt.Reset(isBsp: _id == 0);
        _logical.Reset();
        _spurious = 0xFF;
        _command = default;
        _errorStatus = 0;
        _errors = 0;
    }

    /// <summary>True when a logical destination is this APIC. Any thread.</summary>
    internal bool IsLogicalTarget(uint destination) => _logical.Matches(destination);

    /// <summary>Asks for a vector; one below 16 is an error.</summary>
    internal void Request(byte vector, bool level)
    {
        if (vector < 16)
        {
            RaiseError(ErrorIllegalReceived);
        }
        else
        {
            _vectors.Request(vector, level);
        }
    }

    /// <summary>Reads a register through memory.</summary>
    internal uint Read(uint offset)
    {
        if (offset is >= ApicRegister.Isr and < ApicRegister.ErrorStatus)
        {
            return _vectors.Read(offset);
        }

        switch (offset)
        {
            case ApicRegister.Id:
                return _base.IsX2Apic ? _id : _id << 24;
            case ApicRegister.Version:
                return VersionValue;
            case ApicRegister.TaskPriority:
                return _vectors.TaskPriority;
            case ApicRegister.ArbitrationPriority or ApicRegister.ProcessorPriority:
                return _vectors.ProcessorPriority;
            case ApicRegister.LogicalDestination:
                return _logical.Register;
            case ApicRegister.DestinationFormat:
                return _logical.Format;
            case ApicRegister.SpuriousVector:
                return _spurious;
            case ApicRegister.ErrorStatus:
                return _errorStatus;
            case ApicRegister.CommandLow:
                return (uint)_command.Value;
            case ApicRegister.CommandHigh:
                return (uint)(_command.Value >> 32);
            case >= ApicRegister.LvtTimer and <= ApicRegister.LvtError:
                return Lvt.Read(offset);
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

    /// <summary>Reads IA32_APIC_BASE, IA32_TSC_DEADLINE or, in x2APIC mode, a register.</summary>
    /// <returns>False for #GP.</returns>
    internal bool TryReadMsr(uint index, out ulong value)
    {
        value = 0;
        switch (index)
        {
            case ApicRegister.BaseMsr:
                value = _base.Value;
                return true;
            case ApicRegister.TscDeadlineMsr:
                value = _timer.TscDeadline;
                return true;
            case >= ApicRegister.X2ApicMsr and < ApicRegister.X2ApicMsr + 0x100:
                return _base.IsX2Apic && TryReadX2((index - ApicRegister.X2ApicMsr) << 4, out value);
            default:
                return false;
        }
    }

    /// <summary>Writes one of the MSRs that can be read.</summary>
    /// <returns>False for #GP.</returns>
    internal bool TryWriteMsr(uint index, ulong value, out ApicEffects effects)
    {
        effects = default;
        switch (index)
        {
            case ApicRegister.BaseMsr:
                return TryWriteBase(value, ref effects);
            case ApicRegister.TscDeadlineMsr:
                if (_timer.WriteTscDeadline(value))
                {
                    Request((byte)_timer.Lvt, level: false);
                }

                return true;
            case >= ApicRegister.X2ApicMsr and < ApicRegister.X2ApicMsr + 0x100:
                uint offset = (index - ApicRegister.X2ApicMsr) << 4;
                return _base.IsX2Apic && IsWritableX2(offset, value) && TryWrite(offset, value, out effects);
            default:
                return false;
        }
    }

    /// <summary>
    /// Writes a register. In x2APIC mode the command register takes all 64 bits.
    /// </summary>
    /// <param name="offset">The register.</param>
    /// <param name="wide">The value.</param>
    /// <param name="effects">What is to be done when the lock is dropped.</param>
    /// <returns>False when there is no such register.</returns>
    internal bool TryWrite(uint offset, ulong wide, out ApicEffects effects)
    {
        uint value = (uint)wide;
        effects = default;
        switch (offset)
        {
            case ApicRegister.Eoi:
                int ended = _vectors.EndOfInterrupt(out bool level);
                effects.EndOfLevel = level ? (byte)ended : null;
                break;
            case ApicRegister.TaskPriority:
                _vectors.TaskPriority = (byte)value;
                break;
            case ApicRegister.LogicalDestination:
                _logical.WriteRegister(value);
                break;
            case ApicRegister.DestinationFormat:
                _logical.WriteFormat(value);
                break;
            case ApicRegister.SpuriousVector:
                WriteSpurious(value);
                break;
            case ApicRegister.ErrorStatus:
                _errorStatus = _errors;
                _errors = 0;
                break;
            case ApicRegister.CommandLow:
                if (!_command.TryWriteLow(wide, _base.IsX2Apic, out effects.Command))
                {
                    RaiseError(ErrorIllegalSent);
                }

                break;
            case ApicRegister.CommandHigh:
                _command.WriteHigh(value);
                break;
            case ApicRegister.InitialCount:
                _timer.WriteInitialCount(value);
                break;
            case ApicRegister.DivideConfiguration:
                _timer.WriteDivide(value);
                break;
            case ApicRegister.SelfIpi when _base.IsX2Apic:
                effects.Command = new InterruptCommand(1, new ApicMessage(0, false, ApicDelivery.Fixed, (byte)value, false));
                break;
            default:
                if (Lvt.TryWrite(offset, value, IsSoftwareEnabled))
                {
                    break;
                }

                RaiseError(ErrorIllegalRegister);
                return false;
        }

        return true;
    }

    /// <summary>Software disable masks every LVT entry. SDM vol. 3A, "Local APIC State After It Has Been Software Disabled".</summary>
    private void WriteSpurious(uint value)
    {
        _spurious = value & 0x3FF;
        if (!IsSoftwareEnabled)
        {
            Lvt.MaskAll();
        }
    }

    private bool TryWriteBase(ulong value, ref ApicEffects effects)
    {
        if (!_base.TryWrite(value, out effects.TurnedOff))
        {
            return false;
        }

        if (effects.TurnedOff)
        {
            Reset();
        }

        _logical.ModeChanged();
        return true;
    }

    /// <summary>Reads in x2APIC mode. SDM vol. 3A, "x2APIC Register Address Space".</summary>
    private bool TryReadX2(uint offset, out ulong value)
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
            value = offset == ApicRegister.CommandLow ? _command.Value : Read(offset);
        }

        return readable;
    }

    /// <summary>True when WRMSR of this value in x2APIC mode is no #GP.</summary>
    private static bool IsWritableX2(uint offset, ulong value) => offset switch
    {
        ApicRegister.CommandLow => InterruptCommandRegister.IsValid(value),
        ApicRegister.Eoi or ApicRegister.ErrorStatus => value == 0,
        ApicRegister.TaskPriority or ApicRegister.SelfIpi => value <= 0xFF,
        ApicRegister.SpuriousVector or ApicRegister.DivideConfiguration => value <= uint.MaxValue,
        >= ApicRegister.LvtTimer and <= ApicRegister.InitialCount => value <= uint.MaxValue,
        _ => false,
    };

    /// <summary>Notes an error and raises its interrupt.</summary>
    private void RaiseError(int bit)
    {
        _errors |= (uint)bit;
        if (Lvt.ErrorVector is byte vector and >= 16)
        {
            _vectors.Request(vector, level: false);
        }
    }
}
