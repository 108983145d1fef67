using System;
using Hull.Cpu.State;

namespace Hull.Cpu.Mmu;

/// <summary>
/// Behind the jump caches: a larger table that C# asks before it walks page tables and looks for a block. Large programs
/// have more hot targets than the jump cache has lines. Tags carry the same keys, so one change of a key empties both. Each line
/// has two ways: a process and its child have the same targets under two keys.
/// </summary>
internal sealed class VictimJumps
{
    private const int Lines = 1 << 14;

    // Supervisor's lines, then user's: the same rip may be the target of either. The younger way is the first.
    private readonly JumpEntry[] _ways = new JumpEntry[2 * Lines * 2];

    /// <summary>Enters generated code for a tag (rip XOR key).</summary>
    internal void Fill(ulong rip, bool user, ulong tag, ulong host)
    {
        Span<JumpEntry> line = Line(rip, user);
        if (line[0].Tag != tag)
        {
            line[1] = line[0];
        }

        line[0] = new JumpEntry { Tag = tag, Host = host };
    }

    /// <summary>The generated code for a tag, or 0.</summary>
    internal ulong Find(ulong rip, bool user, ulong tag)
    {
        Span<JumpEntry> line = Line(rip, user);
        return line[0].Tag == tag ? line[0].Host : line[1].Tag == tag ? line[1].Host : 0;
    }

    /// <summary>Forgets generated code that is going away.</summary>
    internal void Drop(ulong rip, bool user, ulong host)
    {
        foreach (ref JumpEntry way in Line(rip, user))
        {
            if (way.Host == host)
            {
                way = default;
            }
        }
    }

    /// <summary>Keys start again: nothing may be left that an old one tagged.</summary>
    internal void Clear() => Array.Clear(_ways);

    // Other bits of the hash than the jump cache takes: what shares a line there has its own here.
    private Span<JumpEntry> Line(ulong rip, bool user) =>
        _ways.AsSpan(2 * ((user ? Lines : 0) + (int)((System.Numerics.BitOperations.Crc32C(0, rip) >> 13) & (Lines - 1))), 2);
}
