using System;
using System.Threading;

namespace Hull.Cli.Run;

/// <summary>
/// Waits for the output of a command that has ended, but not for ever: a process that it left behind may hold it open. What the
/// command itself wrote is on its way, at the pace of the host's reader.
/// </summary>
/// <param name="output">The run's output.</param>
/// <param name="over">It is not waited for any longer. Once.</param>
internal sealed class LastOutput(GuestOutput output, Action over) : IDisposable
{
    private const int Ticks = 10;

    // More than the guest's pipes and rings and Hull's own buffers hold: what comes behind it another process wrote.
    private const long MostOnTheWay = 16 << 20;

    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(100);

    private Timer? _timer;
    private long _writtenBefore;
    private int _ticks;

    /// <summary>The command has ended.</summary>
    internal void Start()
    {
        _writtenBefore = output.Written;
        _timer ??= new Timer(_ => Look(), null, Tick, Tick);
    }

    /// <inheritdoc/>
    public void Dispose() => _timer?.Dispose();

    // A second in all, of time in which the reader took what there was.
    private void Look()
    {
        bool waits = output.IsBehind && output.Written - _writtenBefore < MostOnTheWay;
        if (!waits && ++_ticks == Ticks)
        {
            over();
        }
    }
}
