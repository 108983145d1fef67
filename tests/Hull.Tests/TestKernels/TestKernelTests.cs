using Hull.Boot;
using Iced.Intel;
using Xunit;
using static Hull.Tests.TestKernels.TestKernel;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.TestKernels;

/// <summary>Bare-metal kernels on the soft engine: what the suites for hypervisors look at.</summary>
public sealed class TestKernelTests
{
    [Fact]
    public void EdgeOfALine_IsTakenBeforeTheInstructionAfterTheNext()
    {
        TestKernelResult result = Run(static a =>
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

    [Fact]
    public void LinesRaisedWhileInterruptsAreOff_AreTakenByPriority()
    {
        TestKernelResult result = Run(static a =>
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

    [Fact]
    public void ApicTimer_WakesAHaltedProcessor_EachPeriod()
    {
        TestKernelResult result = Run(static a =>
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

        Assert.Equal(4u, result.Value);
    }

    [Fact]
    public void SelfIpi_WaitsForTheTaskPriority()
    {
        TestKernelResult result = Run(static a =>
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

    [Fact]
    public void StringsThroughPortsAndMmio_KeepTheirBytes()
    {
        TestKernelResult result = Run(static a =>
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

    [Fact]
    public void FwCfg_TellsTheProcessors()
    {
        TestKernelResult result = Run(static a =>
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

    [Fact]
    public void CommandLine_IsTheKernelsNameAndItsWords()
    {
        TestKernelResult result = Run(
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

    [Fact]
    public void WriteToTheExitPort_IsTheLastThingThatHappens()
    {
        TestKernelResult result = Run(static a =>
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

    [Fact]
    public void Exception_EndsWithItsVector() =>
        Assert.Equal(ExceptionValue + 6, Run(static a => a.ud2()).Value);
}
