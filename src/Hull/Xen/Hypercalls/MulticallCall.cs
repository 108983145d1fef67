using System;
using System.Runtime.InteropServices;

namespace Hull.Xen.Hypercalls;

/// <summary>multicall: a list of hypercalls, each with a place for its result. Xen, public/xen.h, "struct multicall_entry".</summary>
internal static class MulticallCall
{
    private const int EntrySize = 64;
    private const int ResultOffset = 8;
    private const int ArgumentOffset = 16;
    private const int ArgumentCount = 5;

    // A longer list is done in parts by the guests that there are; Xen would make this one start anew.
    private const uint MostEntries = 4096;

    internal static long Do(in Hypercall call)
    {
        uint count = call.Word(1);
        if (count > MostEntries)
        {
            return XenError.Invalid;
        }

        Span<byte> entry = stackalloc byte[EntrySize];
        Span<ulong> arguments = stackalloc ulong[ArgumentCount];
        for (uint i = 0; i < count; i++)
        {
            ulong at = call[0] + (i * EntrySize);
            if (!call.Registers.TryLoad(at, entry))
            {
                return XenError.Fault;
            }

            MemoryMarshal.Cast<byte, ulong>(entry.Slice(ArgumentOffset, ArgumentCount * sizeof(ulong))).CopyTo(arguments);
            ulong number = MemoryMarshal.Read<ulong>(entry);
            long result = number == (ulong)HypercallNumber.Multicall
                ? XenError.NoSystemCall
                : HypercallTable.Call(new Hypercall(call.Domain, call.Vcpu, call.Registers, arguments), number);
            if (!call.Registers.TryStore(at + ResultOffset, MemoryMarshal.AsBytes(new ReadOnlySpan<long>(in result))))
            {
                return XenError.Fault;
            }
        }

        return 0;
    }
}
