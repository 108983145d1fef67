using System;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.TestKernels;

/// <summary>
/// Stores through CS in 32-bit code with flat segments: #GP, whatever the page allows. SDM vol. 3A, "Code- and Data-Segment
/// Descriptor Types". A load is good.
/// </summary>
public sealed class CodeSegmentStoreTests
{
    private const uint GeneralProtection = TestKernel.ExceptionValue + 13;

    [Fact]
    public void Mov_ToCs_Faults() => Check(GeneralProtection, a => a.mov(__dword_ptr.cs[TestKernel.Data], eax));

    [Fact]
    public void ReadAndWrite_OfCs_Faults() => Check(GeneralProtection, a => a.add(__byte_ptr.cs[ebx], 1));

    [Fact]
    public void Locked_OnCs_Faults() => Check(GeneralProtection, a => a.@lock.inc(__dword_ptr.cs[ebx + 4]));

    [Fact]
    public void FlagsThatSomebodyNeeds_OverAStoreToCs_Fault() => Check(GeneralProtection, a =>
    {
        a.cmp(eax, 1);
        a.mov(__dword_ptr.cs[ebx], ecx);
        a.adc(eax, 5);
    });

    [Fact]
    public void Pop_ToCs_Faults() => Check(GeneralProtection, a =>
    {
        a.push(eax);
        a.pop(__dword_ptr.cs[ebx]);
    });

    [Fact]
    public void VectorStore_ToCs_Faults() => Check(GeneralProtection, a =>
    {
        a.mov(eax, cr4);
        a.or(eax, 0x200);
        a.mov(cr4, eax);
        a.movups(__xmmword_ptr.cs[ebx], xmm0);
    });

    [Fact]
    public void Load_FromCs_IsGood() => Check(0x1234, a =>
    {
        a.mov(__dword_ptr[ebx], 0x1234);
        a.mov(eax, __dword_ptr.cs[ebx]);
    });

    private static void Check(uint expected, Action<Assembler> body) => Assert.Equal(expected, TestKernel.Run(EngineKind.Soft, a =>
    {
        a.mov(ebx, TestKernel.Data);
        body(a);
    }).Value);
}
