using System;
using Xunit;

namespace Hull.Tests.Oracle;

/// <summary>The oracle itself on results that are known from the manuals.</summary>
[Collection("NativeOracle")]
public sealed unsafe class NativeRunnerTests : IDisposable
{
    private readonly NativeRunner _runner = new();
    private readonly TestCase _test = new();
    private readonly TestResult _result = new();

    public NativeRunnerTests()
    {
        _test.Initial->Rflags = 0x202;
        _test.Initial->Fcw = 0x37F;
        _test.Initial->Mxcsr = 0x1F80;
        _test.Initial->XstateBv = 7;
    }

    public void Dispose()
    {
        _runner.Dispose();
        _test.Dispose();
        _result.Dispose();
    }

    [Fact]
    public void Add_Carries()
    {
        _test.SetCode([0x48, 0x01, 0xD8]);
        _test.Initial->Gpr[0] = ulong.MaxValue;
        _test.Initial->Gpr[3] = 1;
        _test.Initial->Gpr[4] = 0x1234_5678_9ABC_DEF0;
        _runner.Run(_test, _result);
        Assert.False(_result.Faulted);
        Assert.Equal(0UL, _result.State->Gpr[0]);
        Assert.Equal(0x1234_5678_9ABC_DEF0UL, _result.State->Gpr[4]);
        Assert.Equal(0x255UL, _result.State->Rflags & 0xFFFF & ~2UL | 0x200);
        Assert.Equal(OracleLayout.CodeStart + 3, _result.State->Rip);
    }

    [Fact]
    public void DivideByZero_Faults()
    {
        _test.SetCode([0x48, 0xF7, 0xF1]);
        _runner.Run(_test, _result);
        Assert.True(_result.Faulted);
        Assert.Equal(0, _result.Vector);
        Assert.Equal(OracleLayout.CodeStart, _result.State->Rip);
    }

    [Theory]
    [InlineData(0x89, OracleLayout.Window - 0x100, OracleLayout.Window - 0x100, 6)]
    [InlineData(0x89, OracleLayout.ReadOnlyPage + 8, OracleLayout.ReadOnlyPage + 8, 7)]
    [InlineData(0x89, OracleLayout.ReadOnlyPage - 3, OracleLayout.ReadOnlyPage, 7)]
    [InlineData(0x8B, OracleLayout.WindowEnd - 4, OracleLayout.WindowEnd, 4)]
    [InlineData(0x8B, OracleLayout.Window - 4, OracleLayout.Window - 4, 4)]
    [InlineData(0x8B, 0x10UL, 0x10UL, 4)]
    public void PageFault_ReportsAddressAndErrorCode(byte opcode, ulong address, ulong expected, uint error)
    {
        _test.SetCode([0x48, opcode, 0x07]);
        _test.Initial->Gpr[7] = address;
        _test.Initial->Gpr[12] = 77;
        _runner.Run(_test, _result);
        Assert.True(_result.Faulted);
        Assert.Equal(14, _result.Vector);
        Assert.Equal(expected, _result.Address);
        Assert.Equal(error, _result.ErrorCode);
        Assert.Equal(77UL, _result.State->Gpr[12]);
    }

    [Fact]
    public void NotCanonical_IsGeneralProtection()
    {
        _test.SetCode([0x48, 0x8B, 0x07]);
        _test.Initial->Gpr[7] = 0x8000_0000_0000;
        _runner.Run(_test, _result);
        Assert.True(_result.Faulted);
        Assert.Equal(13, _result.Vector);
        Assert.Equal(0u, _result.ErrorCode);
    }

    [Fact]
    public void Popcnt_Counts()
    {
        _test.SetCode([0xF3, 0x48, 0x0F, 0xB8, 0xC1]);
        _test.Initial->Gpr[1] = 0xF0F0;
        _runner.Run(_test, _result);
        Assert.Equal(8UL, _result.State->Gpr[0]);
    }

    [Fact]
    public void Store_ChangesTheSliceOnly()
    {
        _test.SetCode([0x48, 0x89, 0x04, 0x25, 0x10, 0, 6, 0x30]);
        _test.Initial->Gpr[0] = 0x1122_3344_5566_7788;
        _test.SliceAddress = OracleLayout.Window;
        _test.SliceLength = 64;
        _runner.Run(_test, _result);
        Assert.False(_result.Faulted);
        Assert.Equal(0x1122_3344_5566_7788UL, BitConverter.ToUInt64(_result.Slice, 16));
        Assert.Equal(0UL, _runner.VerifyWindow());
    }

    [Fact]
    public void Vectors_AreLoadedAndStored()
    {
        // addps xmm1, xmm2; the upper halves stay.
        _test.SetCode([0x0F, 0x58, 0xCA]);
        for (int i = 0; i < 256; i++)
        {
            _test.Initial->YmmHigh[i] = (byte)i;
        }

        ((float*)_test.Initial->Xmm)[4] = 1.5f;
        ((float*)_test.Initial->Xmm)[8] = 2.25f;
        _runner.Run(_test, _result);
        Assert.Equal(3.75f, ((float*)_result.State->Xmm)[4]);
        if (_runner.HasAvx)
        {
            Assert.Equal(17, _result.State->YmmHigh[17]);
        }
    }

    [Fact]
    public void X87_DividesByZeroUnmasked_FaultsAtTheNext()
    {
        // fdiv st0, st1; fnop
        _test.SetCode([0xD8, 0xF1, 0xD9, 0xD0], 2);
        _test.Initial->Fcw = 0x37B;
        _test.Initial->Ftw = 3 << 0;
        _test.Initial->St[9] = 0x3F;
        _test.Initial->St[8] = 0xFF;
        _test.Initial->St[7] = 0x80;
        _runner.Run(_test, _result);
        Assert.True(_result.Faulted);
        Assert.Equal(16, _result.Vector);
        Assert.Equal(OracleLayout.CodeStart + 2, _result.State->Rip);
        Assert.Equal(0x84, _result.State->Fsw & 0x84);
    }

    [Fact]
    public void SegmentBases_ApplyAndComeBack()
    {
        if (!NativeRunner.HasSegmentBases)
        {
            return;
        }

        // mov rax, fs:[rdi]; rdgsbase rcx
        _test.SetCode([0x64, 0x48, 0x8B, 0x07, 0xF3, 0x48, 0x0F, 0xAE, 0xC9], 2);
        _test.UsesSegmentBases = true;
        _test.Initial->FsBase = OracleLayout.FsBase;
        _test.Initial->GsBase = OracleLayout.GsBase;
        _test.Initial->Gpr[7] = OracleLayout.Window - OracleLayout.FsBase;
        _test.SliceLength = 8;
        _test.Slice[0] = 42;
        _runner.Run(_test, _result);
        Assert.Equal(42UL, _result.State->Gpr[0]);
        Assert.Equal(OracleLayout.GsBase, _result.State->Gpr[1]);
        Assert.Equal(OracleLayout.FsBase, _result.State->FsBase);
    }

    [Fact]
    public void Compat32_RunsAndFaults()
    {
        // inc eax (0x40 is REX in 64-bit mode)
        _test.SetCode([0x40]);
        _test.Mode32 = true;
        _test.Initial->Gpr[0] = 0x7FFF_FFFF;
        _test.Initial->Gpr[4] = 0x1000;
        _runner.Run(_test, _result);
        Assert.False(_result.Faulted);
        Assert.Equal(0x8000_0000UL, _result.State->Gpr[0]);
        Assert.Equal(OracleLayout.CodeStart + 1, _result.State->Rip);

        // mov eax, [0x10]
        _test.SetCode([0xA1, 0x10, 0, 0, 0]);
        _runner.Run(_test, _result);
        Assert.True(_result.Faulted);
        Assert.Equal(14, _result.Vector);
        Assert.Equal(0x10UL, _result.Address);
    }

    [Fact]
    public void Jump_LandsOnItsPad()
    {
        _test.SetCode([0xEB, 0x40]);
        _test.Pads[_test.PadCount++] = OracleLayout.CodeStart + 0x42;
        _runner.Run(_test, _result);
        Assert.False(_result.Faulted);
        Assert.Equal(OracleLayout.CodeStart + 0x42, _result.State->Rip);
    }
}
