using System;
using System.Threading;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Smp;

/// <summary>
/// The litmus tests of x86's memory order on two vCPUs of the soft engine. SDM vol. 3A, "Examples Illustrating the
/// Memory-Ordering Principles".
/// </summary>
public sealed class MemoryOrderTests
{
    private const int Count = 20_000;
    private const int LimitMs = 20_000;
    private const uint X = (uint)SmpGuest.DataAt;
    private const uint Y = (uint)SmpGuest.DataAt + 0x10_0040;
    private const ulong ResultsAt = 0x100_0000;

    [Fact]
    public void StoresMayPassLoads_AndDoOnTheseTwo()
    {
        // Also shows that the vCPUs run at the same time: without that, nobody could see both loads come first.
        int both = 0;
        long end = Environment.TickCount64 + LimitMs;
        while (both == 0 && Environment.ProcessorCount > 1 && Environment.TickCount64 < end)
        {
            both = StoreThenLoad(fence: null)[0];
        }

        Assert.True(both > 0 || !HostShowsIt(), "both loads never came before both stores");
    }

    [Fact]
    public void StoresDoNotPassLoads_AcrossMfence() => Assert.Equal(0, StoreThenLoad(static c => c.mfence())[0]);

    [Fact]
    public void StoresDoNotPassLoads_AcrossALockedInstruction() =>
        Assert.Equal(0, StoreThenLoad(static c => c.@lock.or(__dword_ptr[rsp - 8], 0))[0]);

    [Fact]
    public void StoresAreSeenInOrder()
    {
        int[] seen = MessagePassing();
        Assert.Equal(0, seen[1]); // the flag (bit 0), but not the message (bit 1)
        Assert.True(seen[3] > 0, "the message never came");
    }

    // The same without Hull: a host that is too busy to run two threads at once does not show it either.
    private static bool HostShowsIt()
    {
        const int free = 1 << 30;
        int[] words = new int[80]; // X at 0, Y at 16, where both meet at 32 and 33, what they saw at 48 and 64
        bool seen = false;
        long end = Environment.TickCount64 + LimitMs;
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

    // x = 1; r = y  against  y = 1; r = x. Counts by r of vCPU 0 (bit 0) and of vCPU 1 (bit 1).
    private static int[] StoreThenLoad(Action<Assembler>? fence)
    {
        using SmpGuest guest = new(2);
        guest.Code(0, c => Side(c, X, Y, 0)).Code(1, c => Side(c, Y, X, 1)).Run();
        return Tally(guest);

        void Side(Assembler c, uint mine, uint other, int index)
        {
            c.mov(rsi, mine);
            c.mov(rdi, other);
            c.mov(rbx, ResultsAt + (ulong)index);
            c.mov(ecx, 1);
            Rounds.Emit(c, 2, Count, () =>
            {
                // Each round has its own pair of variables in the two lines: nothing has to be cleared.
                c.mov(__dword_ptr[rsi + (r15 * 8)], ecx);
                fence?.Invoke(c);
                c.mov(eax, __dword_ptr[rdi + (r15 * 8)]);
                c.mov(__byte_ptr[rbx + (r15 * 2)], al);
            });
        }
    }

    // x = 1; y = 1  against  r = y; s = x. Counts by r (bit 0) and s (bit 1).
    private static int[] MessagePassing()
    {
        using SmpGuest guest = new(2);
        guest.Code(0, c =>
        {
            c.mov(rsi, X);
            c.mov(rdi, Y);
            c.mov(ecx, 1);
            Rounds.Emit(c, 2, Count, () =>
            {
                c.mov(__dword_ptr[rsi + (r15 * 8)], ecx);
                c.mov(__dword_ptr[rdi + (r15 * 8)], ecx);
            });
        }).Code(1, c =>
        {
            c.mov(rsi, X);
            c.mov(rdi, Y);
            c.mov(rbx, ResultsAt);
            Rounds.Emit(c, 2, Count, () =>
            {
                c.mov(eax, __dword_ptr[rdi + (r15 * 8)]);
                c.mov(edx, __dword_ptr[rsi + (r15 * 8)]);
                c.mov(__byte_ptr[rbx + (r15 * 2)], al);
                c.mov(__byte_ptr[rbx + (r15 * 2) + 1], dl);
            });
        }).Run();
        return Tally(guest);
    }

    private static int[] Tally(SmpGuest guest)
    {
        byte[] results = new byte[2 * Count];
        Assert.True(guest.Memory.TryRead(new Hull.Memory.GuestPhysical(ResultsAt), results));
        int[] tally = new int[4];
        for (int i = 0; i < Count; i++)
        {
            tally[results[2 * i] | (results[(2 * i) + 1] << 1)]++;
        }

        return tally;
    }
}
