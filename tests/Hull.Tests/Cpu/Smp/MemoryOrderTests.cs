using System;
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

        Assert.True(both > 0 || !HostThreads.AreSeenAtOnce(), "both loads never came before both stores");
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
