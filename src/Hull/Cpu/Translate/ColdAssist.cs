using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>Jumps out of an emitted instruction that end at one call of its assist, behind the block.</summary>
internal unsafe struct ColdAssist(BlockWriter writer, in Instruction instruction)
{
    private byte* _previous;

    /// <summary>The assist.</summary>
    internal int Record { get; } = writer.Cache.AssistRecords.Add(instruction);

    /// <summary>Leaves for the assist when a condition holds.</summary>
    internal void If(int condition)
    {
        // The displacement of each jump holds the distance to the one before it until the end is known.
        byte* site = writer.E.JumpForward(condition);
        *(int*)site = _previous == null ? 0 : (int)(site - _previous);
        _previous = site;
    }

    /// <summary>The fast way ends here; the assist comes back to the same place.</summary>
    internal readonly void End() => writer.Cold.Add(new ColdPiece
    {
        Kind = ColdKind.AssistChain,
        Site = _previous,
        Back = writer.E.At,
        Number = Record,
    });
}
