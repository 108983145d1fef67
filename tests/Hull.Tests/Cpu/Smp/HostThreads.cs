using System;
using System.Threading;

namespace Hull.Tests.Cpu.Smp;

/// <summary>
/// What the vCPUs' tests show, without Hull: x = 1; r = y against y = 1; r = x. A host that is too busy to run two threads at once
/// does not show it, and then vCPUs cannot.
/// </summary>
internal static class HostThreads
{
    /// <summary>Both loads came before both stores once, within twenty seconds.</summary>
    internal static bool AreSeenAtOnce()
    {
        const int free = 1 << 30;
        int[] words = new int[80]; // X at 0, Y at 16, where both meet at 32 and 33, what they saw at 48 and 64
        bool seen = false;
        long end = Environment.TickCount64 + 20_000;
        Thread second = new(() => Side(16, 0, 64));
        second.Start();
        Side(0, 16, 48);
        second.Join();
        return seen;

        void Side(int mine, int other, int result)
        {
            for (int round = 1; !Volatile.Read(ref seen) && Environment.TickCount64 < end; round++)
            {
                Meet(32, 2 * round);
                Volatile.Write(ref words[mine], round);
                Volatile.Write(ref words[result], Volatile.Read(ref words[other]));
                Meet(33, 2 * round);
                if (mine == 0 && words[48] < round && words[64] < round)
                {
                    Volatile.Write(ref seen, true);
                }
            }

            // The other one may be a round further.
            Interlocked.Add(ref words[32], free);
            Interlocked.Add(ref words[33], free);
        }

        void Meet(int at, int all)
        {
            Interlocked.Increment(ref words[at]);
            for (int spins = 1; Volatile.Read(ref words[at]) < all; spins++)
            {
                if (spins % 1_000 == 0)
                {
                    Thread.Yield();
                }
            }
        }
    }
}
