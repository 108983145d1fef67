using Hull.Boot;
using Iced.Intel;
using Xunit;
using static Hull.Tests.TestKernels.TestKernel;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.TestKernels;

/// <summary>Bare-metal kernels on every engine: what the suites for hypervisors look at.</summary>
public sealed class TestKernelTests
{
    [Fact]
    public void KvmsInterruptForMany_ComesToEachProcessorNamed()
    {
        TestKernelResult result = Run(EngineKind.Soft, static a =>
        {
            a.mov(eax, 10);
            a.mov(ebx, 0b11); // the second is not there
            a.xor(ecx, ecx);
            a.xor(edx, edx);
            a.mov(esi, 0x50);
            a.vmcall();
            a.mov(ecx, eax);
            a.sti();
            a.nop();
            a.LoadCount(0x50);
            a.shl(eax, 8);
            a.add(eax, ecx);
        });

        Assert.Equal(0x101u, result.Value);
    }

    [Theory, EveryEngine(TakesInterrupts = true)]
    public void EdgeOfALine_IsTakenBeforeTheInstructionAfterTheNext(EngineKind engine)
    {
        TestKernelResult result = Run(engine, static a =>
        {
            a.Route(14, 0x77);
            a.sti();
            a.SetLine(14, 1);
            a.SetLine(14, 0);
            a.nop();
            a.LoadCount(0x77);
        });

        Assert.Equal(1u, result.Value);
    }

    [Theory, EveryEngine(TakesInterrupts = true)]
    public void LinesRaisedWhileInterruptsAreOff_AreTakenByPriority(EngineKind engine)
    {
        TestKernelResult result = Run(engine, static a =>
        {
            a.Route(14, 0x78);
            a.Route(15, 0x66);
            a.SetLine(15, 1);
            a.SetLine(14, 1);
            a.sti();
            a.nop();
            a.nop();
            a.mov(eax, __dword_ptr[Counts + (4 * 0x78)]);
            a.shl(eax, 8);
            a.add(eax, __dword_ptr[Last]); // the lower one came last
        });

        Assert.Equal(0x166u, result.Value);
    }

    [Theory, EveryEngine(TakesInterrupts = true)]
    public void ApicTimer_WakesAHaltedProcessor_EachPeriod(EngineKind engine)
    {
        TestKernelResult result = Run(engine, static a =>
        {
            Label wait = a.CreateLabel();
            a.mov(__dword_ptr[LocalApic + 0x3E0], 0xB);
            a.mov(__dword_ptr[LocalApic + 0x320], 0x2_0050);
            a.mov(__dword_ptr[LocalApic + 0x380], 200_000);
            a.Label(ref wait);
            a.sti();
            a.hlt();
            a.cli();
            a.LoadCount(0x50);
            a.cmp(eax, 4);
            a.jb(wait);
        });

        // A busy host may let two periods pass before one HLT's end.
        Assert.InRange(result.Value!.Value, 4u, 1000u);
    }

    [Theory, EveryEngine(TakesInterrupts = true)]
    public void SelfIpi_WaitsForTheTaskPriority(EngineKind engine)
    {
        TestKernelResult result = Run(engine, static a =>
        {
            a.mov(__dword_ptr[LocalApic + 0x80], 0x60);
            a.mov(__dword_ptr[LocalApic + 0x300], 0x4_4044);
            a.sti();
            a.nop();
            a.nop();
            a.mov(ebx, __dword_ptr[Counts + (4 * 0x44)]);
            a.mov(__dword_ptr[LocalApic + 0x80], 0);
            a.nop();
            a.LoadCount(0x44);
            a.shl(ebx, 4);
            a.or(eax, ebx);
        });

        Assert.Equal(1u, result.Value);
    }

    [Theory, EveryEngine]
    public void StringsThroughPortsAndMmio_KeepTheirBytes(EngineKind engine)
    {
        TestKernelResult result = Run(engine, static a =>
        {
            a.cld();
            a.mov(esi, Entry);
            a.mov(edi, unchecked((int)0xFF00_0FF9)); // across a page of the device
            a.mov(ecx, 29);
            a.rep.movsb();
            a.mov(esi, unchecked((int)0xFF00_0FF9));
            a.mov(edi, Data);
            a.mov(ecx, 7);
            a.rep.movsd();
            a.mov(esi, Data);
            a.mov(edi, Entry);
            a.mov(ecx, 28);
            a.repe.cmpsb();
            a.mov(ebx, ecx);
            a.mov(esi, Entry);
            a.mov(dx, 0xE0);
            a.mov(ecx, 3);
            a.rep.outsd();
            a.mov(edi, Data);
            a.mov(dx, 0xE8);
            a.insd();
            a.mov(eax, __dword_ptr[Data]);
            a.xor(eax, __dword_ptr[Entry + 8]);
            a.or(eax, ebx);
        });

        Assert.Equal(0u, result.Value);
    }

    [Theory, EveryEngine]
    public void FwCfg_TellsTheProcessors(EngineKind engine)
    {
        TestKernelResult result = Run(engine, static a =>
        {
            a.mov(ax, 5);
            a.mov(dx, 0x510);
            a.@out(dx, ax);
            a.inc(edx);
            a.mov(eax, 0);
            a.@in(al, dx);
        });

        Assert.Equal(1u, result.Value);
    }

    /// <summary>As test suites start theirs: the count from fw_cfg, one INIT and one start-up message to all but self.</summary>
    [Theory, EveryEngine(TakesInterrupts = true)]
    public void AllProcessors_ComeByOneMessage(EngineKind engine)
    {
        TestKernelResult result = Run(
            engine,
            static a =>
            {
                const int page = 0x8000;
                Label wait = a.CreateLabel();
                Label settle = a.CreateLabel();
                byte[] code = [0xF0, 0x2E, 0xFF, 0x06, 0x00, 0x01, 0xF4, 0xEB, 0xFD]; // lock inc word cs:[0x100]; hlt; jmp to it
                for (int i = 0; i < code.Length; i++)
                {
                    a.mov(__byte_ptr[page + i], (sbyte)code[i]);
                }

                a.mov(__word_ptr[page + 0x100], 0);
                a.mov(ax, 5);
                a.mov(dx, 0x510);
                a.@out(dx, ax);
                a.inc(edx);
                a.xor(eax, eax);
                a.@in(al, dx);
                a.mov(esi, eax);
                a.dec(esi);
                a.mov(__dword_ptr[LocalApic + 0x300], 0xC_4500);
                a.mov(ecx, 100_000);
                a.Label(ref settle);
                a.loop(settle);
                a.mov(__dword_ptr[LocalApic + 0x300], 0xC_4600 | (page >> 12));
                a.Label(ref wait);
                a.pause();
                a.cmp(__word_ptr[page + 0x100], si);
                a.jne(wait);
                a.mov(eax, esi);
            },
            vcpus: 4);

        Assert.Equal(3u, result.Value);
    }

    /// <summary>SDM vol. 3A, "Local APIC Status and Location".</summary>
    [Fact]
    public void LocalApic_GoesAndMoves_WithItsBase()
    {
        const int elsewhere = unchecked((int)0xFED8_0000);
        TestKernelResult result = Run(EngineKind.Soft, static a =>
        {
            a.mov(ecx, 0x1B);
            a.rdmsr();
            a.mov(esi, eax);
            a.and(eax, ~0x800);
            a.wrmsr();
            a.mov(edi, __dword_ptr[LocalApic + 0x30]);
            a.inc(edi); // nobody there: all ones
            a.mov(eax, 1);
            a.cpuid();
            a.shr(edx, 9);
            a.and(edx, 1);
            a.or(edi, edx); // CPUID.APIC shows it
            a.mov(ecx, 0x1B);
            a.mov(eax, esi);
            a.and(eax, 0xFFF);
            a.or(eax, elsewhere);
            a.xor(edx, edx);
            a.wrmsr();
            a.movzx(eax, __byte_ptr[elsewhere + 0x30]);
            a.sub(eax, 0x14); // the version
            a.or(edi, eax);
            a.mov(eax, esi);
            a.wrmsr();
            a.movzx(eax, __byte_ptr[LocalApic + 0x30]);
            a.sub(eax, 0x14);
            a.or(eax, edi);
        });

        Assert.Equal(0u, result.Value);
    }

    [Theory]
    [InlineData(0xFEE0_0900, 1u << 20)] // bits that no address has
    [InlineData(0xFEE0_0901, 0u)]
    [InlineData(0xFEE0_0500, 0u)] // x2APIC without APIC
    public void LocalApicsBase_RefusesReservedBits(uint low, uint high)
    {
        TestKernelResult result = Run(EngineKind.Soft, a =>
        {
            a.mov(ecx, 0x1B);
            a.mov(eax, low);
            a.mov(edx, high);
            a.wrmsr();
        });

        Assert.Equal(ExceptionValue + 13, result.Value);
    }

    [Theory, EveryEngine]
    public void CommandLine_IsTheKernelsNameAndItsWords(EngineKind engine)
    {
        TestKernelResult result = Run(
            engine,
            static a =>
            {
                Label next = a.CreateLabel();
                Label end = a.CreateLabel();
                a.mov(esi, __dword_ptr[ebx + 16]);
                a.mov(dx, 0x3F8);
                a.Label(ref next);
                a.lodsb();
                a.test(al, al);
                a.jz(end);
                a.@out(dx, al);
                a.jmp(next);
                a.Label(ref end);
                a.mov(eax, __dword_ptr[ebx + 20]);
            },
            "with words",
            new BootModule(BootBlob.FromBytes("m", new byte[3]), "m"));

        Assert.Equal(new TestKernelResult(1, "kernel with words"), result);
    }

    [Theory, EveryEngine]
    public void WriteToTheExitPort_IsTheLastThingThatHappens(EngineKind engine)
    {
        TestKernelResult result = Run(engine, static a =>
        {
            a.mov(eax, 7);
            a.mov(dx, ExitPort);
            a.@out(dx, eax);
            a.mov(dx, 0x3F8);
            a.mov(al, (sbyte)'x');
            a.@out(dx, al);
            a.mov(eax, 8);
        });

        Assert.Equal(new TestKernelResult(7, ""), result);
    }

    [Theory, EveryEngine]
    public void Exception_EndsWithItsVector(EngineKind engine) =>
        Assert.Equal(ExceptionValue + 6, Run(engine, static a => a.ud2()).Value);
}
