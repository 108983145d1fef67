using System.Threading;

namespace Hull.Devices;

/// <summary>
/// Counts who is inside something that may be taken away: a vCPU may be on its way to a card's register while another
/// takes the card out.
/// </summary>
internal sealed class Doorway
{
    private const int Closed = int.MinValue;
    private int _inside;

    /// <summary>Goes in.</summary>
    /// <returns>False when it is closed.</returns>
    internal bool TryEnter()
    {
        if (Interlocked.Increment(ref _inside) > 0)
        {
            return true;
        }

        Interlocked.Decrement(ref _inside);
        return false;
    }

    /// <summary>Goes out again.</summary>
    internal void Leave() => Interlocked.Decrement(ref _inside);

    /// <summary>Nobody comes in any more; returns when all are out. Once; not from inside.</summary>
    internal void Close()
    {
        Interlocked.Add(ref _inside, Closed);
        SpinWait spin = default;
        while (Volatile.Read(ref _inside) != Closed)
        {
            spin.SpinOnce();
        }
    }
}
