using System;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using System.Threading;

namespace Hull.Cli;

/// <summary>Ctrl-C and its like, for a verb that has something to put away before it ends. The second time the process just ends.</summary>
internal sealed class Interruption : IDisposable
{
    private readonly CancellationTokenSource _source = new();
    private readonly PosixSignalRegistration[] _registrations;
    private volatile int _signal;

    internal Interruption() => _registrations =
        [Listen(PosixSignal.SIGHUP, 1), Listen(PosixSignal.SIGINT, 2), Listen(PosixSignal.SIGTERM, 15)];

    /// <summary>Does what a signal may cut short: programs of the host's are ended, and drafts removed.</summary>
    /// <param name="work">The work; throws <see cref="OperationCanceledException"/> when it is cut short.</param>
    /// <param name="result">What it gives.</param>
    /// <param name="status">The exit status of a signal.</param>
    /// <returns>False when a signal came.</returns>
    internal static bool TryRun<T>(Func<CancellationToken, T> work, [NotNullWhen(true)] out T? result, out int status)
        where T : notnull
    {
        using Interruption interruption = new();
        result = default;
        try
        {
            result = work(interruption.Token);
        }
        catch (OperationCanceledException) when (interruption.Signal != 0)
        {
            // The status says it.
        }

        status = ExitStatus.Signal(interruption.Signal);
        return interruption.Signal == 0;
    }

    /// <summary>Is cancelled by the first signal.</summary>
    internal CancellationToken Token => _source.Token;

    /// <summary>Its number; 0: none came.</summary>
    internal int Signal => _signal;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations)
        {
            registration.Dispose();
        }

        _source.Dispose();
    }

    private PosixSignalRegistration Listen(PosixSignal signal, int number) => PosixSignalRegistration.Create(signal, context =>
    {
        if (Interlocked.CompareExchange(ref _signal, number, 0) == 0)
        {
            context.Cancel = true;
            _source.Cancel();
        }
    });
}
