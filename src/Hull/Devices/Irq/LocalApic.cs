using System.Threading;
using Hull.Bus;
using Hull.Timeline;

namespace Hull.Devices.Irq;

/// <summary>
/// The local APIC of one vCPU, in xAPIC and x2APIC mode. It takes messages from any thread, decides what the vCPU is to see, and
/// says so through <see cref="IVcpuSignals"/>. Its state is in <see cref="ApicBase"/>, <see cref="ApicVectors"/>,
/// <see cref="LocalApicRegisters"/>, <see cref="ApicTimer"/> and <see cref="ApicPins"/>; here are the lock around them and the ways in and out.
/// SDM vol. 3A, "Advanced Programmable Interrupt Controller (APIC)".
/// </summary>
internal sealed class LocalApic : ILocalApic
{
    /// <summary>The timer's input clock in Hz, before the divider: what CPUID 15h reports as the crystal.</summary>
    internal const ulong BusHz = ApicTimer.InputHz;

    private readonly Lock _lock = new();
    private readonly ApicBus _bus;
    private readonly ApicBase _base;
    private readonly ApicVectors _vectors = new();
    private readonly ApicTimer _timer;
    private readonly LocalApicRegisters _registers;
    private readonly ApicPins _pins;
    private IVcpuSignals? _signals;
    private volatile byte _past; // a vector of a hypervisor's; 0: none. Only the vCPU takes it.
    private volatile bool _extIntPending;
    private volatile bool _hasInterrupt;

    /// <summary>Makes the APIC in its state after power-on, and connects it to the bus.</summary>
    /// <param name="id">The APIC id; also the index of its vCPU.</param>
    /// <param name="timers">The machine's time.</param>
    /// <param name="bus">The other APICs.</param>
    /// <param name="extInt">The 8259 at LINT0; null when nothing is connected there.</param>
    internal LocalApic(uint id, ITimerQueue timers, ApicBus bus, IExtIntSource? extInt)
    {
        Id = id;
        _bus = bus;
        _base = new ApicBase(isBsp: id == 0);
        _timer = new ApicTimer(timers, TimerFired);
        _registers = new LocalApicRegisters(id, _base, _vectors, _timer);
        _pins = new ApicPins(_registers.Lvt, extInt);
        ResetRegisters();
        bus.Add(this);
    }

    /// <summary>The APIC id.</summary>
    internal uint Id { get; }

    /// <inheritdoc/>
    public ulong BaseMsr => _base.Value;

    /// <inheritdoc/>
    public ulong MmioPage => _base.MmioPage;

    /// <inheritdoc/>
    public bool HasInterrupt => _hasInterrupt;

    /// <summary>True when the APIC takes fixed interrupts: enabled in the MSR and in the spurious vector register.</summary>
    internal bool IsEnabled => _base.IsEnabled && _registers.IsSoftwareEnabled;

    /// <summary>PPR.</summary>
    internal byte ProcessorPriority => _vectors.ProcessorPriority;

    /// <inheritdoc/>
    public byte TaskPriority
    {
        get => (byte)(_vectors.TaskPriority >> 4);
        set => WriteMmio(ApicRegister.TaskPriority, (uint)value << 4);
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

        if (_extIntPending)
        {
            lock (_lock)
            {
                _pins.IsExtIntLatched = false;
            }

            // The 8259 tells us through Lint0Changed that its output has changed.
            int vector = _pins.AcknowledgeExtInt();
            Lint0Changed();
            return vector;
        }

        lock (_lock)
        {
            int vector = _vectors.Take();
            Refresh();
            return vector;
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
        if ((offset & 0xF) != 0)
        {
            return;
        }

        ApicEffects effects;
        lock (_lock)
        {
            _registers.TryWrite(offset, value, out effects);
            Refresh();
        }

        Signal();
        Make(effects);
    }

    /// <inheritdoc/>
    public bool TryReadMsr(uint index, out ulong value)
    {
        lock (_lock)
        {
            return _registers.TryReadMsr(index, out value);
        }
    }

    /// <inheritdoc/>
    public bool TryWriteMsr(uint index, ulong value)
    {
        bool done;
        ApicEffects effects;
        lock (_lock)
        {
            done = _registers.TryWriteMsr(index, value, out effects);
            if (effects.TurnedOff)
            {
                _pins.IsExtIntLatched = false;
            }

            Refresh();
        }

        Signal();
        Make(effects);
        return done;
    }

    /// <inheritdoc/>
    public void Reset()
    {
        lock (_lock)
        {
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
        if (!_base.IsEnabled)
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
                    _pins.IsExtIntLatched = true;
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
        lock (_lock)
        {
            Refresh();
        }

        Signal();
    }

    /// <summary>LINT1, where a PC has its NMI. Any thread.</summary>
    internal void SetLint1(bool level)
    {
        bool nmi;
        lock (_lock)
        {
            nmi = _pins.SetLint1(level);
        }

        if (nmi)
        {
            _signals?.Nmi();
        }
    }

    /// <summary>The machine is suspended to RAM: the vCPU stops. Any thread.</summary>
    internal void Suspend() => _signals?.Suspend();

    /// <summary>The machine is back; for the bootstrap processor. Any thread.</summary>
    internal void Resume(uint? at) => _signals?.Resume(at);

    /// <summary>Takes a vector from a hypervisor, also while software has the APIC disabled. Any thread.</summary>
    internal void Inject(byte vector)
    {
        lock (_lock)
        {
            _registers.Request(vector, level: false);
            Refresh();
        }

        Signal();
    }

    /// <summary>A vector from a hypervisor that is no concern of the registers, until the vCPU takes it. Any thread.</summary>
    internal void InjectPast(byte vector)
    {
        lock (_lock)
        {
            _past = vector;
            Refresh();
        }

        Signal();
    }

    /// <summary>A hypervisor's NMI. Any thread.</summary>
    internal void InjectNmi() => _signals?.Nmi();

    private void AcceptFixed(byte vector, bool level)
    {
        lock (_lock)
        {
            if (!_registers.IsSoftwareEnabled)
            {
                return;
            }

            _registers.Request(vector, level);
            Refresh();
        }

        Signal();
    }

    private void TimerFired()
    {
        lock (_lock)
        {
            if (!_timer.TryExpire())
            {
                return;
            }

            _registers.Request((byte)_timer.Lvt, level: false);
            Refresh();
        }

        Signal();
    }

    private void ResetRegisters()
    {
        _pins.IsExtIntLatched = false;
        _registers.Reset();
        Refresh();
    }

    private void Make(in ApicEffects effects)
    {
        if (effects.Command.IsSet)
        {
            _bus.Send(this, effects.Command);
        }

        if (effects.EndOfLevel is byte vector)
        {
            _bus.EndOfInterrupt?.Invoke(vector);
        }
    }

    /// <summary>Computes whether an interrupt waits. Under the lock, after every change.</summary>
    private void Refresh()
    {
        bool isEnabled = _base.IsEnabled;
        _extIntPending = _pins.HasExtInt(isEnabled);
        _hasInterrupt = _past != 0 || _extIntPending || (isEnabled && _vectors.IsDue);
    }

    // Without the lock. When the vCPU has taken the interrupt meanwhile, there is nothing to say.
    private void Signal()
    {
        if (_hasInterrupt)
        {
            _signals?.InterruptChanged();
        }
    }
}
