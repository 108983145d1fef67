using System;
using System.Threading;

namespace Hull.Host;

/// <summary>
/// Tells the user that something of the host's fails, and that it works again, not every time but when it changes, and not
/// again for a while. The guest cannot fill anybody's log with it. Any thread.
/// </summary>
/// <param name="notice">Gets the line.</param>
/// <param name="what">What of the guest's it is, as in "the guest's disk".</param>
/// <param name="clock">Milliseconds, for tests; null: the host's.</param>
internal sealed class HostTrouble(Action<string> notice, string what, Func<long>? clock = null)
{
    internal const long QuietMs = 10_000;

    private readonly Lock _lock = new();
    private long _saidAt = long.MinValue / 2;
    private bool _said;
    private volatile bool _fails;

    /// <summary>It failed.</summary>
    /// <param name="reason">The host's file, and why.</param>
    internal void Failed(string reason)
    {
        lock (_lock)
        {
            _fails = true;
            long now = clock?.Invoke() ?? Environment.TickCount64;

            // One that was not said, too soon after the last, is said when it still fails later.
            if (_said || now - _saidAt < QuietMs)
            {
                return;
            }

            _said = true;
            _saidAt = now;
        }

        notice($"{what} fails: {reason}");
    }

    /// <summary>It worked.</summary>
    internal void Worked()
    {
        if (!_fails)
        {
            return;
        }

        lock (_lock)
        {
            _fails = false;
            if (!_said)
            {
                return;
            }

            _said = false;
        }

        notice($"{what} works again");
    }
}
