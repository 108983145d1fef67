using System;
using System.Runtime.InteropServices;

namespace Hull.Tests.Oracle;

/// <summary>
/// The unprivileged state of a CPU as a test loads and stores it. The tail is an XSAVE area in the standard format with
/// x87, SSE and AVX parts. SDM vol. 1, "Standard Format of the XSAVE Area".
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = Bytes)]
internal unsafe struct CpuTestState
{
    internal const int Bytes = 1024;
    internal const int RflagsOffset = 128;
    internal const int RipOffset = 136;
    internal const int FsBaseOffset = 144;
    internal const int GsBaseOffset = 152;
    internal const int SelectorsOffset = 160;
    internal const int XsaveOffset = 192;
    internal const int XsaveHeaderOffset = XsaveOffset + 512;
    internal const int YmmHighOffset = XsaveOffset + 576;

    /// <summary>General registers in encoding order.</summary>
    [FieldOffset(0)]
    internal fixed ulong Gpr[16];

    /// <summary>RFLAGS.</summary>
    [FieldOffset(RflagsOffset)]
    internal ulong Rflags;

    /// <summary>The instruction pointer after the test.</summary>
    [FieldOffset(RipOffset)]
    internal ulong Rip;

    /// <summary>FS base; only meaningful in tests that use segment bases.</summary>
    [FieldOffset(FsBaseOffset)]
    internal ulong FsBase;

    /// <summary>GS base; only meaningful in tests that use segment bases.</summary>
    [FieldOffset(GsBaseOffset)]
    internal ulong GsBase;

    /// <summary>ES, CS, SS, DS, FS, GS; only after tests that use segment bases.</summary>
    [FieldOffset(SelectorsOffset)]
    internal fixed ushort Selectors[6];

    /// <summary>The FXSAVE64 image.</summary>
    [FieldOffset(XsaveOffset)]
    internal fixed byte Fxsave[512];

    /// <summary>x87 control word.</summary>
    [FieldOffset(XsaveOffset)]
    internal ushort Fcw;

    /// <summary>x87 status word.</summary>
    [FieldOffset(XsaveOffset + 2)]
    internal ushort Fsw;

    /// <summary>x87 tags, one bit a physical register: 1 is valid.</summary>
    [FieldOffset(XsaveOffset + 4)]
    internal byte Ftw;

    /// <summary>MXCSR.</summary>
    [FieldOffset(XsaveOffset + 24)]
    internal uint Mxcsr;

    /// <summary>ST0-ST7, 16 bytes each, of which 10 count.</summary>
    [FieldOffset(XsaveOffset + 32)]
    internal fixed byte St[128];

    /// <summary>XMM0-15.</summary>
    [FieldOffset(XsaveOffset + 160)]
    internal fixed byte Xmm[256];

    /// <summary>Which parts of the XSAVE area hold something.</summary>
    [FieldOffset(XsaveHeaderOffset)]
    internal ulong XstateBv;

    /// <summary>Bits 255:128 of YMM0-15.</summary>
    [FieldOffset(YmmHighOffset)]
    internal fixed byte YmmHigh[256];

    /// <summary>A zeroed state in native memory, aligned as XSAVE wants.</summary>
    internal static CpuTestState* Allocate()
    {
        CpuTestState* state = (CpuTestState*)NativeMemory.AlignedAlloc(Bytes, 64);
        NativeMemory.Clear(state, Bytes);
        return state;
    }

    /// <summary>The whole state as bytes.</summary>
    internal static Span<byte> AsBytes(CpuTestState* state) => new(state, Bytes);
}
