using System;
using System.Threading;
using Hull.Host;

namespace Hull.Cli.Run;

/// <summary>
/// Standard output and error of a run. What a command prints is its work: where it cannot be written, the run ends. A machine's
/// console is not the machine, which goes on.
/// </summary>
internal sealed class GuestOutput : IDisposable
{
    // What a run that is broken off has for the output that waits; its reader may have stopped for ever.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    private readonly bool _isCommand;
    private readonly Action<RunOutcome> _lost;
    private readonly Timer _giveUp;
    private bool _losesOutput; // said already

    /// <summary>Makes both; <paramref name="lost"/> gets the run's end when a command's output cannot be written.</summary>
    internal GuestOutput(bool isCommand, Action<RunOutcome> lost)
    {
        _isCommand = isCommand;
        _lost = lost;
        _giveUp = new Timer(_ => DropRest());
        Output = new OutputPump(StandardStream.Output, "stdout", reason => GoesOn(StandardStream.Output, "output", reason), Mended);
        Error = new OutputPump(StandardStream.Error, "stderr", reason => GoesOn(StandardStream.Error, "error", reason), Mended);
    }

    /// <summary>Standard output.</summary>
    internal OutputPump Output { get; }

    /// <summary>Standard error.</summary>
    internal OutputPump Error { get; }

    /// <summary>Bytes wait for a reader of the host's.</summary>
    internal bool IsBehind => Output.IsBehind || Error.IsBehind;

    /// <summary>Bytes written so far.</summary>
    internal long Written => Output.Written + Error.Written;

    /// <summary>Waits until everything taken so far is written; what comes now is dropped.</summary>
    /// <returns>False when something of it could not be, or was given up.</returns>
    internal bool Finish() => Output.Finish() & Error.Finish();

    /// <summary>The run is broken off: what waits has a moment more.</summary>
    internal void GiveUpSoon() => _giveUp.Change(Patience, Timeout.InfiniteTimeSpan);

    /// <summary>Lets go of whoever waits; what is not written is lost.</summary>
    public void Dispose()
    {
        _giveUp.Dispose();
        DropRest();
    }

    private void DropRest()
    {
        Output.Dispose();
        Error.Dispose();
    }

    // Nobody reads any more: as with any program.
    private bool GoesOn(StandardStream stream, string name, string? reason)
    {
        string message = $"standard {name} ({stream.File}) fails: {reason}";
        if (reason is null)
        {
            _lost(new RunOutcome(ExitStatus.Signal(13)));
        }
        else if (_isCommand)
        {
            _lost(new RunOutcome(ExitStatus.Hull, message));
        }
        else if (!_losesOutput)
        {
            _losesOutput = true;
            Notice.Write($"{message}: what the guest prints is lost");
        }

        return reason is not null && !_isCommand;
    }

    private void Mended()
    {
        _losesOutput = false;
        Notice.Write("the guest's output works again");
    }
}
