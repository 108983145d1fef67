using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Smp;

/// <summary>
/// An interrupt that a processor raises for itself comes before its next instruction: no branch and no other look at what
/// waits lies between. Test suites for hypervisors look at a counter right behind the write.
/// </summary>
public sealed class PromptInterruptTests
{
    private const ulong Seen = SmpGuest.DataAt;
    private const byte Vector = 0x61;
    private const ulong Handler = 0x7000;

    public enum Way
    {
        SelfIpi,
        CommandRegister,
        Nmi,
        DeadlineInThePast,
        LowerCr8,
        LowerTaskPriority,
        PriorityOfEoi,
    }

    [Theory]
    [InlineData(Way.SelfIpi)]
    [InlineData(Way.CommandRegister)]
    [InlineData(Way.Nmi)]
    [InlineData(Way.DeadlineInThePast)]
    [InlineData(Way.LowerCr8)]
    [InlineData(Way.LowerTaskPriority)]
    [InlineData(Way.PriorityOfEoi)]
    public void Interrupt_ComesBeforeTheNextInstruction(Way way)
    {
        using SmpGuest guest = new(1);
        guest.Memory.TryWrite(new GuestPhysical(Handler), SmpGuest.Assemble(Handler, static c =>
        {
            c.push(rax);
            c.mov(rax, __qword_ptr[rsp + 8]);
            c.mov(__qword_ptr[Seen], rax);
            c.inc(__qword_ptr[Seen + 8]);
            c.pop(rax);
            c.iretq();
        }));
        foreach (int vector in (int[])[2, Vector])
        {
            guest[0x6000 + (16UL * (uint)vector)] = (Handler & 0xFFFF) | (0x10UL << 16) | (0x8EUL << 40);
        }

        guest.Code(0, c =>
        {
            Label behind = c.CreateLabel();
            Write(c, 0x1B, 0xFEE0_0D00);
            Write(c, 0x80F, 0x1FF);
            Prepare(c, way);
            c.sti();
            c.nop();
            c.mov(__qword_ptr[Seen + 8], 0);
            Raise(c, way);
            c.Label(ref behind);
            c.mov(rbx, __qword_ptr[Seen + 8]);
            c.mov(__qword_ptr[Seen + 16], rbx);
            c.lea(rbx, __[behind]);
            c.mov(__qword_ptr[Seen + 24], rbx);
        }).Run();
        Assert.Equal(1UL, guest[Seen + 16]);
        Assert.Equal(guest[Seen + 24], guest[Seen]);
    }

    private static void Prepare(Assembler c, Way way)
    {
        switch (way)
        {
            case Way.DeadlineInThePast:
                Write(c, 0x832, 0x4_0000 | Vector);
                c.rdtsc();
                c.mov(ecx, 0x6E0);
                break;
            case Way.LowerCr8:
                c.mov(eax, 15);
                c.mov(cr8, rax);
                Write(c, 0x83F, Vector);
                c.xor(eax, eax);
                break;
            case Way.LowerTaskPriority:
                Write(c, 0x808, 0xF0);
                Write(c, 0x83F, Vector);
                Load(c, 0x808, 0);
                break;
            case Way.PriorityOfEoi:
                // In service while the second of its class comes; it waits for the end of the first.
                Write(c, 0x83F, Vector);
                c.sti();
                c.nop();
                Write(c, 0x83F, Vector);
                Load(c, 0x80B, 0);
                break;
            case Way.SelfIpi:
                Load(c, 0x83F, Vector);
                break;
            default:
                Load(c, 0x830, way == Way.Nmi ? 0x4400u : 0x4_4000 | Vector);
                break;
        }
    }

    private static void Raise(Assembler c, Way way)
    {
        if (way == Way.LowerCr8)
        {
            c.mov(cr8, rax);
        }
        else
        {
            c.wrmsr();
        }
    }

    private static void Write(Assembler c, uint msr, uint low)
    {
        Load(c, msr, low);
        c.wrmsr();
    }

    private static void Load(Assembler c, uint msr, uint low)
    {
        c.mov(ecx, msr);
        c.mov(eax, low);
        c.xor(edx, edx);
    }
}
