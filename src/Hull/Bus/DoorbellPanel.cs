using System.Collections.Generic;
using System.Threading;
using Hull.Memory;

namespace Hull.Bus;

/// <summary>A guest's write that rings.</summary>
/// <param name="Address">Where.</param>
/// <param name="Size">Bytes; 0: of any size.</param>
/// <param name="Value">What is written; null: anything.</param>
internal readonly record struct DoorbellWrite(GuestPhysical Address, int Size, uint? Value);

/// <summary>An engine that takes over writes which only ring: KVM with its ioeventfd.</summary>
internal interface IDoorbells
{
    /// <summary>Takes a write over.</summary>
    /// <returns>False when it cannot: the write comes to the device as any other.</returns>
    bool TryAttach(DoorbellWrite write, Doorbell bell);

    /// <summary>Gives it back. Returns when the guest's next write comes to the device.</summary>
    void Detach(DoorbellWrite write, Doorbell bell);
}

/// <summary>A device on the bus with doorbells.</summary>
internal interface IDoorbellDevice : IMmioDevice
{
    /// <summary>Its doorbells.</summary>
    DoorbellPanel Doorbells { get; }
}

/// <summary>
/// The doorbells of one device. The engine has them while two things hold: the device is on the bus, and its driver is
/// ready. The bus tells of the first, the device of the second; any thread. Wherever the engine has none the writes come to
/// the device, which then rings itself: nothing but the way differs.
/// </summary>
internal sealed class DoorbellPanel
{
    private readonly Lock _lock = new();
    private readonly List<Button> _buttons = [];
    private IDoorbells? _engine;
    private ulong _base;
    private bool _open;

    /// <summary>Adds a doorbell. Before the device is on the bus.</summary>
    /// <param name="offset">Where in the device's range.</param>
    /// <param name="size">Bytes of the write; 0: any.</param>
    /// <param name="value">What is written; null: anything.</param>
    /// <param name="bell">What rings; its owner disposes of it when the device is off the bus.</param>
    internal void Add(ulong offset, int size, uint? value, Doorbell bell) =>
        _buttons.Add(new Button(offset, size, value, bell));

    /// <summary>The driver is ready.</summary>
    internal void Open() => Change(open: true);

    /// <summary>The device is reset, or its driver has given up.</summary>
    internal void Close() => Change(open: false);

    /// <summary>The device is at an address now, or (null) nowhere. Called by the bus.</summary>
    internal void Moved(IDoorbells? engine, ulong to)
    {
        lock (_lock)
        {
            Detach();
            _engine = engine;
            _base = to;
            Attach();
        }
    }

    private void Change(bool open)
    {
        lock (_lock)
        {
            if (_open == open)
            {
                return;
            }

            _open = open;
            foreach (Button button in _buttons)
            {
                button.Bell.IsOpen = open;
            }

            Detach();
            Attach();
        }
    }

    private void Attach()
    {
        if (_open && _engine is not null)
        {
            foreach (Button button in _buttons)
            {
                button.IsAttached = _engine.TryAttach(button.At(_base), button.Bell);
            }
        }
    }

    private void Detach()
    {
        foreach (Button button in _buttons)
        {
            if (button.IsAttached)
            {
                button.IsAttached = false;
                _engine!.Detach(button.At(_base), button.Bell); // attached to it
            }
        }
    }

    private sealed class Button(ulong offset, int size, uint? value, Doorbell bell)
    {
        internal Doorbell Bell => bell;

        internal bool IsAttached { get; set; }

        internal DoorbellWrite At(ulong start) => new(new GuestPhysical(start + offset), size, value);
    }
}
