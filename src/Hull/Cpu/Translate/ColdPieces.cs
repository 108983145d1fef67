using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>The pieces of a block that seldom run: queued while it is written, and emitted behind it in an area of their own.</summary>
internal sealed unsafe class ColdPieces(BlockWriter writer)
{
    private ColdPiece[] _pieces = new ColdPiece[64];
    private int _count;

    private Emitter E => writer.E;

    /// <summary>A block begins: none is queued.</summary>
    internal void Clear() => _count = 0;

    /// <summary>Queues a cold piece.</summary>
    /// <returns>Its number, for <see cref="SetBack"/>.</returns>
    internal int Add(in ColdPiece piece)
    {
        if (_count == _pieces.Length)
        {
            System.Array.Resize(ref _pieces, _count * 2);
        }

        _pieces[_count] = piece;
        _pieces[_count].Ahead = writer.Ahead;
        return _count++;
    }

    /// <summary>Says where a cold piece goes on.</summary>
    internal void SetBack(int piece, byte* back) => _pieces[piece].Back = back;

    /// <summary>Emits all, and those that they add.</summary>
    internal void Emit(BlockDecoder decoder)
    {
        for (int i = 0; i < _count; i++)
        {
            ColdPiece piece = _pieces[i];
            switch (piece.Kind)
            {
                case ColdKind.TlbMiss:
                    writer.Memory.Slots.EmitMiss(piece);
                    break;
                case ColdKind.LinkStub:
                    EmitLinkStub(piece);
                    break;
                case ColdKind.StackRun:
                    EmitStackRun(piece, decoder);
                    break;
                case ColdKind.CloseUserPages:
                    E.Patch(piece.Site);
                    E.LoadAddress(HostRegister.Temp, piece.Back);
                    E.Jump(writer.Thunks.CloseUserPages);
                    break;
                case ColdKind.StringMiss:
                    PatchChain(piece);
                    writer.Strings.EmitMiss(piece);
                    EmitAssistCall(piece);
                    break;
                case ColdKind.Budget or ColdKind.BudgetHostFlags:
                    E.Patch(piece.Site);
                    if (piece.Kind == ColdKind.BudgetHostFlags)
                    {
                        writer.Flags.EmitSave();
                    }

                    E.State(true, 0x83, 0, StateLayout.Budget);
                    E.Byte(piece.Number);
                    E.MoveImmediate(HostRegister.Address, writer.BlockRip);
                    E.StoreState(StateLayout.Rip, HostRegister.Address);
                    E.Jump(writer.Thunks.BudgetExit);
                    break;
                case ColdKind.Leave:
                    E.Patch(piece.Site);
                    if (piece.Back != null)
                    {
                        E.Patch(piece.Back);
                    }

                    writer.Branch.LeaveForAddress();
                    break;
                case ColdKind.LeaveIndirect:
                    E.Patch(piece.Site);
                    E.State(true, 0x33, HostRegister.Address, StateLayout.JumpKey(writer.IsUser));
                    E.Patch(piece.Back);
                    writer.Branch.LeaveForTarget(piece.GuestOffset);
                    break;
                case ColdKind.WildCall:
                    writer.Branch.EmitWildCall(piece);
                    break;
                default:
                    PatchChain(piece);
                    EmitAssistCall(piece);
                    break;
            }
        }
    }

    // May add further cold pieces.
    private void EmitStackRun(in ColdPiece piece, BlockDecoder decoder)
    {
        E.Patch(piece.Site);
        writer.Place(piece.GuestOffset, piece.Ahead);
        for (int i = 0; i < piece.Size; i++)
        {
            ref readonly Instruction instruction = ref decoder.Instructions[piece.Number + i];
            writer.Flags.Place = FlagPlace.Memory;
            writer.Stack.Emit(instruction);
            writer.Pass(instruction);
        }

        E.Jump(piece.Back);
    }

    private void EmitAssistCall(in ColdPiece piece)
    {
        writer.NoteAhead(piece.Ahead);
        E.StoreStateInt32(StateLayout.ExitOperand, piece.Number);
        E.LoadAddress(HostRegister.Temp, piece.Back);
        E.Jump(writer.Thunks.Assist);
    }

    // Points the jump here, and in a chain those before it.
    private void PatchChain(in ColdPiece piece)
    {
        byte* site = piece.Site;
        int distance = piece.Kind == ColdKind.Assist ? 0 : *(int*)site;
        E.Patch(site);
        while (distance != 0)
        {
            site -= distance;
            distance = *(int*)site;
            E.Patch(site);
        }
    }

    private void EmitLinkStub(in ColdPiece piece)
    {
        ref Link link = ref writer.Cache.Links[piece.Number];
        link.Stub = E.At;
        E.Patch(piece.Site);
        if (piece.Back != null)
        {
            E.Patch(piece.Back);
        }

        if (link.HostFlags)
        {
            writer.Flags.EmitSave();
        }

        if (link.Cross)
        {
            writer.Branch.ThroughJumpCache(link.Target, writer.IsUser);
        }

        E.StoreStateInt32(StateLayout.ExitOperand, piece.Number);
        E.Relocations.Link(E.At - 4);
        E.Jump(writer.Thunks.LinkExit);
    }
}
