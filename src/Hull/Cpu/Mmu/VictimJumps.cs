using System;
using Hull.Cpu.State;

namespace Hull.Cpu.Mmu;

/// <summary>
/// Behind the jump caches: a larger table that C# asks before it walks page tables and looks for a block. Large programs
/// have more hot targets than the jump cache has lines. Tags carry the same keys, so one change of a key empties both.
/// </summary>
internal sealed class VictimJumps
{
    private const int Lines = 1 << 15;

    // Supervisor's lines, then user's: the same rip may be the target of either.
    private readonly JumpEntry[] _lines = new JumpEntry[2 * Lines];

    /// <summary>Enters generated code for a tag (rip XOR key).</summary>
    internal void Fill(ulong rip, bool user, ulong tag, ulong host)
    {
        ref JumpEntry line = ref Line(rip, user);
        line.Tag = tag;
        line.Host = host;
    }

    /// <summary>The generated code for a tag, or 0.</summary>
    internal ulong Find(ulong rip, bool user, ulong tag)
    {
        ref JumpEntry line = ref Line(rip, user);
        return line.Tag == tag ? line.Host : 0;
    }

    /// <summary>Forgets generated code that is going away.</summary>
    internal void Drop(ulong rip, bool user, ulong host)
    {
        ref JumpEntry line = ref Line(rip, user);
        if (line.Host == host)
        {
            line = default;
        }
    }

    /// <summary>Keys start again: nothing may be left that an old one tagged.</summary>
    internal void Clear() => Array.Clear(_lines);

    // Other bits of the hash than the jump cache takes: what shares a line there has its own here.
    private ref JumpEntry Line(ulong rip, bool user) =>
        ref _lines[(user ? Lines : 0) + (int)((System.Numerics.BitOperations.Crc32C(0, rip) >> 13) & (Lines - 1))];
}
