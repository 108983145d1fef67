using System.Diagnostics;

namespace Hull.Devices.Virtio;

/// <summary>
/// Whether the last request of a queue took the host long. While they are quick, one thread takes them one behind the other with
/// no notification between; of slow ones the next must not wait for the last. Any thread.
/// </summary>
internal sealed class Pace
{
    private const double SlowMs = 1;

    private volatile bool _isSlow;

    /// <summary>The last request took long.</summary>
    internal bool IsSlow => _isSlow;

    /// <summary>A request that began at this time stamp has ended.</summary>
    internal void Ended(long start)
    {
        bool isSlow = Stopwatch.GetElapsedTime(start).TotalMilliseconds > SlowMs;
        if (isSlow != _isSlow)
        {
            _isSlow = isSlow;
        }
    }
}
