using System;
using Hull.Cpu.State;
using Xunit;

namespace Hull.Tests.Cpu;

/// <summary>
/// #AC at CPL 3 with CR0.AM and EFLAGS.AC. The rows are what an Intel CPU does with the same bytes: operands of 2, 4, 8
/// and 10 bytes are checked, XMM and YMM operands and pseudo-descriptors are not.
/// SDM vol. 3A, "Interrupt 17: Alignment Check Exception".
/// </summary>
public sealed unsafe class AlignmentCheckTests : IDisposable
{
    private const ulong Handlers = AssistGuest.CodeAt + 0x1000;
    private readonly AssistGuest _guest = new();

    public AlignmentCheckTests()
    {
        _guest.Long(3).LongTss();
        for (byte vector = 0; vector < 32; vector++)
        {
            _guest.Gate64(vector, AssistGuest.Code64, Handlers + (vector * 16u), 0x8E);
        }

        _guest.Cpu->Cr0 |= Cr0.Am;
        _guest.Cpu->Rflags |= Rflags.Ac;
    }

    public void Dispose() => _guest.Dispose();

    [Theory]
    [InlineData("488B01", 8, false)] // mov rax, [rcx]
    [InlineData("488B01", 4, true)]
    [InlineData("8B01", 4, false)]
    [InlineData("8B01", 2, true)]
    [InlineData("668B01", 2, false)]
    [InlineData("668901", 1, true)]
    [InlineData("8A01", 1, false)]
    [InlineData("DB29", 4, true)] // fld tbyte
    [InlineData("DB29", 8, false)]
    [InlineData("0F1001", 1, false)] // movups
    [InlineData("0F1601", 4, true)] // movhps
    [InlineData("480FA301", 4, true)] // bt [rcx], rax
    [InlineData("D931", 2, true)] // fnstenv
    [InlineData("D931", 4, false)]
    [InlineData("0FAE19", 2, true)] // stmxcsr
    [InlineData("0F0101", 1, false)] // sgdt
    [InlineData("0FC709", 4, true)] // cmpxchg8b
    [InlineData("8F01", 4, true)] // pop [rcx]
    [InlineData("FF31", 4, true)] // push [rcx]
    public void Access_IsChecked(string hex, int misalignment, bool faults)
    {
        byte[] code = Convert.FromHexString(hex);
        Write(code);
        _guest.Cpu->Gpr[Gpr.Rcx] = AssistGuest.DataAt + 64 + (ulong)misalignment;
        Assert.True(_guest.Vcpu.StepBlock(1));
        Assert.Equal(faults ? Handlers + (17 * 16) : AssistGuest.CodeAt + (ulong)code.Length, _guest.Cpu->Rip);
    }

    [Theory]
    [InlineData("50")] // push rax
    [InlineData("58")]
    [InlineData("C3")]
    [InlineData("9C")] // pushfq
    [InlineData("9D")]
    [InlineData("48CF")] // iretq
    [InlineData("C8000000")] // enter
    [InlineData("48AD")] // lodsq
    [InlineData("F348A5")] // rep movsq
    public void StackAndStrings_AreChecked(string hex)
    {
        Write(Convert.FromHexString(hex));
        _guest.Cpu->Gpr[Gpr.Rsp] = AssistGuest.StackAt - 60;
        _guest.Cpu->Gpr[Gpr.Rsi] = AssistGuest.DataAt + 4;
        _guest.Cpu->Gpr[Gpr.Rdi] = AssistGuest.DataAt + 64;
        _guest.Cpu->Gpr[Gpr.Rcx] = 4;
        Assert.True(_guest.Vcpu.StepBlock(1));
        Assert.Equal(Handlers + (17 * 16), _guest.Cpu->Rip);
        Assert.Equal(0UL, _guest.Stack(0)); // the error code
    }

    [Fact]
    public void WithoutAm_NothingIsChecked()
    {
        _guest.Cpu->Cr0 &= ~Cr0.Am;
        Write([0x48, 0x8B, 0x01]);
        _guest.Cpu->Gpr[Gpr.Rcx] = AssistGuest.DataAt + 1;
        Assert.True(_guest.Vcpu.StepBlock(1));
        Assert.Equal(AssistGuest.CodeAt + 3, _guest.Cpu->Rip);
    }

    [Fact]
    public void TheKernelsFrame_IsNotChecked()
    {
        Write([0x0F, 0x0B]);
        _guest.Cpu->Gpr[Gpr.Rsp] = AssistGuest.StackAt - 1;
        Assert.True(_guest.Vcpu.StepBlock(1));
        Assert.Equal(Handlers + (6 * 16), _guest.Cpu->Rip);
    }

    private void Write(byte[] code)
    {
        for (int i = 0; i < code.Length; i++)
        {
            _guest.Write(AssistGuest.CodeAt + (ulong)i, code[i]);
        }
    }
}
