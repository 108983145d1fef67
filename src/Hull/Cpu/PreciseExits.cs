using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Cpu.Translate;
using Iced.Intel;

namespace Hull.Cpu;

/// <summary>
/// Leaves generated code at the guest's instruction: the side table says which one a host pc belongs to.
/// See docs/translator.md, "Precise exceptions".
/// </summary>
internal sealed unsafe class PreciseExits
{
    private readonly SoftVcpu _vcpu;
    private readonly CpuState* _cpu;
    private readonly SoftMmu _mmu;
    private readonly CodeCache _cache;
    private readonly BlockFinder _finder;

    internal PreciseExits(SoftVcpu vcpu, CodeCache cache, BlockFinder finder)
    {
        _vcpu = vcpu;
        _cpu = vcpu.Cpu;
        _mmu = vcpu.Mmu;
        _cache = cache;
        _finder = finder;
    }

    /// <summary>Finds the guest instruction of a host pc, writes RIP, and says why generated code is left.</summary>
    internal byte* Leave(ExitReason reason, byte* back)
    {
        int index = _cache.FindByHostPc(back - 1);
        if (index >= 0)
        {
            ref Block block = ref _cache.Blocks[index];
            SideRow row = _cache.FindRow(block, back);
            if (row.HostOffset >= 0)
            {
                _cpu->Rip = block.Key.Rip + row.GuestOffset;
                _cpu->ExitReason = (ulong)reason;
                _vcpu.Budget?.GiveBack(row.Ahead - (reason == ExitReason.Fault ? 1 : 0));
                return null;
            }
        }

        throw new InvalidOperationException($"no guest instruction for host pc 0x{(ulong)back:x}");
    }

    /// <summary>A fault of an access: most need nothing more; a look at the instruction settles #SS, alignment and x87 errors.</summary>
    internal byte* LeaveFaulting(ulong linear, int size, bool store, byte* back)
    {
        bool maybeAligned = size >= 16 && (linear & 31) != 0;
        bool pendingX87 = X87State.HasError();
        if (_vcpu.Pending.Vector != Vector.GeneralProtection && !maybeAligned && !pendingX87)
        {
            return Leave(ExitReason.Fault, back);
        }

        PendingFault fault = _vcpu.Pending;
        ulong cr2 = _cpu->Cr2;
        Leave(ExitReason.Fault, back);
        Instruction instruction = DecodeAtRip();
        _cpu->Cr2 = cr2;
        _vcpu.Pending = fault;
        bool misaligned = ((int)linear & (FaultRefinement.Alignment(instruction) - 1)) != 0;
        if (pendingX87 && FaultRefinement.WaitsForX87(instruction))
        {
            _vcpu.Raise(Vector.FloatingPoint);
        }
        else if (misaligned && fault.Vector is Vector.Page or Vector.Stack or Vector.GeneralProtection)
        {
            _vcpu.Raise(Vector.GeneralProtection, 0);
        }
        else if (fault.Vector == Vector.GeneralProtection && CpuMode.Is64Bit(_cpu)
            && FaultRefinement.UsesStack(instruction, store))
        {
            _vcpu.Raise(Vector.Stack, 0);
        }

        return null;
    }

    /// <summary>
    /// The host raised an exception in a block: the same exception for the guest, at the guest's instruction.
    /// </summary>
    /// <returns>False when it is a bug of ours: the vCPU has failed.</returns>
    internal bool TakeHostFault()
    {
        byte* pc = (byte*)_cpu->FaultPc;
        int index = _cache.FindByHostPc(pc);
        SideRow row = index < 0 ? new SideRow { HostOffset = -1 } : _cache.FindRow(_cache.Blocks[index], pc);
        if (index >= 0 && _cpu->FaultSignal == Vector.GeneralProtection && !CpuMode.IsCanonical(_cpu->Scratch0))
        {
            return TakeEmptySlot(_cache.Blocks[index], pc);
        }

        if (row.HostOffset < 0)
        {
            return _vcpu.Fail($"vCPU {_vcpu.Index}: host exception {_cpu->FaultSignal} at 0x{(ulong)pc:x} "
                + $"(address 0x{_cpu->Scratch2:x}) in block "
                + (index < 0 ? "none" : $"0x{_cache.Blocks[index].Key.Rip:x} + {pc - _cache.Blocks[index].Code}"));
        }

        _cpu->Rip = _cache.Blocks[index].Key.Rip + row.GuestOffset;
        _vcpu.Budget?.GiveBack(row.Ahead - 1);
        if (row.HostFlags)
        {
            _cpu->ArithmeticFlags = _cpu->Scratch1;
        }

        switch (_cpu->FaultSignal)
        {
            case 0 or 6 or 16 or 19:
                _vcpu.Raise((byte)_cpu->FaultSignal);
                return true;
            case 13:
                _vcpu.Raise(13, 0);
                return true;
            case 17:
                _vcpu.Raise(17, 0);
                return true;
            default:
                return _vcpu.Fail($"vCPU {_vcpu.Index} at rip 0x{_cpu->Rip:x}: host exception {_cpu->FaultSignal}, "
                    + $"address 0x{_cpu->Scratch2:x}");
        }
    }

    /// <summary>
    /// RIP is an address that is not canonical, and a branch went there: it faults itself, with the stack pointer as it
    /// was; CALL has not pushed yet. SDM vol. 2, "CALL", "JMP", "RET".
    /// </summary>
    internal void TakeWildBranch()
    {
        _cpu->Rip = _cpu->ExitOperand;
        Instruction instruction = DecodeAtRip();
        if (instruction.Mnemonic == Mnemonic.Ret)
        {
            _cpu->Gpr[Gpr.Rsp] -= (ulong)instruction.StackPointerIncrement;
        }

        _vcpu.Raise(Vector.GeneralProtection, 0);
    }

    // An address that is not canonical met an empty page slot and reached the host's CPU, which refused it.
    private bool TakeEmptySlot(in Block block, byte* pc)
    {
        SideRow row = _cache.FindRowBefore(block, pc);
        if (row.HostOffset < 0)
        {
            return _vcpu.Fail($"vCPU {_vcpu.Index}: address 0x{_cpu->Scratch0:x} in block 0x{block.Key.Rip:x}");
        }

        if (row.HostFlags)
        {
            _cpu->ArithmeticFlags = _cpu->Scratch1;
        }

        // Of an instruction with two accesses the second is a store.
        _vcpu.Raise(Vector.GeneralProtection, 0);
        LeaveFaulting(_cpu->Scratch0, 1, _cache.IsSecondRow(block, row), block.Code + row.HostOffset);
        return true;
    }

    // Decodes the guest's instruction again; rare, so it may allocate.
    private Instruction DecodeAtRip()
    {
        byte[] bytes = new byte[15];
        ulong linear = CpuMode.Is64Bit(_cpu) ? _cpu->Rip : (uint)(_cpu->Rip + _cpu->Segments[Seg.Cs].Base);
        int first = Math.Min(15, 4096 - (int)(linear & 0xFFF));
        if (_mmu.Load(linear, bytes.AsSpan(0, first), Access.Fetch) && first < 15)
        {
            _mmu.Load(linear + (uint)first, bytes.AsSpan(first), Access.Fetch);
        }

        int bits = (_finder.ComputeMode() & BlockMode.CodeMask) switch { BlockMode.Code64 => 64, BlockMode.Code32 => 32, _ => 16 };
        return Decoder.Create(bits, bytes, _cpu->Rip, BlockDecoder.OptionsOf(_vcpu.Cpuid.IsIntel)).Decode();
    }
}
