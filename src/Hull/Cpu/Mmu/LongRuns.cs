namespace Hull.Cpu.Mmu;

/// <summary>
/// Which programs run long: those that the guest's timer, or another interrupt, has met some times. A program is known by its page
/// tables, as long as these are not another one's.
/// </summary>
internal sealed class LongRuns
{
    private const int Room = 8;

    // Some four milliseconds each. What windows cost at first takes a program as long to win back.
    private const int Enough = 8;
    private readonly (ulong Root, int Ticks)[] _seen = new (ulong, int)[Room];
    private int _next;

    /// <summary>An interrupt came while a program ran.</summary>
    /// <returns>True when it has run for long.</returns>
    internal bool Tick(ulong root)
    {
        for (int i = 0; i < Room; i++)
        {
            if (_seen[i].Root == root)
            {
                return ++_seen[i].Ticks >= Enough;
            }
        }

        _seen[_next] = (root, 1);
        _next = (_next + 1) % Room;
        return false;
    }

    /// <summary>What runs with these page tables is perhaps another program than before.</summary>
    internal void Forget(ulong root)
    {
        for (int i = 0; i < Room; i++)
        {
            if (_seen[i].Root == root)
            {
                _seen[i].Ticks = 0;
            }
        }
    }
}
