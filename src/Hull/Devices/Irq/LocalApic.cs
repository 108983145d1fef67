using System.Threading;
using Hull.Bus;
using Hull.Platform;
using Hull.Timeline;

namespace Hull.Devices.Irq;

/// <summary>
/// The local APIC of one vCPU, in xAPIC and x2APIC mode. It takes messages from any thread, decides what the vCPU is
/// to see, and says so through <see cref="IVcpuSignals"/>. Register access is in <see cref="LocalApicRegisters"/>.
/// SDM vol. 3A, "Advanced Programmable Interrupt Controller (APIC)".
/// </summary>
internal sealed class LocalApic : ILocalApic
{
    /// <summary>The timer's input clock in Hz, before the divider: what CPUID 15h reports as the crystal.</summary>
    internal const ulong BusHz = ApicTimer.InputHz;

    private const ulong BaseBsp = 1 << 8;
    private const ulong BaseX2Apic = 1 << 10;
    private const ulong BaseEnable = 1 << 11;
    private const ulong BaseAddress = 0x000F_FFFF_FFFF_F000;
    private const uint Masked = 0x10000;
    private const int ErrorIllegalReceived = 1 << 6;

    private readonly Lock _lock = new();
    private readonly ApicBus _bus;
    private readonly IExtIntSource? _extInt;
    private readonly LocalApicRegisters _registers;
    private readonly ApicTimer _timer;
    private IVcpuSignals? _signals;
    private VectorSet _irr;
    private VectorSet _isr;
    private VectorSet _tmr;
    private ulong _baseMsr;
    private bool _extIntLatched;
    private bool _lint1;
    private volatile byte _past; // a vector of a hypervisor's; 0: none. Only the vCPU takes it.
    private volatile bool _extIntPending;
    private volatile bool _hasInterrupt;
    private volatile byte _taskPriority;
    private volatile byte _processorPriority;

    /// <summary>Makes the APIC in its state after power-on, and connects it to the bus.</summary>
    /// <param name="id">The APIC id; also the index of its vCPU.</param>
    /// <param name="timers">The machine's time.</param>
    /// <param name="bus">The other APICs.</param>
    /// <param name="extInt">The 8259 at LINT0; null when nothing is connected there.</param>
    internal LocalApic(uint id, ITimerQueue timers, ApicBus bus, IExtIntSource? extInt)
    {
        Id = id;
        _bus = bus;
        _extInt = extInt;
        _timer = new ApicTimer(timers, TimerFired);
        Clock = timers.Clock;
        _registers = new LocalApicRegisters(this, _timer);
        PowerOn();
        bus.Add(this);
    }

    /// <summary>The APIC id.</summary>
    internal uint Id { get; }

    /// <summary>The machine's clock.</summary>
    internal IMachineClock Clock { get; }

    /// <inheritdoc/>
    public ulong BaseMsr => Volatile.Read(ref _baseMsr);

    /// <inheritdoc/>
    public ulong MmioPage =>
        (BaseMsr & (BaseEnable | BaseX2Apic)) == BaseEnable ? BaseMsr & BaseAddress : ulong.MaxValue;

    /// <inheritdoc/>
    public bool HasInterrupt => _hasInterrupt;

    /// <summary>True in x2APIC mode.</summary>
    internal bool IsX2Apic => (BaseMsr & BaseX2Apic) != 0;

    /// <summary>True when the APIC takes fixed interrupts: enabled in the MSR and in the spurious vector register.</summary>
    internal bool IsEnabled => (BaseMsr & BaseEnable) != 0 && _registers.IsSoftwareEnabled;

    /// <summary>PPR.</summary>
    internal byte ProcessorPriority => _processorPriority;

    /// <summary>TPR, all eight bits.</summary>
    internal byte TaskPriorityRegister => _taskPriority;

    /// <inheritdoc/>
    public byte TaskPriority
    {
        get => (byte)(_taskPriority >> 4);
        set => WriteTaskPriority((byte)(value << 4));
    }

    /// <summary>Connects the vCPU. Before it runs.</summary>
    internal void Connect(IVcpuSignals signals) => _signals = signals;

    /// <inheritdoc/>
    public int Acknowledge()
    {
        if (_past != 0)
        {
            lock (_lock)
            {
                int past = _past;
                _past = 0;
                Refresh();
                return past;
            }
        }

        if (_extIntPending && _extInt is not null)
        {
            lock (_lock)
            {
                _extIntLatched = false;
            }

            // The 8259 tells us through Lint0Changed that its output has changed.
            int vector = _extInt.AcknowledgeInterrupt();
            Lint0Changed();
            return vector;
        }

        lock (_lock)
        {
            int vector = _irr.Highest;
            bool due = vector >> 4 > _processorPriority >> 4;
            if (due)
            {
                _irr.Remove(vector);
                _isr.Add(vector);
            }

            Refresh();
            return due ? vector : -1;
        }
    }

    /// <inheritdoc/>
    public uint ReadMmio(uint offset)
    {
        if ((offset & 0xF) != 0)
        {
            return 0;
        }

        lock (_lock)
        {
            return _registers.Read(offset);
        }
    }

    /// <inheritdoc/>
    public void WriteMmio(uint offset, uint value)
    {
        if ((offset & 0xF) == 0)
        {
            _ = TryWriteRegister(offset, value);
        }
    }

    /// <inheritdoc/>
    public bool TryReadMsr(uint index, out ulong value)
    {
        value = 0;
        lock (_lock)
        {
            switch (index)
            {
                case ApicRegister.BaseMsr:
                    value = _baseMsr;
                    return true;
                case ApicRegister.TscDeadlineMsr:
                    value = _timer.TscDeadline;
                    return true;
                case >= ApicRegister.X2ApicMsr and < ApicRegister.X2ApicMsr + 0x100:
                    return IsX2Apic && _registers.TryReadMsr((index - ApicRegister.X2ApicMsr) << 4, out value);
                default:
                    return false;
            }
        }
    }

    /// <inheritdoc/>
    public bool TryWriteMsr(uint index, ulong value)
    {
        switch (index)
        {
            case ApicRegister.BaseMsr:
                return TryWriteBase(value);
            case ApicRegister.TscDeadlineMsr:
                WriteTscDeadline(value);
                return true;
            case >= ApicRegister.X2ApicMsr and < ApicRegister.X2ApicMsr + 0x100:
                uint offset = (index - ApicRegister.X2ApicMsr) << 4;
                return IsX2Apic && LocalApicRegisters.IsMsrWritable(offset, value) && TryWriteRegister(offset, value);
            default:
                return false;
        }
    }

    /// <inheritdoc/>
    public void Reset()
    {
        lock (_lock)
        {
            ResetRegisters();
        }
    }

    /// <summary>Goes to the state after power-on, IA32_APIC_BASE too.</summary>
    internal void PowerOn()
    {
        lock (_lock)
        {
            _baseMsr = PlatformMap.LocalApicBase | BaseEnable | (Id == 0 ? BaseBsp : 0);
            _past = 0;
            ResetRegisters();
        }
    }

    /// <summary>True when a message with this destination is for this APIC. Any thread.</summary>
    internal bool IsTarget(uint destination, bool logical) =>
        logical ? _registers.IsLogicalTarget(destination)
            : destination == Id || destination == ApicMessage.Broadcast;

    /// <summary>Takes a message that was sent to this APIC. Any thread.</summary>
    internal void Accept(in ApicMessage message)
    {
        if ((BaseMsr & BaseEnable) == 0)
        {
            return;
        }

        switch (message.Delivery)
        {
            case ApicDelivery.Fixed or ApicDelivery.LowestPriority:
                AcceptFixed(message.Vector, message.Level);
                break;
            case ApicDelivery.Nmi:
                _signals?.Nmi();
                break;
            case ApicDelivery.Init:
                _signals?.Init();
                break;
            case ApicDelivery.Startup:
                _signals?.Startup(message.Vector);
                break;
            case ApicDelivery.ExtInt:
                lock (_lock)
                {
                    _extIntLatched = true;
                }

                Lint0Changed();
                break;
            default:
                break; // SMI: there is no SMM.
        }
    }

    /// <summary>The output of the 8259 has changed: LINT0. Any thread, with no lock of the 8259 held.</summary>
    internal void Lint0Changed()
    {
        bool pending;
        lock (_lock)
        {
            pending = Refresh();
        }

        Signal(pending);
    }

    /// <summary>LINT1, where a PC has its NMI. Any thread.</summary>
    internal void SetLint1(bool level)
    {
        bool nmi;
        lock (_lock)
        {
            uint entry = _registers.Lint1;
            bool open = (entry & Masked) == 0 && ((entry >> 8) & 7) == (uint)ApicDelivery.Nmi;
            nmi = level && !_lint1 && open;
            _lint1 = level;
        }

        if (nmi)
        {
            _signals?.Nmi();
        }
    }

    /// <summary>IRR, ISR or TMR: the word at one of their offsets. Under the lock.</summary>
    internal uint ReadVectors(uint offset) => (offset & ~0x70u) switch
    {
        ApicRegister.Isr => _isr.Register((int)((offset >> 4) & 7)),
        ApicRegister.Tmr => _tmr.Register((int)((offset >> 4) & 7)),
        _ => _irr.Register((int)((offset >> 4) & 7)),
    };

    /// <summary>Sets IRR for a vector, or an error bit for one below 16. Under the lock; <see cref="Refresh"/> follows.</summary>
    internal void Request(byte vector, bool level)
    {
        if (vector < 16)
        {
            _registers.RaiseError(ErrorIllegalReceived);
            return;
        }

        _irr.Add(vector);
        if (level)
        {
            _tmr.Add(vector);
        }
        else
        {
            _tmr.Remove(vector);
        }
    }

    private bool TryWriteRegister(uint offset, ulong value)
    {
        if (offset == ApicRegister.Eoi)
        {
            EndOfInterrupt();
            return true;
        }

        if (offset == ApicRegister.TaskPriority)
        {
            WriteTaskPriority((byte)value);
            return true;
        }

        bool valid;
        bool pending;
        LocalApicRegisters.Command command;
        lock (_lock)
        {
            valid = _registers.TryWrite(offset, value, out command);
            pending = Refresh();
        }

        Signal(pending);
        if (command.IsSet)
        {
            Send(command);
        }

        return valid;
    }

    private void WriteTaskPriority(byte value)
    {
        bool pending;
        lock (_lock)
        {
            _taskPriority = value;
            pending = Refresh();
        }

        Signal(pending);
    }

    private void EndOfInterrupt()
    {
        int vector;
        bool level = false;
        bool pending;
        lock (_lock)
        {
            vector = _isr.Highest;
            if (vector >= 0)
            {
                _isr.Remove(vector);
                level = _tmr.Contains(vector);
            }

            pending = Refresh();
        }

        Signal(pending);
        if (level)
        {
            _bus.EndOfInterrupt?.Invoke((byte)vector);
        }
    }

    private void Send(in LocalApicRegisters.Command command)
    {
        switch (command.Shorthand)
        {
            case 0:
                _bus.Deliver(command.Message);
                break;
            case 1:
                Accept(command.Message);
                break;
            case 2:
                _bus.Deliver(command.Message with { Destination = ApicMessage.Broadcast, Logical = false });
                break;
            default:
                _bus.DeliverToOthers(this, command.Message);
                break;
        }
    }

    /// <summary>Takes a vector from a hypervisor, also while software has the APIC disabled. Any thread.</summary>
    internal void Inject(byte vector)
    {
        bool pending;
        lock (_lock)
        {
            Request(vector, level: false);
            pending = Refresh();
        }

        Signal(pending);
    }

    /// <summary>A vector from a hypervisor that is no concern of the registers, until the vCPU takes it. Any thread.</summary>
    internal void InjectPast(byte vector)
    {
        bool pending;
        lock (_lock)
        {
            _past = vector;
            pending = Refresh();
        }

        Signal(pending);
    }

    /// <summary>A hypervisor's NMI. Any thread.</summary>
    internal void InjectNmi() => _signals?.Nmi();

    private void AcceptFixed(byte vector, bool level)
    {
        bool pending = false;
        lock (_lock)
        {
            if (_registers.IsSoftwareEnabled)
            {
                Request(vector, level);
                pending = Refresh();
            }
        }

        Signal(pending);
    }

    private void TimerFired()
    {
        bool pending = false;
        lock (_lock)
        {
            if (_timer.TryExpire())
            {
                Request((byte)_timer.Lvt, level: false);
                pending = Refresh();
            }
        }

        Signal(pending);
    }

    private void WriteTscDeadline(ulong value)
    {
        bool pending = false;
        lock (_lock)
        {
            if (_timer.WriteTscDeadline(value))
            {
                Request((byte)_timer.Lvt, level: false);
                pending = Refresh();
            }
        }

        Signal(pending);
    }

    /// <summary>SDM vol. 3A, "x2APIC State Transitions".</summary>
    private bool TryWriteBase(ulong value)
    {
        const ulong Mode = BaseEnable | BaseX2Apic;
        bool pending;
        lock (_lock)
        {
            ulong from = _baseMsr & Mode;
            ulong to = value & Mode;
            bool illegal = to == BaseX2Apic
                || (from == Mode && to == BaseEnable)
                || (from == 0 && to == Mode)
                || (value & ~(BaseAddress | Mode | BaseBsp)) != 0;
            if (illegal)
            {
                return false;
            }

            Volatile.Write(ref _baseMsr, (value & ~BaseBsp) | (_baseMsr & BaseBsp));
            if (to != from && to == 0)
            {
                ResetRegisters();
            }

            _registers.ModeChanged();
            pending = Refresh();
        }

        Signal(pending);
        return true;
    }

    private void ResetRegisters()
    {
        _irr.Clear();
        _isr.Clear();
        _tmr.Clear();
        _taskPriority = 0;
        _extIntLatched = false;
        _timer.Reset();
        _registers.Reset();
        Refresh();
    }

    /// <summary>Computes PPR and whether an interrupt waits. Under the lock, after every change.</summary>
    private bool Refresh()
    {
        int inService = _isr.Highest & ~0xF;
        int task = _taskPriority;
        int priority = inService > (task & 0xF0) ? inService : task;
        _processorPriority = (byte)priority;
        bool hardwareEnabled = (_baseMsr & BaseEnable) != 0;
        uint lint0 = _registers.Lint0;
        bool virtualWire = !hardwareEnabled
            || ((lint0 & Masked) == 0 && ((lint0 >> 8) & 7) == (uint)ApicDelivery.ExtInt);
        _extIntPending = _extInt is not null && _extInt.Output && (virtualWire || _extIntLatched);
        _hasInterrupt = _past != 0 || _extIntPending || (hardwareEnabled && _irr.Highest >> 4 > priority >> 4);
        return _hasInterrupt;
    }

    private void Signal(bool pending)
    {
        if (pending)
        {
            _signals?.InterruptChanged();
        }
    }
}
