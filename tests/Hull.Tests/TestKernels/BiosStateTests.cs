using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.TestKernels;

/// <summary>What Multiboot kernels that go back to real mode find: vectors, 8259s and timer as a BIOS leaves them.</summary>
public sealed class BiosStateTests
{
    private const int TickCount = 0x46C;
    private const int MidnightPassed = 0x470;

    [Theory, EveryEngine(TakesInterrupts = true)]
    public void HaltedProcessor_IsWokenByTheTick(EngineKind engine)
    {
        uint ticks = RealModeKernel.Run(engine, static a =>
        {
            for (int i = 0; i < 3; i++)
            {
                a.sti();
                a.hlt();
            }

            a.cli();
            a.mov(eax, __dword_ptr[TickCount]);
        });

        Assert.InRange(ticks, 3u, 1000u); // a slow host ticks while the guest is not halted
    }

    // FFFF:0 and F000:FFF0 are one place: where processors start. Linux goes to the second with reboot=b.
    [Theory, EveryEngine]
    public void JumpToWhereProcessorsStart_IsAReset(EngineKind engine)
    {
        MachineEnd end = RealModeKernel.RunToEnd(engine, static a => a.db(0xEA, 0xF0, 0xFF, 0x00, 0xF0));

        Assert.Equal(MachineEndReason.Reset, end.Reason);
    }

    [Theory, EveryEngine(TakesInterrupts = true)]
    public void Tick_AtMidnight_StartsTheCountAgain(EngineKind engine)
    {
        uint count = RealModeKernel.Run(engine, static a =>
        {
            a.mov(__dword_ptr[TickCount], 0x18_00AF);
            a.sti();
            a.hlt();
            a.cli();
            a.mov(eax, __dword_ptr[TickCount]);
            a.shl(eax, 8);
            a.mov(al, __byte_ptr[MidnightPassed]);
        });

        Assert.Equal(1u, count);
    }

    [Theory, EveryEngine(TakesInterrupts = true)]
    public void Tick_CallsWhoHasHookedIt_AndLeavesRegistersAndFlagsAlone(EngineKind engine)
    {
        uint value = RealModeKernel.Run(engine, static a =>
        {
            // A handler that spoils nothing but counts: inc word [Data]; iret.
            a.mov(__dword_ptr[RealModeKernel.Data + 0x10], unchecked((int)((RealModeKernel.Data << 16) | 0x06FFu)));
            a.mov(__byte_ptr[RealModeKernel.Data + 0x14], unchecked((sbyte)0xCF));
            a.mov(__dword_ptr[0x1C * 4], RealModeKernel.Data + 0x10);
            a.mov(__dword_ptr[RealModeKernel.Data], 0);
            a.mov(eax, 0x1234_5678);
            a.stc();
            a.sti();
            a.hlt();
            a.cli();
            a.adc(eax, 0);
            a.mov(cx, __word_ptr[RealModeKernel.Data]);
            a.add(ah, cl);
        });

        Assert.Equal(0x1234_5779u, value);
    }

    [Theory, EveryEngine(TakesInterrupts = true)]
    public void InterruptOfTheSlave_EndsAtBothControllers(EngineKind engine)
    {
        uint inService = RealModeKernel.Run(engine, static a =>
        {
            a.mov(al, 0b1111_0111); // input 11 alone
            a.@out(0xA1, al);
            a.mov(dx, 0x200B);
            a.mov(al, 1);
            a.@out(dx, al);
            a.sti();
            a.nop();
            a.cli();
            a.xor(eax, eax);
            foreach (sbyte port in (sbyte[])[0x20, unchecked((sbyte)0xA0)])
            {
                a.shl(eax, 8);
                a.mov(al, 0x0B); // read what is in service
                a.@out(port, al);
                a.@in(al, port);
            }

            a.shl(eax, 8);
            a.mov(al, 0x0A); // read what is requested
            a.@out(unchecked((sbyte)0xA0), al);
            a.@in(al, unchecked((sbyte)0xA0));
            a.and(eax, 0xFF_FF08);
        });

        Assert.Equal(0u, inService);
    }
}
