namespace Hull.Devices.Irq;

/// <summary>
/// The fixed interrupts of a local APIC: which are requested, in service and level triggered, and the priorities that decide
/// whether one is taken. Called under the APIC's lock, but the priorities are read by any thread.
/// SDM vol. 3A, "Interrupt Acceptance for Fixed Interrupts" and "Task and Processor Priorities".
/// </summary>
internal sealed class ApicVectors
{
    private VectorSet _irr;
    private VectorSet _isr;
    private VectorSet _tmr;
    private volatile byte _taskPriority;
    private volatile byte _processorPriority;

    /// <summary>TPR, all eight bits.</summary>
    internal byte TaskPriority
    {
        get => _taskPriority;
        set
        {
            _taskPriority = value;
            UpdateProcessorPriority();
        }
    }

    /// <summary>PPR.</summary>
    internal byte ProcessorPriority => _processorPriority;

    /// <summary>True when a requested interrupt is above the processor priority.</summary>
    internal bool IsDue => _irr.Highest >> 4 > _processorPriority >> 4;

    /// <summary>Notes that a vector is wanted.</summary>
    internal void Request(byte vector, bool level)
    {
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

    /// <summary>Puts the highest request into service.</summary>
    /// <returns>The vector, or -1 when none is due.</returns>
    internal int Take()
    {
        if (!IsDue)
        {
            return -1;
        }

        int vector = _irr.Highest;
        _irr.Remove(vector);
        _isr.Add(vector);
        UpdateProcessorPriority();
        return vector;
    }

    /// <summary>Ends the highest service.</summary>
    /// <param name="level">True when it was level triggered.</param>
    /// <returns>The vector, or -1 when none is in service.</returns>
    internal int EndOfInterrupt(out bool level)
    {
        int vector = _isr.Highest;
        level = vector >= 0 && _tmr.Contains(vector);
        if (vector >= 0)
        {
            _isr.Remove(vector);
            UpdateProcessorPriority();
        }

        return vector;
    }

    /// <summary>IRR, ISR or TMR: the word at one of their offsets.</summary>
    internal uint Read(uint offset) => (offset & ~0x70u) switch
    {
        ApicRegister.Isr => _isr.Register((int)((offset >> 4) & 7)),
        ApicRegister.Tmr => _tmr.Register((int)((offset >> 4) & 7)),
        _ => _irr.Register((int)((offset >> 4) & 7)),
    };

    /// <summary>The values after reset.</summary>
    internal void Reset()
    {
        _irr.Clear();
        _isr.Clear();
        _tmr.Clear();
        TaskPriority = 0;
    }

    private void UpdateProcessorPriority()
    {
        int inService = _isr.Highest & ~0xF;
        int task = _taskPriority;
        _processorPriority = (byte)(inService > (task & 0xF0) ? inService : task);
    }
}
