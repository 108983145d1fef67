using System;
using System.Threading;

namespace Hull.Host;

/// <summary>
/// A timer whose <see cref="Dispose"/> waits for a callback that is under way, which <see cref="Timer"/>'s own does not: what
/// the callback touches may be freed afterwards. Not to be disposed from the callback.
/// </summary>
internal sealed class JoinedTimer : IDisposable
{
    private readonly Timer _timer;

    /// <summary>Starts it.</summary>
    /// <param name="fired">Called on a thread of the pool.</param>
    /// <param name="dueMs">Milliseconds until the first call; <see cref="Timeout.Infinite"/> for never.</param>
    /// <param name="periodMs">Milliseconds between calls; <see cref="Timeout.Infinite"/> for one call.</param>
    internal JoinedTimer(Action fired, int dueMs, int periodMs) => _timer = new Timer(_ => fired(), null, dueMs, periodMs);

    /// <inheritdoc/>
    public void Dispose()
    {
        using ManualResetEvent ended = new(false);
        if (_timer.Dispose(ended))
        {
            ended.WaitOne();
        }
    }
}
