using System;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Hull.Memory;

/// <summary>
/// A 64-bit hash of a machine's state, to compare two runs: multiply and rotate in four lanes, murmur's finish. Not
/// against an adversary. Pages of zeros count as nothing, so that what was never touched need not be read.
/// </summary>
internal struct StateHash
{
    private const ulong Multiplier = 0x9E37_79B9_7F4A_7C15;

    /// <summary>The hash of all that was added.</summary>
    internal ulong Value { get; private set; }

    /// <summary>Adds a number; the order counts.</summary>
    internal void Add(ulong value) => Value = BitOperations.RotateLeft(Value ^ Mix(value), 27) * Multiplier;

    /// <summary>Adds bytes.</summary>
    internal void Add(ReadOnlySpan<byte> bytes) => Add(Of(bytes, (ulong)bytes.Length));

    /// <summary>The hash of bytes at a place.</summary>
    internal static ulong Of(ReadOnlySpan<byte> bytes, ulong place)
    {
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(bytes);
        ulong a = place * Multiplier;
        ulong b = ~a;
        ulong c = a ^ 0x55;
        ulong d = b ^ 0xAA;
        int i = 0;
        for (; i + 4 <= words.Length; i += 4)
        {
            a = BitOperations.RotateLeft(a ^ words[i], 29) * Multiplier;
            b = BitOperations.RotateLeft(b ^ words[i + 1], 31) * Multiplier;
            c = BitOperations.RotateLeft(c ^ words[i + 2], 33) * Multiplier;
            d = BitOperations.RotateLeft(d ^ words[i + 3], 35) * Multiplier;
        }

        for (; i < words.Length; i++)
        {
            a = BitOperations.RotateLeft(a ^ words[i], 29) * Multiplier;
        }

        foreach (byte rest in bytes[(words.Length * 8)..])
        {
            b = (b ^ rest) * Multiplier;
        }

        return Mix(a) ^ BitOperations.RotateLeft(Mix(b), 16) ^ BitOperations.RotateLeft(Mix(c), 32)
            ^ BitOperations.RotateLeft(Mix(d), 48);
    }

    private static ulong Mix(ulong x)
    {
        x = (x ^ (x >> 33)) * 0xFF51_AFD7_ED55_8CCD;
        x = (x ^ (x >> 33)) * 0xC4CE_B9FE_1A85_EC53;
        return x ^ (x >> 33);
    }
}
