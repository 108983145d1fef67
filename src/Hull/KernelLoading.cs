using System;
using System.Runtime.ExceptionServices;
using System.Threading;
using Hull.Boot;
using Hull.Host;
using Hull.Memory;

namespace Hull;

/// <summary>
/// Puts the kernel into guest memory on a thread of its own: it takes about as long as all else that a machine needs
/// before it can start, and neither looks at the other.
/// </summary>
internal sealed class KernelLoading : IDisposable
{
    private readonly Thread _thread;
    private LoadedKernel? _kernel;
    private ExceptionDispatchInfo? _failure;

    /// <summary>Starts to load.</summary>
    /// <param name="memory">Stays until <see cref="Wait"/> or <see cref="Dispose"/> has returned.</param>
    /// <param name="request">What to load.</param>
    internal KernelLoading(GuestMemory memory, BootRequest request)
    {
        _thread = new Thread(() => Load(memory, request)) { Name = "hull-boot", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Waits for the kernel.</summary>
    /// <exception cref="HullException">A file cannot be loaded.</exception>
    internal LoadedKernel Wait()
    {
        _thread.Join();
        _failure?.Throw();
        return _kernel!; // set by the thread where there is no failure
    }

    /// <summary>Waits until nobody writes to the memory any more.</summary>
    public void Dispose() => _thread.Join();

    private void Load(GuestMemory memory, BootRequest request)
    {
        try
        {
            _kernel = BootLoader.Load(memory, request);
        }
#pragma warning disable CA1031 // thread root: whatever it is, it is the builder's
        catch (Exception e)
#pragma warning restore CA1031
        {
            _failure = ExceptionDispatchInfo.Capture(e);
        }
    }
}
