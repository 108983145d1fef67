using System;
using System.Runtime.InteropServices;

namespace Hull.Xen.Hypercalls;

/// <summary>multicall: a list of hypercalls, each with a place for its result. Xen, public/xen.h, "struct multicall_entry".</summary>
internal static class MulticallCall
{
    private const int ArgumentCount = 5;

    // The number, the result and six arguments, each a word of the caller's.
    private const int EntryWords = 8;

    internal static long Do(in Hypercall call)
    {
        uint count = call.Word(1);
        int word = call.WordBytes;
        Span<byte> entry = stackalloc byte[EntryWords * sizeof(ulong)];
        entry = entry[..(EntryWords * word)];
        Span<ulong> arguments = stackalloc ulong[ArgumentCount];
        for (uint i = 0; i < count && call.Domain.Breathe(i); i++)
        {
            ulong at = call[0] + ((ulong)i * (uint)entry.Length);
            if (!call.Registers.TryLoad(at, entry))
            {
                return XenError.Fault;
            }

            for (int argument = 0; argument < ArgumentCount; argument++)
            {
                arguments[argument] = Word(entry, 2 + argument, word);
            }

            ulong number = Word(entry, 0, word);
            long result = number == (ulong)HypercallNumber.Multicall
                ? XenError.Invalid // no list in a list
                : HypercallTable.Call(call.With(arguments), number);
            if (!call.Registers.TryStore(at + (uint)word, MemoryMarshal.AsBytes(new ReadOnlySpan<long>(in result))[..word]))
            {
                return XenError.Fault;
            }
        }

        return 0;
    }

    private static ulong Word(ReadOnlySpan<byte> entry, int index, int bytes) => bytes == sizeof(ulong)
        ? MemoryMarshal.Read<ulong>(entry[(index * bytes)..])
        : MemoryMarshal.Read<uint>(entry[(index * bytes)..]);
}
