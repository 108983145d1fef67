using System.Threading;
using Hull.Bus;
using Hull.Host;
using Hull.Kvm.Abi;

namespace Hull.Kvm;

/// <summary>
/// A vector of a card: once it has sent the same message some times, the kernel has a route for it, and a descriptor whose
/// signal sends it. Linux, "KVM API", "KVM_IRQFD".
/// </summary>
internal sealed class KvmMsiLine(KvmEngine engine) : IMsiLine
{
    // A route is a change of the whole table, and a descriptor. A vector that is used once in a while (a change of a
    // configuration), or that the guest writes anew all the time, does without.
    private const int Patience = 8;

    private readonly Lock _lock = new();
    private readonly KvmRoutes _routes = engine.Routes;
    private MsiMessage _message;
    private int _sent;
    private bool _isRouted;
    private bool _disposed;
    private int _number = -1;
    private int _descriptor = -1;

    /// <inheritdoc/>
    public void Send(MsiMessage message)
    {
        // Under the lock: another thread may be sending what the guest has just written there, and the route is one.
        lock (_lock)
        {
            if (message != _message)
            {
                (_message, _sent, _isRouted) = (message, 0, false);
            }

            if (!_isRouted && ++_sent > Patience)
            {
                _sent = 0;
                _isRouted = TryRoute();
            }

            if (_isRouted)
            {
                _routes.Count();
                _ = LibcStreams.Write(_descriptor, [1, 0, 0, 0, 0, 0, 0, 0], 8);
                return;
            }
        }

        engine.Send(message);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
            _isRouted = false;
            Detach();
        }
    }

    private bool TryRoute()
    {
        if (_disposed || !KvmEngine.IsInterrupt(_message))
        {
            return false;
        }

        if (_number >= 0)
        {
            return _routes.TrySet(_number, _message);
        }

        _number = _routes.Take(this);
        if (_number < 0)
        {
            return false;
        }

        // The route first: the kernel looks for it when it takes the descriptor.
        _descriptor = LibcNet.EventFd(0, LibcNet.CloseOnExec | LibcNet.NonBlocking);
        if (_descriptor >= 0 && _routes.TrySet(_number, _message) && TryCall(KvmIrqFlags.None))
        {
            return true;
        }

        Detach();
        return false;
    }

    private void Detach()
    {
        if (_descriptor >= 0)
        {
            _ = TryCall(KvmIrqFlags.Detach);
            _ = Libc.Close(_descriptor);
            _descriptor = -1;
        }

        if (_number >= 0)
        {
            _routes.Free(_number);
            _number = -1;
        }
    }

    private bool TryCall(KvmIrqFlags flags)
    {
        KvmIrqFd request = new() { Descriptor = _descriptor, Gsi = (uint)_number, Flags = flags };
        return engine.File.TryCallAnytime(KvmRequests.IrqFd, ref request) >= 0;
    }
}
