using Hull.Cpu.State;

namespace Hull.Cpu.Translate;

/// <summary>Why generated code was left; <see cref="CpuState.ExitReason"/>.</summary>
internal enum ExitReason : ulong
{
    /// <summary>RIP is written: find the next block.</summary>
    Dispatch = 0,

    /// <summary>A direct jump that has no target yet; ExitOperand is the link.</summary>
    Link = 1,

    /// <summary>An assist changed RIP or the mode.</summary>
    AssistJump = 2,

    /// <summary><see cref="SoftVcpu.Pending"/> holds an exception; RIP is at the instruction.</summary>
    Fault = 3,

    /// <summary>HLT.</summary>
    Halt = 4,

    /// <summary>The instruction at RIP is to be run with careful memory accesses.</summary>
    Careful = 5,

    /// <summary>The host raised an exception in generated code: FaultPc, FaultSignal (trap number), Scratch1 (flags), Scratch0 (R10).</summary>
    HostFault = 6,

    /// <summary>Deterministic mode: the block at RIP has more instructions than may run.</summary>
    Budget = 7,

    /// <summary>A branch whose target may not be canonical: RIP is its target, ExitOperand its own rip.</summary>
    Branch = 8,
}
