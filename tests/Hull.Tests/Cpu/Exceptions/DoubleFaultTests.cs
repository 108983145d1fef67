using System;
using Hull.Tests.Cpu.Translate;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Exceptions;

/// <summary>
/// What becomes of an exception while another one is delivered, with guest code. SDM vol. 3A, "Conditions for Generating a
/// Double Fault".
/// </summary>
public sealed class DoubleFaultTests : IDisposable
{
    private const ulong NotMapped = 0x50_0000_0000;
    private const ulong NotCanonical = 1UL << 62;
    private readonly FlatGuest _guest = new FlatGuest().WithTss();

    public void Dispose() => _guest.Dispose();

    [Theory]
    [InlineData(6, 13, 13)] // benign: the second one is served
    [InlineData(6, 11, 11)]
    [InlineData(6, 14, 14)]
    [InlineData(0, 13, 8)] // contributory, both
    [InlineData(0, 11, 8)]
    [InlineData(11, 13, 8)]
    [InlineData(12, 13, 8)]
    [InlineData(13, 11, 8)]
    [InlineData(0, 14, 14)] // a page fault in a contributory one is served
    [InlineData(11, 14, 14)]
    [InlineData(12, 14, 14)]
    [InlineData(13, 14, 14)]
    [InlineData(14, 13, 8)] // anything in a page fault
    [InlineData(14, 11, 8)]
    [InlineData(14, 14, 8)]
    public void SecondFault_IsServedOrDoubled(byte first, byte second, byte served)
    {
        Break(first, second);
        _guest.Gate(served, ist: 1).Run(a => Raise(a, first));
        Assert.Equal(served, _guest.Vector);
        if (served == 8)
        {
            Assert.Equal(0UL, _guest.Stack(0)); // the error code
            Assert.Equal(FlatGuest.CodeAt, _guest.Stack(1) & ~0x3FUL); // the first fault's RIP
        }
    }

    [Theory]
    [InlineData(13)]
    [InlineData(11)]
    [InlineData(14)]
    public void FaultInADoubleFault_ShutsDown(byte second)
    {
        Break(14, second);
        Break(8, second);
        Assert.Throws<InvalidOperationException>(() => _guest.Run(a => Raise(a, 14)));
        Assert.Null(_guest.Vcpu.FailureMessage);
    }

    [Theory]
    [InlineData(13)]
    [InlineData(14)]
    public void FaultInASoftwareInterrupt_IsAFirstFault(byte second)
    {
        Break(0x40, second);
        _guest.Gate(second, ist: 1).Run(a => a.@int(0x40));
        Assert.Equal(second, _guest.Vector);
        Assert.Equal(FlatGuest.CodeAt, _guest.Stack(1)); // INT itself faults
    }

    // Makes the delivery of a vector fail: a null handler, a gate that is not present, a stack that is not there.
    private void Break(byte vector, byte second)
    {
        switch (second)
        {
            case 13:
                _guest.Gate(vector, selector: 0);
                break;
            case 11:
                _guest.Gate(vector, access: 0x0E);
                break;
            default:
                _guest.State.Gpr[4] = NotMapped;
                break;
        }
    }

    private static void Raise(Assembler a, byte vector)
    {
        switch (vector)
        {
            case 0:
                a.xor(ecx, ecx);
                a.div(ecx);
                break;
            case 6:
                a.ud2();
                break;
            case 11:
                a.mov(__qword_ptr[0x5030], 0x7200_0000); // data, not present
                a.mov(__dword_ptr[0x5034], 0x0000_7200);
                a.mov(eax, 0x30);
                a.mov(fs, ax);
                break;
            case 12:
                a.mov(rbp, NotCanonical);
                a.mov(rax, __qword_ptr[rbp]);
                break;
            case 13:
                a.mov(rbx, NotCanonical);
                a.mov(rax, __qword_ptr[rbx]);
                break;
            default:
                a.mov(rbx, NotMapped);
                a.mov(rax, __qword_ptr[rbx]);
                break;
        }
    }
}
