using System;
using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Smp;

/// <summary>
/// One vCPU writes code that another one runs, by the protocol of SDM vol. 3A, "Handling Self- and Cross-Modifying Code":
/// store the code, store a flag; the other one sees the flag, executes a serialising instruction, runs the code.
/// </summary>
public sealed class CrossModifyingTests
{
    private const uint Flag = (uint)SmpGuest.DataAt;
    private const uint Answer = (uint)SmpGuest.DataAt + 64;
    private const uint Stale = (uint)SmpGuest.DataAt + 128;
    private const ulong Routine = SmpGuest.SpareAt;
    private const ulong Alias = 0x4000_0000;

    [Fact]
    public void ChangedRoutine_IsRunAsChanged() => RunChanges(Routine, Routine, 3_000);

    [Fact]
    public void ChangesThroughAnotherLinearAddress_AreSeen() => RunChanges(Alias, Routine, 3_000);

    [Fact]
    public void ChangesOfCodeThatRunsElsewhere_AreSeen() => RunChanges(Routine, Alias, 3_000);

    [Fact]
    public void CodeBehindTheSerialisingInstruction_IsRunAsChanged()
    {
        // The flag, CPUID and the changed instruction are one straight line: one block, which is being run while its last
        // instruction changes. The pauses give the writer time for both stores meanwhile.
        const int Count = 1_000;
        using SmpGuest guest = new(2);
        guest[Flag] = ulong.MaxValue;
        byte[] line = SmpGuest.Assemble(Routine, static c =>
        {
            for (int i = 0; i < 50; i++)
            {
                c.pause();
            }

            c.mov(r11d, __dword_ptr[rsi]);
            c.xor(eax, eax);
            c.cpuid();
            c.mov(r10d, 0x11111111);
            c.ret();
        });
        ulong at = Routine + (ulong)Array.LastIndexOf(line, (byte)0x11) - 3;
        guest.Memory.TryWrite(new GuestPhysical(Routine), line);
        guest.Code(0, c =>
        {
            c.mov(rdi, at);
            c.mov(rsi, (ulong)Flag);
            Rounds.Emit(c, 2, Count, () =>
            {
                c.mov(__dword_ptr[rdi], r15d);
                c.mov(__dword_ptr[rsi], r15d);
            });
        }).Code(1, c =>
        {
            c.mov(rsi, (ulong)Flag);
            c.mov(rdi, (ulong)Stale);
            Rounds.Emit(c, 2, Count, () =>
            {
                // Where the flag was seen, the new instruction must run; where not, either may.
                Label call = c.CreateLabel();
                Label good = c.CreateLabel();
                c.mov(r12d, 50);
                c.Label(ref call);
                c.call(Routine);
                c.cmp(r11d, r15d);
                Label old = c.CreateLabel();
                c.jne(old);
                c.inc(__qword_ptr[rdi + 8]);
                c.cmp(r10d, r15d);
                c.je(good);
                c.inc(__qword_ptr[rdi]);
                c.Label(ref old);
                c.dec(r12d);
                c.jne(call);
                c.Label(ref good);
                c.nop();
            });
        }).Run();
        Assert.Equal(0UL, guest[Stale]);
        Assert.True(guest[Stale + 8] > 0, "the flag was never seen");
    }

    [Fact]
    public void PageMadeOfDataAgain_ThenOfCode_IsRunAsWritten()
    {
        // The page is filled with data by REP STOS and then gets new code, round after round.
        const int Count = 1_000;
        using SmpGuest guest = new(2);
        guest[Flag] = ulong.MaxValue;
        guest.Code(0, c =>
        {
            c.mov(rsi, (ulong)Flag);
            c.mov(rbx, (ulong)Answer);
            Rounds.Emit(c, 2, Count, () =>
            {
                c.mov(rdi, Routine);
                c.mov(ecx, 512);
                c.mov(rax, 0xCCCC_CCCC_CCCC_CCCC);
                c.rep.stosq();
                c.mov(rdi, Routine);
                WriteRoutine(c);
                c.mov(__dword_ptr[rsi], r15d);
            });
        }).Code(1, c => Execute(c, Routine, Count)).Run();
        Assert.Equal(0UL, guest[Stale]);
    }

    [Fact]
    public void RemappedPage_IsLeftByBoth_AfterTheirOwnInvlpg()
    {
        // One linear page, global, alternates between two pages of RAM; a caller in another page is linked to it. Each vCPU
        // flushes for itself, and may find links that the other one has made.
        const int Count = 2_000;
        using SmpGuest guest = new(2);
        guest[Flag] = ulong.MaxValue;
        MapAlias(guest, out ulong entry);
        for (uint page = 0; page < 2; page++)
        {
            guest.Memory.TryWrite(new GuestPhysical(Routine + (0x1000 * page)), [0xB8, (byte)page, 0, 0, 0, 0xC3]);
        }

        Action<Assembler> check = c =>
        {
            Label good = c.CreateLabel();
            c.invlpg(__byte_ptr[r12]);
            c.call(Alias);
            c.mov(ecx, r15d);
            c.and(ecx, 1);
            c.cmp(eax, ecx);
            c.je(good);
            c.@lock.inc(__qword_ptr[rdi]);
            c.Label(ref good);
            c.nop();
        };
        guest.Code(0, c =>
        {
            c.mov(rsi, (ulong)Flag);
            c.mov(rdi, (ulong)Stale);
            c.mov(r12, Alias);
            c.mov(rbp, entry);
            Rounds.Emit(c, 2, Count, () =>
            {
                c.mov(rdx, r15);
                c.and(edx, 1);
                c.shl(edx, 12);
                c.add(rdx, (int)(Routine | 0x103));
                c.mov(__qword_ptr[rbp], rdx);
                c.mov(__dword_ptr[rsi], r15d);
                check(c);
            });
        }).Code(1, c =>
        {
            c.mov(rsi, (ulong)Flag);
            c.mov(rdi, (ulong)Stale);
            c.mov(r12, Alias);
            Rounds.Emit(c, 2, Count, () =>
            {
                // Until the flag comes, either page may be called; that keeps links of the old one coming.
                Rounds.WaitUntil(c, seen =>
                {
                    c.call(Alias);
                    c.cmp(__dword_ptr[rsi], r15d);
                    c.je(seen);
                });
                check(c);
            });
        }).Run();
        Assert.Equal(0UL, guest[Stale]);
    }

    [Fact]
    public void OneLinearPage_OfTwoAddressSpaces_RunsEachVcpusOwnCode()
    {
        // The same global linear address is another page for each vCPU: links that one makes must not lead the other astray.
        const int Count = 300;
        using SmpGuest guest = new(2);
        MapAlias(guest, out _);
        MapSecondSpace(guest, out ulong cr3);
        for (uint page = 0; page < 2; page++)
        {
            guest.Memory.TryWrite(new GuestPhysical(Routine + (0x1000 * page)), [0xB8, (byte)page, 0, 0, 0, 0xC3]);
        }

        // Both call by the same code, whose link they share.
        const ulong caller = Routine + 0x10_0000;
        guest.Memory.TryWrite(new GuestPhysical(caller), SmpGuest.Assemble(caller, static c =>
        {
            c.call(Alias);
            c.ret();
        }));
        Action<Assembler, int> side = (c, index) =>
        {
            if (index == 1)
            {
                c.mov(rax, cr3);
                c.mov(Iced.Intel.AssemblerRegisters.cr3, rax);
            }

            c.mov(rdi, (ulong)Stale);
            Rounds.Emit(c, 2, Count, () =>
            {
                Label again = c.CreateLabel();
                Label good = c.CreateLabel();
                c.mov(r12d, 20);
                c.Label(ref again);
                c.call(caller);
                c.cmp(eax, index);
                c.je(good);
                c.@lock.inc(__qword_ptr[rdi]);
                c.Label(ref good);
                c.dec(r12d);
                c.jne(again);
            });
        };
        guest.Code(0, c => side(c, 0)).Code(1, c => side(c, 1)).Run();
        Assert.Equal(0UL, guest[Stale]);
    }

    // vCPU 0 changes the routine by stores to one linear address, vCPU 1 runs it at another of the same page.
    private static void RunChanges(ulong writeAt, ulong runAt, int count)
    {
        using SmpGuest guest = new(2);
        guest[Flag] = ulong.MaxValue;
        MapAlias(guest, out _);
        guest.Memory.TryWrite(new GuestPhysical(Routine), [0xB8, 0, 0, 0, 0, 0xC3]);
        guest.Code(0, c =>
        {
            c.mov(rsi, (ulong)Flag);
            Rounds.Emit(c, 2, count, () =>
            {
                c.mov(rdi, writeAt);
                WriteRoutine(c);
                c.mov(__dword_ptr[rsi], r15d);
            });
        }).Code(1, c => Execute(c, runAt, count)).Run();
        Assert.Equal(0UL, guest[Stale]);
        Assert.True(guest.Engine.Invalidations > 0, "nothing was invalidated");
    }

    // mov eax, round; ret  at RDI.
    private static void WriteRoutine(Assembler c)
    {
        c.mov(__byte_ptr[rdi], 0xB8);
        c.mov(__dword_ptr[rdi + 1], r15d);
        c.mov(__byte_ptr[rdi + 5], 0xC3);
    }

    private static void Execute(Assembler c, ulong routine, int count)
    {
        c.mov(rsi, (ulong)Flag);
        c.mov(rdi, (ulong)Stale);
        Rounds.Emit(c, 2, count, () =>
        {
            Label good = c.CreateLabel();
            Rounds.WaitUntil(c, seen =>
            {
                c.cmp(__dword_ptr[rsi], r15d);
                c.je(seen);
            });
            c.xor(eax, eax);
            c.cpuid();
            c.call(routine);
            c.cmp(eax, r15d);
            c.je(good);
            c.inc(__qword_ptr[rdi]);
            c.Label(ref good);
            c.nop();
        });
    }

    // Maps 2 MiB from Alias, in pages of 4 KiB, to Routine. The tables lie above the code.
    private static void MapAlias(SmpGuest guest, out ulong firstEntry)
    {
        const ulong directory = 0x60_0000;
        const ulong table = 0x60_1000;
        guest[0x2008] = directory | 3;
        guest[directory] = table | 3;
        for (ulong i = 0; i < 512; i++)
        {
            guest[table + (8 * i)] = (Routine + (0x1000 * i)) | 0x103;
        }

        firstEntry = table;
    }

    // A copy of the tables in which Alias is the page behind Routine.
    private static void MapSecondSpace(SmpGuest guest, out ulong cr3)
    {
        const ulong root = 0x61_0000;
        guest[root] = (root + 0x1000) | 3;
        guest[root + 0x1000] = 0x3003;
        guest[root + 0x1008] = (root + 0x2000) | 3;
        guest[root + 0x2000] = (root + 0x3000) | 3;
        guest[root + 0x3000] = (Routine + 0x1000) | 0x103;
        cr3 = root;
    }
}
