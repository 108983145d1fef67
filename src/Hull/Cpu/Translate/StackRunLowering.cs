using Hull.Cpu.State;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// Several PUSH or POP of 64-bit registers one behind the other, as functions begin and end: one check for all of them. Where
/// it fails they run one by one, so that what faults, or is no plain memory, is the same as ever.
/// Through a window nothing is checked: what faults in the middle is done again from the first on, one by one. Until the stack
/// pointer moves, that changes nothing.
/// <code>
///   lea  r10, [r9-8n]
///   (the check of 8n bytes: MemoryLowering)
///   mov  [r10+8(n-1)], first
///   ...
///   mov  [r10], last
///   lea  r9, [r9-8n]
/// </code>
/// </summary>
internal sealed unsafe class StackRunLowering
{
    // Fewer than two are none; more than all registers are no function's begin.
    private const int Most = 16;
    private readonly BlockWriter _w;
    private readonly Emitter _e;

    internal StackRunLowering(BlockWriter writer)
    {
        _w = writer;
        _e = writer.E;
    }

    /// <summary>How many instructions from one on are such a run; less than 2 when there is none.</summary>
    internal int Count(BlockDecoder decoder, int first, int count)
    {
        if (!_w.Is64 || _w.IsWatched)
        {
            return 0;
        }

        Code code = decoder.Instructions[first].Code;
        int run = 0;
        while (run < Most && first + run < count && IsMember(decoder.Instructions[first + run], code))
        {
            run++;
        }

        return run;
    }

    /// <summary>Emits a run that starts at the current instruction.</summary>
    internal void Emit(BlockDecoder decoder, int first, int count)
    {
        bool store = decoder.Instructions[first].Code == Code.Push_r64;
        int piece = -1;
        if (!_w.Memory.TryReachStack(store ? -8 * count : 0, 8, store, false))
        {
            _w.Memory.StackAddress(store ? -8 * count : 0);
            _w.Memory.Slots.CheckRun(count, store, first, out piece);
        }

        for (int i = 0; i < count; i++)
        {
            int guest = decoder.Instructions[first + i].Op0Register.GetNumber();
            int offset = 8 * (store ? count - 1 - i : i);
            if (store)
            {
                _e.Mem(true, 0x89, _w.Memory.Load(guest, HostRegister.Temp), HostRegister.Address, offset);
            }
            else if (guest is >= 9 and <= 11)
            {
                _e.Mem(true, 0x8B, HostRegister.Temp, HostRegister.Address, offset);
                _e.StoreState(StateLayout.GprSlot(guest), HostRegister.Temp);
            }
            else
            {
                _e.Mem(true, 0x8B, guest, HostRegister.Address, offset);
            }
        }

        _w.Memory.StackAdjust(store ? -8 * count : 8 * count);
        if (piece >= 0)
        {
            _w.Cold.SetBack(piece, _e.At);
        }
    }

    private static bool IsMember(in Instruction instruction, Code code) =>
        code is Code.Push_r64 or Code.Pop_r64 && instruction.Code == code && instruction.Op0Register != Register.RSP;
}
