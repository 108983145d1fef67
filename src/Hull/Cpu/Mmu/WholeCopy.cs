using System;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Hull.Cpu.Mmu;

/// <summary>
/// Copies operands in one access each where the guest's instruction makes one: other vCPUs must not see halves, nor a
/// value written twice. SDM vol. 3A, "Guaranteed Atomic Operations".
/// </summary>
internal static unsafe class WholeCopy
{
    /// <summary>Copies out of guest memory.</summary>
    internal static void Load(byte* from, Span<byte> to)
    {
        fixed (byte* target = to)
        {
            Copy(target, from, to.Length);
        }
    }

    /// <summary>Copies into guest memory.</summary>
    internal static void Store(byte* to, ReadOnlySpan<byte> from)
    {
        fixed (byte* source = from)
        {
            Copy(to, source, from.Length);
        }
    }

    private static void Copy(byte* to, byte* from, int length)
    {
        // SAFETY: the callers have checked both ranges.
        switch (length)
        {
            case 1:
                *to = *from;
                break;
            case 2:
                Unsafe.WriteUnaligned(to, Unsafe.ReadUnaligned<ushort>(from));
                break;
            case 4:
                Unsafe.WriteUnaligned(to, Unsafe.ReadUnaligned<uint>(from));
                break;
            case 8:
                Unsafe.WriteUnaligned(to, Unsafe.ReadUnaligned<ulong>(from));
                break;
            case 16:
                Vector128.Load(from).Store(to);
                break;
            default:
                Unsafe.CopyBlockUnaligned(to, from, (uint)length);
                break;
        }
    }
}
