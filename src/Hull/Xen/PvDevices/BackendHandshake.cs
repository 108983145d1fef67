using System;
using System.Threading;

namespace Hull.Xen.PvDevices;

/// <summary>A back end as the handshake sees it.</summary>
internal interface IPvBackend
{
    /// <summary>Connects to what the front end has written. Under the domain's lock.</summary>
    /// <returns>False when that cannot be; what is connected by then is for <see cref="Disconnect"/>.</returns>
    bool TryConnect();

    /// <summary>Takes no further request from now on. Under the domain's lock.</summary>
    /// <returns>Waits until nothing of the guest's is in use any more; not under the lock.</returns>
    Action Disconnect();
}

/// <summary>
/// The talk of two ends about their states in the store. The guest may do with its pages what it likes once it reads "closed", so
/// the back end says that when it is quiet. Xen, public/io/xenbus.h, "enum xenbus_state".
/// </summary>
internal sealed class BackendHandshake : IDisposable
{
    private const string Initialising = "1";
    private const string InitWait = "2";
    private const string Initialised = "3";
    private const string Connected = "4";
    private const string Closing = "5";
    private const string Closed = "6";

    private readonly Domain _domain;
    private readonly DeviceNodes _nodes;
    private readonly IPvBackend _backend;
    private readonly object _ended = new();
    private int _ends;
    private Action? _gone;
    private bool _hasGone;
    private bool _connected;
    private bool _quieting;

    /// <summary>Begins the talk: the back end waits for the front end's words. Under the domain's lock.</summary>
    internal BackendHandshake(Domain domain, DeviceNodes nodes, IPvBackend backend)
    {
        _domain = domain;
        _nodes = nodes;
        _backend = backend;
        nodes.WriteBack("state", InitWait);
        nodes.Store.Listen(Changed);
        domain.Suspension.Add(Sleep, Restart);
    }

    /// <summary>Waits until no talk is being ended any more, which looks into the guest's memory. The guest does not run.</summary>
    public void Dispose()
    {
        lock (_ended)
        {
            while (_ends > 0)
            {
                Monitor.Wait(_ended);
            }
        }
    }

    /// <summary>
    /// Asks the front end to let go of the device, as a toolstack does: the back end is not to be online, and is closing. When both are
    /// closed, or where no driver has begun, its nodes go. Any thread.
    /// </summary>
    /// <param name="gone">Called then, once, under the domain's lock.</param>
    internal void Leave(Action gone) => _domain.Act(() =>
    {
        _gone ??= gone;
        _nodes.WriteBack("online", "0");
        if (!_connected && !_quieting && _nodes.ReadFront("state") is Initialising or Closed or null)
        {
            Go();
        }
        else if (State is not Closed)
        {
            SetState(Closing);
        }

        _domain.Store.Publish();
    });

    private string? State => _nodes.ReadBack("state");

    private void Changed(string path)
    {
        if (path == _nodes.Front + "/state")
        {
            Follow();
        }
    }

    // Where the front end stood before it slept does not count: it begins anew.
    private Action Sleep()
    {
        Action wait = _connected ? _backend.Disconnect() : static () => { };
        _connected = false;
        return wait;
    }

    private void Restart()
    {
        _quieting = false;
        _nodes.WriteFront("state", Initialising);
        SetState(_gone is null ? InitWait : Closing);
    }

    private void Follow()
    {
        if (_hasGone)
        {
            return;
        }

        switch (_nodes.ReadFront("state"))
        {
            case Initialising when State == Closed && !_quieting:
                SetState(InitWait);
                break;
            case Initialised or Connected when State == InitWait && !_quieting:
                Connect();
                break;
            case Closing when State is not (Closed or Closing):
                SetState(Closing);
                break;
            case Closed when State is not Closed && !_quieting:
                Close();
                break;
            default:
                break;
        }
    }

    // A front end that tries again and again does so only when the last try's threads are gone.
    private void Connect()
    {
        _connected = true;
        if (_backend.TryConnect())
        {
            SetState(Connected);
        }
        else
        {
            Close();
        }
    }

    private void Close()
    {
        if (!_connected)
        {
            SetState(Closed);
            Go();
            return;
        }

        _connected = false;
        _quieting = true;
        lock (_ended)
        {
            _ends++;
        }

        Action wait = _backend.Disconnect();
        ThreadPool.UnsafeQueueUserWorkItem(_ => Quiet(wait), null);
    }

    private void Quiet(Action wait)
    {
        wait();
        _domain.Act(() =>
        {
            _quieting = false;
            SetState(Closed);
            Go();
            Follow(); // the front end may have gone on, even to the next end
            _domain.Store.Publish();
        });
        lock (_ended)
        {
            _ends--;
            Monitor.PulseAll(_ended);
        }
    }

    // The device is gone, if it is to go.
    private void Go()
    {
        if (_gone is not null && !_hasGone)
        {
            _hasGone = true;
            _nodes.Store.Unlisten(Changed);
            _domain.Suspension.Remove(Sleep, Restart);
            _nodes.Remove();
            _gone();
        }
    }

    private void SetState(string state) =>
        _nodes.Store.Tree.Write(0, _nodes.Back + "/state", System.Text.Encoding.ASCII.GetBytes(state));
}
