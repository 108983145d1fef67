using System;
using Hull.Engine;
using Hull.Kvm.Abi;

namespace Hull.Kvm;

/// <summary>
/// Which MSRs KVM keeps and which <see cref="MsrPolicy"/> answers. What the CPU or the kernel acts on is KVM's; facts and
/// commands without effect are the table's, so that a guest reads the same on both engines.
/// </summary>
internal static unsafe class KvmMsrPolicy
{
    private const uint PredictionCommand = 0x49;
    private const uint ArchCapabilities = 0x10A;
    private const uint FlushCommand = 0x10B;

    private static readonly (uint First, uint Count)[] Ranges = [(0, 0x400), (0xC001_0000, 0x1100)];

    /// <summary>
    /// The MSRs of a vCPU's state, besides those in the special registers: system calls, TSC_AUX, KVM's clock.
    /// </summary>
    internal static ReadOnlySpan<uint> StateIndexes =>
    [
        0x174, 0x175, 0x176, 0xC000_0081, 0xC000_0082, 0xC000_0083, 0xC000_0084, 0xC000_0102, 0xC000_0103,
        0x4B56_4D00, 0x4B56_4D01,
    ];

    /// <summary>True for an MSR whose guest accesses user space answers from the table.</summary>
    /// <remarks>
    /// What tells of the host's faults, or works against them, is the kernel's: a guest on KVM runs on the real CPU.
    /// </remarks>
    internal static bool IsTables(uint index, CpuidPolicy cpuid) =>
        index is not (PredictionCommand or ArchCapabilities or FlushCommand)
        && MsrPolicy.Find(index, cpuid).Kind is MsrKind.ReadOnly or MsrKind.Ignored or MsrKind.Command;

    /// <summary>KVM_X86_SET_MSR_FILTER: a clear bit sends the access to user space.</summary>
    internal static void SetFilter(KvmFile vm, CpuidPolicy cpuid)
    {
        const uint ReadsAndWrites = 3;
        KvmMsrFilter filter = default;
        byte* bitmaps = stackalloc byte[0x1100 / 8 * Ranges.Length];
        for (int i = 0; i < Ranges.Length; i++)
        {
            byte* bitmap = bitmaps + (0x1100 / 8 * i);
            (uint first, uint count) = Ranges[i];

            // SAFETY: each range has a bitmap of the largest range's size in the block above.
            Fill(new Span<byte>(bitmap, (int)(count / 8)), first, cpuid);
            filter.Ranges[i] = new KvmMsrRange
            {
                Flags = ReadsAndWrites,
                Base = first,
                Count = count,
                Bitmap = (ulong)bitmap,
            };
        }

        vm.Call(KvmRequests.SetMsrFilter, ref filter);
    }

    /// <summary>Reads an MSR of a vCPU's.</summary>
    /// <returns>False when KVM does not keep it.</returns>
    internal static bool TryGet(KvmFile vcpu, uint index, out ulong value)
    {
        KvmOneMsr msr = new() { Head = new KvmListHead { Count = 1 }, Entry = new KvmMsrEntry { Index = index } };
        int done = vcpu.TryCall(KvmRequests.GetMsrs, ref msr, out _);
        value = msr.Entry.Data;
        return done == 1;
    }

    /// <summary>Writes an MSR of a vCPU's.</summary>
    /// <returns>False when KVM does not take it.</returns>
    internal static bool TrySet(KvmFile vcpu, uint index, ulong value)
    {
        KvmOneMsr msr = new()
        {
            Head = new KvmListHead { Count = 1 },
            Entry = new KvmMsrEntry { Index = index, Data = value },
        };
        return vcpu.TryCall(KvmRequests.SetMsrs, ref msr, out _) == 1;
    }

    private static void Fill(Span<byte> bitmap, uint first, CpuidPolicy cpuid)
    {
        bitmap.Fill(0xFF);
        for (int i = 0; i < bitmap.Length * 8; i++)
        {
            if (IsTables(first + (uint)i, cpuid))
            {
                bitmap[i >> 3] &= (byte)~(1 << (i & 7));
            }
        }
    }
}
