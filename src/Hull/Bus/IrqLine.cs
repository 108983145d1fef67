using System;
using System.Threading;

namespace Hull.Bus;

/// <summary>A device that drives a level: what its line should be now.</summary>
public interface IIrqSource
{
    /// <summary>True while the device wants its interrupt asserted. Any thread, free of locks.</summary>
    bool IrqLevel { get; }
}

/// <summary>
/// One interrupt wire. A device knows its line, never the controller behind it. Any thread; changes reach the
/// controller in order, because the wire has a lock of its own, which only controllers are called under.
/// </summary>
public sealed class IrqLine
{
    private readonly Lock _lock = new();
    private readonly Action<bool> _changed;
    private volatile bool _level;

    /// <summary>Makes a line; <paramref name="changed"/> is called with the new level at each change.</summary>
    public IrqLine(Action<bool> changed) => _changed = changed;

    /// <summary>The level: true is asserted.</summary>
    public bool Level => _level;

    /// <summary>Drives the line; nothing happens when the level stays. The caller holds no lock of its own.</summary>
    public void Set(bool level)
    {
        lock (_lock)
        {
            Drive(level);
        }
    }

    /// <summary>
    /// Drives the line to what the source says at this moment. A device that changes state on several threads calls
    /// this after each change, with its lock dropped: whoever comes last reads the latest state.
    /// </summary>
    public void Follow(IIrqSource source)
    {
        lock (_lock)
        {
            Drive(source.IrqLevel);
        }
    }

    /// <summary>One edge: down if it was up, up, and down.</summary>
    public void Pulse()
    {
        lock (_lock)
        {
            Drive(false);
            Drive(true);
            Drive(false);
        }
    }

    private void Drive(bool level)
    {
        if (_level != level)
        {
            _level = level;
            _changed(level);
        }
    }
}
