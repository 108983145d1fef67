using System;

namespace Hull.Tests.Oracle;

/// <summary>
/// Where things are. Everything lies below 2 GiB, so that absolute 32-bit displacements and 32-bit code reach it, and
/// the guest of the soft runner maps the code and the data at the same linear addresses.
/// </summary>
internal static class OracleLayout
{
    /// <summary>State in, state out, and what the fault handler saves.</summary>
    internal const ulong StatePage = 0x3000_0000;

    /// <summary>The stub's machine code.</summary>
    internal const ulong StubPage = 0x3000_2000;

    /// <summary>The alternate signal stack of the oracle's thread.</summary>
    internal const ulong SignalStack = 0x3001_0000;

    /// <summary>Bytes of the alternate signal stack.</summary>
    internal const ulong SignalStackSize = 0x1_0000;

    /// <summary>The code under test: two pages, filled with INT3, nothing mapped around them.</summary>
    internal const ulong Code = 0x3004_0000;

    /// <summary>Bytes of code under test.</summary>
    internal const ulong CodeSize = 0x2000;

    /// <summary>Where tests start by default: room for backward branches before, for forward ones behind.</summary>
    internal const ulong CodeStart = Code + 0x400;

    /// <summary>Where branches may lead whose target is not in the instruction relative to itself.</summary>
    internal static ReadOnlySpan<ulong> FarTargets => [CodeStart - 0x123, CodeStart + 0x200];

    /// <summary>The data window: two pages to write, one to read only; nothing mapped around them.</summary>
    internal const ulong Window = 0x3006_0000;

    /// <summary>The first byte that may only be read.</summary>
    internal const ulong ReadOnlyPage = Window + 0x2000;

    /// <summary>One behind the last byte of the window.</summary>
    internal const ulong WindowEnd = Window + 0x3000;

    /// <summary>Bytes that tests may write.</summary>
    internal const int WritableSize = 0x2000;

    /// <summary>How far outside the window an operand may lie and still be known to hit nothing.</summary>
    internal const ulong GuardSize = 0x8000;

    /// <summary>FS base of tests that use it; no multiple of anything.</summary>
    internal const ulong FsBase = 0x0010_1238;

    /// <summary>GS base of tests that use it.</summary>
    internal const ulong GsBase = 0x0020_4564;

    /// <summary>Linux's selector of flat 64-bit user code, used by the guest's GDT too.</summary>
    internal const ushort UserCode64 = 0x33;

    /// <summary>Linux's selector of flat 32-bit user code.</summary>
    internal const ushort UserCode32 = 0x23;

    /// <summary>Linux's selector of flat user data.</summary>
    internal const ushort UserData = 0x2B;

    /// <summary>The bytes of the window where a test has not put its own.</summary>
    internal static byte[] MakePattern()
    {
        byte[] pattern = new byte[WindowEnd - Window];
        OracleRandom random = new(0x5EED);
        for (int i = 0; i < pattern.Length; i += 8)
        {
            BitConverter.TryWriteBytes(pattern.AsSpan(i), random.Next());
        }

        return pattern;
    }
}
