using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>Guests that write code as fast as they run it: the cache is emptied again and again, the results are right.</summary>
public sealed class StormTests
{
    private const nuint SmallCache = 512 << 10;
    private const ulong WrittenAt = 0x40_0000;
    private const int Rounds = 20_000;
    private const uint Sum = (uint)((long)Rounds * (Rounds + 1) / 2);

    [Fact]
    public void FunctionsWrittenAndCalledOnce_OverflowTheCache()
    {
        using FlatGuest guest = new(codeBytes: SmallCache);
        guest.Run(static a =>
        {
            Label loop = a.CreateLabel();
            a.mov(rdi, WrittenAt);
            a.xor(ebx, ebx);
            a.mov(ecx, Rounds);
            a.Label(ref loop);
            a.mov(__byte_ptr[rdi], 0xB8); // mov eax, ecx's value; ret
            a.mov(__dword_ptr[rdi + 1], ecx);
            a.mov(__byte_ptr[rdi + 5], 0xC3);
            a.call(rdi);
            a.add(ebx, eax);
            a.add(rdi, 16);
            a.dec(ecx);
            a.jnz(loop);
            a.hlt();
        });

        Assert.Equal((-1, (ulong)Sum), (guest.Vector, guest.State.Gpr[3]));
        Assert.True(guest.Engine.CacheFlushes > 2, $"{guest.Engine.CacheFlushes} flushes");
    }

    [Fact]
    public void InstructionThatIsPatchedEachTime_RunsAsPatched()
    {
        using FlatGuest guest = new(codeBytes: SmallCache);
        guest.Run(static a =>
        {
            Label loop = a.CreateLabel();
            Label patched = a.CreateLabel();
            a.xor(ebx, ebx);
            a.mov(ecx, Rounds);
            a.lea(rdi, __[patched]);
            a.Label(ref loop);
            a.mov(__dword_ptr[rdi + 2], ecx);
            a.Label(ref patched);
            a.add(ebx, 0x1234_5678); // 81 C3 and the number
            a.dec(ecx);
            a.jnz(loop);
            a.hlt();
        });

        Assert.Equal((-1, (ulong)Sum), (guest.Vector, guest.State.Gpr[3]));
        Assert.True(guest.Engine.Invalidations >= Rounds, $"{guest.Engine.Invalidations} invalidations");
        Assert.True(guest.Engine.CacheFlushes > 2, $"{guest.Engine.CacheFlushes} flushes");
    }
}
