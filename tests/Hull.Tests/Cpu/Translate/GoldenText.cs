using System;
using System.Collections.Generic;
using System.IO;
using Hull.Cpu.State;
using Hull.Cpu;
using Hull.Cpu.Translate;
using Hull.Engine;
using Hull.Memory;
using Iced.Intel;
using StringBuilder = System.Text.StringBuilder;

namespace Hull.Tests.Cpu.Translate;

/// <summary>
/// Translates guest code and writes the block as text that is the same wherever memory is mapped: jumps inside
/// the block as labels, thunks and state fields by name.
/// </summary>
internal static unsafe class GoldenText
{
    private const ulong PhysicalPage = 0x1000;

    // Not the host's: the text must be the same everywhere, and none of it runs.
    private const bool GuestHasAvx = true;

    /// <summary>The text of one row, lines ended by \n.</summary>
    internal static string Of(GoldenRow row)
    {
        using GuestMemory ram = new(1 << 20);
        using CodeCache cache = new(ram, 1 << 20);
        Thunks thunks = new(cache.Emitter, GuestHasAvx, fastPext: true);
        cache.SealThunks();
        FetchGuard guard = new(cache, ram, [], static _ => { });
        Translator translator = new(cache, thunks, guard, new CpuFeatureSet(ulong.MaxValue), isIntel: true);
        byte[] guest = Assemble(row);
        List<Instruction> instructions = Decode(row.Bits, guest, row.Rip);
        BlockKey key = new(PhysicalPage | (row.Rip & 0xFFF), row.Rip, row.Mode);
        ram.TryWrite(new GuestPhysical(key.Physical), guest);

        // The vCPU is asked only for the second page of an instruction, and no row crosses a page.
        int index = translator.Translate(null!, key, row.Rip, ram.Base + PhysicalPage, instructions.Count);
        return Write(row, instructions, guest.Length, cache, cache.Blocks[index], thunks);
    }

    private static byte[] Assemble(GoldenRow row)
    {
        Assembler assembler = new(row.Bits);
        row.Code(assembler);
        using MemoryStream stream = new();
        assembler.Assemble(new StreamCodeWriter(stream), row.Rip);
        return stream.ToArray();
    }

    private static List<Instruction> Decode(int bits, byte[] code, ulong at)
    {
        List<Instruction> instructions = [];
        Decoder decoder = Decoder.Create(bits, code, at);
        while (decoder.IP < at + (ulong)code.Length)
        {
            instructions.Add(decoder.Decode());
        }

        return instructions;
    }

    private static string Write(
        GoldenRow row,
        List<Instruction> guest,
        int guestBytes,
        CodeCache cache,
        in Block block,
        Thunks thunks)
    {
        List<Instruction> hot = Decode(64, new ReadOnlySpan<byte>(block.Code, block.CodeLength).ToArray(), (ulong)block.Code);
        List<Instruction> cold = Decode(64, new ReadOnlySpan<byte>(block.Cold, block.ColdLength).ToArray(), (ulong)block.Cold);
        HostNames names = new([.. hot, .. cold], thunks);
        Formatter formatter = NewFormatter(names);
        StringBuilder text = new();
        text.Append($"== {row.Name} ({row.Mode})\n");
        text.Append($"guest: {Count(guest.Count, guestBytes)}\n");
        foreach (Instruction instruction in guest)
        {
            text.Append($"    {Format(NewFormatter(null), instruction)}\n");
        }

        text.Append($"host: {Count(hot.Count, block.CodeLength)}\n");
        WriteHost(text, hot, formatter, names, cache, block);
        if (cold.Count > 0)
        {
            text.Append($"cold: {Count(cold.Count, block.ColdLength)}\n");
            WriteHost(text, cold, formatter, names, cache, block);
        }

        return text.ToString();
    }

    private static void WriteHost(
        StringBuilder text,
        List<Instruction> host,
        Formatter formatter,
        HostNames names,
        CodeCache cache,
        in Block block)
    {
        foreach (Instruction instruction in host)
        {
            WriteLabels(text, names, block, instruction.IP);

            // Iced asks for no name where there is no displacement.
            string line = Format(formatter, instruction)
                .Replace("[rsp]", "[rsp+FlagWord]", StringComparison.Ordinal);
            text.Append($"    {WithSideRow(line, cache, block, (byte*)instruction.IP)}\n");
        }
    }

    private static string Count(int instructions, int bytes) =>
        $"{instructions} instruction{(instructions == 1 ? "" : "s")}, {bytes} byte{(bytes == 1 ? "" : "s")}";

    private static void WriteLabels(StringBuilder text, HostNames names, in Block block, ulong at)
    {
        if (at == (ulong)block.HostFlagsEntry)
        {
            text.Append("  host-flags entry:\n");
        }

        if (at == (ulong)block.MemoryFlagsEntry)
        {
            text.Append("  memory-flags entry:\n");
        }

        if (names.Label(at) is string label)
        {
            text.Append($"  {label}:\n");
        }
    }

    // A pc of the side table: which guest instruction faults there, and whether its flags are the host's.
    private static string WithSideRow(string line, CodeCache cache, in Block block, byte* pc)
    {
        SideRow row = cache.FindRow(block, pc);
        string flags = row.HostFlags ? ", host flags" : "";
        return row.HostOffset < 0 ? line : $"{line,-44}; may fault: +{row.GuestOffset}{flags}";
    }

    private static string Format(Formatter formatter, in Instruction instruction)
    {
        StringOutput output = new();
        formatter.Format(instruction, output);
        return output.ToString();
    }

    private static IntelFormatter NewFormatter(ISymbolResolver? names)
    {
        IntelFormatter formatter = new(names);
        formatter.Options.HexPrefix = "0x";
        formatter.Options.HexSuffix = "";
        formatter.Options.SpaceAfterOperandSeparator = true;
        formatter.Options.ShowBranchSize = false;
        formatter.Options.RipRelativeAddresses = false;
        formatter.Options.SmallHexNumbersInDecimal = true;
        return formatter;
    }
}

/// <summary>Names for the addresses in a block: labels, thunks, and what lies behind RSP.</summary>
internal sealed unsafe class HostNames : ISymbolResolver
{
    private static readonly (int Offset, string Name)[] Fields =
    [
        (StateLayout.FlagWord, nameof(StateLayout.FlagWord)),
        (StateLayout.FlagWord + 1, "FlagWord+1"),
        (StateLayout.AttentionBits, nameof(StateLayout.AttentionBits)),
        (StateLayout.InterruptFlag, nameof(StateLayout.InterruptFlag)),
        (StateLayout.DirectionFlag, nameof(StateLayout.DirectionFlag)),
        (StateLayout.InterruptShadow, nameof(StateLayout.InterruptShadow)),
        (StateLayout.JumpCacheKey, nameof(StateLayout.JumpCacheKey)),
        (StateLayout.Scratch0, nameof(StateLayout.Scratch0)),
        (StateLayout.Rip, nameof(StateLayout.Rip)),
        (StateLayout.SystemFlags, nameof(StateLayout.SystemFlags)),
        (StateLayout.SystemFlags + 2, "SystemFlags+2"),
        (StateLayout.UserJumpCacheKey, nameof(StateLayout.UserJumpCacheKey)),
        (StateLayout.TscOffset, nameof(StateLayout.TscOffset)),
        (StateLayout.YmmDirty, nameof(StateLayout.YmmDirty)),
        (StateLayout.ExitReason, nameof(StateLayout.ExitReason)),
        (StateLayout.ExitOperand, nameof(StateLayout.ExitOperand)),
        (StateLayout.Scratch1, nameof(StateLayout.Scratch1)),
        (StateLayout.Scratch2, nameof(StateLayout.Scratch2)),
        (StateLayout.Cr2, nameof(StateLayout.Cr2)),
        (StateLayout.Cr4 + 2, "Cr4+2"),
        (StateLayout.UserPageSlots, nameof(StateLayout.UserPageSlots)),
        (StateLayout.InterruptWaiting, nameof(StateLayout.InterruptWaiting)),
    ];

    private static readonly string[] Segments = ["es", "cs", "ss", "ds", "fs", "gs"];
    private static readonly string[] Tlbs = ["KernelLoads", "KernelStores", "UserLoads", "UserStores"];
    private static readonly string[] JumpCaches = ["KernelJumps", "UserJumps"];
    private readonly Dictionary<ulong, string> _code = [];
    private readonly Dictionary<ulong, string> _labels = [];

    internal HostNames(List<Instruction> host, Thunks thunks)
    {
        AddThunks(thunks);
        SortedSet<ulong> targets = [];
        foreach (Instruction instruction in host)
        {
            ulong target = instruction.IsIPRelativeMemoryOperand
                ? instruction.IPRelativeMemoryAddress
                : instruction.NearBranchTarget;
            if (target >= host[0].IP && target < host[^1].NextIP)
            {
                targets.Add(target);
            }
        }

        foreach (ulong target in targets)
        {
            _labels[target] = $"L{_labels.Count + 1}";
        }
    }

    /// <inheritdoc/>
    public bool TryGetSymbol(
        in Instruction instruction,
        int operand,
        int instructionOperand,
        ulong address,
        int addressSize,
        out SymbolResult symbol)
    {
        symbol = default;
        switch (instructionOperand < 0 ? OpKind.Register : instruction.GetOpKind(instructionOperand))
        {
            case OpKind.NearBranch64:
            case OpKind.Memory when instruction.MemoryBase == Register.RIP:
                symbol = new SymbolResult(address, Label(address) ?? Thunk(address));
                return true;
            case OpKind.Memory when instruction.MemoryBase == Register.RSP && instruction.Mnemonic != Mnemonic.Lea:
                bool indexed = instruction.MemoryIndex != Register.None;
                symbol = new SymbolResult(address, StateName((int)address + StateLayout.PointerBias, indexed));
                return true;
            default:
                return false;
        }
    }

    /// <summary>The label at a host pc of the block; null when nothing jumps there.</summary>
    internal string? Label(ulong address) => _labels.GetValueOrDefault(address);

    private string Thunk(ulong address) => _code.TryGetValue(address, out string? name)
        ? name
        : throw new InvalidOperationException("generated code names an address that is no thunk");

    private static string StateName(int offset, bool indexed)
    {
        if (offset >= StateLayout.TlbBase)
        {
            return TableName(offset, indexed);
        }

        if (offset < StateLayout.FlagWord)
        {
            return $"UserStack{(offset < 16 ? "Loads" : "Stores")}Slot.{(offset % 16 == 0 ? "Tag" : "Addend")}";
        }

        if (offset >= StateLayout.HashedBase)
        {
            (int hashed, int slot) = Math.DivRem((offset - StateLayout.HashedBase) / 16, StateLayout.HashedSlots);
            return $"{Tlbs[hashed]}HashedSlots{(indexed ? "" : $"[{slot}]")}.{(offset % 16 == 0 ? "Tag" : "Host")}";
        }

        if (offset >= StateLayout.SlotBase)
        {
            (int kind, int slot) = Math.DivRem((offset - StateLayout.SlotBase) / 16, StateLayout.SlotEntries);
            return $"{Tlbs[kind]}Slot[{slot}].{(offset % 16 == 0 ? "Tag" : "Addend")}";
        }

        if (offset >= StateLayout.Gpr && offset < StateLayout.GprSlot(16))
        {
            Register register = Register.RAX + ((offset - StateLayout.Gpr) / 8);
            return $"Gpr.{register.ToString().ToLowerInvariant()}";
        }

        if (offset >= StateLayout.SegmentBase(0) && offset < StateLayout.SegmentBase(6))
        {
            (int segment, int part) = Math.DivRem(offset - StateLayout.SegmentBase(0), sizeof(CpuSegment));
            return $"{Segments[segment]}.{(part == 0 ? "Base" : part == 16 ? "Selector" : "Limit")}";
        }

        return Array.Find(Fields, field => field.Offset == offset).Name
            ?? (offset == StateLayout.Rip + 4 ? "Rip.High" : null)
            ?? throw new InvalidOperationException($"generated code names no field at [rsp+0x{offset:x}]");
    }

    // A table by name, with the line where the code knows it.
    private static string TableName(int offset, bool indexed)
    {
        bool jumps = offset >= StateLayout.JumpCacheBase;
        int line = (offset - (jumps ? StateLayout.JumpCacheBase : StateLayout.TlbBase)) / 16;
        int lines = jumps ? StateLayout.JumpCacheEntries : StateLayout.TlbEntries;
        string table = (jumps ? JumpCaches : Tlbs)[line / lines];
        string number = indexed && line % lines == 0 ? "" : $"[{line % lines}]";
        return $"{table}{number}.{(offset % 16 == 0 ? "Tag" : jumps ? "Host" : "Addend")}";
    }

    private void AddThunks(Thunks thunks)
    {
        _code[(ulong)thunks.LinkExit] = nameof(thunks.LinkExit);
        _code[(ulong)thunks.DispatchExit] = nameof(thunks.DispatchExit);
        _code[(ulong)thunks.InterruptReturn] = nameof(thunks.InterruptReturn);
        _code[(ulong)thunks.CloseUserPages] = nameof(thunks.CloseUserPages);
        _code[(ulong)thunks.AtomicAcross] = nameof(thunks.AtomicAcross);
        _code[(ulong)thunks.BranchExit] = nameof(thunks.BranchExit);
        _code[(ulong)thunks.Assist] = nameof(thunks.Assist);
        _code[(ulong)thunks.CarefulLoad] = nameof(thunks.CarefulLoad);
        _code[(ulong)thunks.CarefulStore] = nameof(thunks.CarefulStore);
        foreach (int size in (int[])[1, 2, 4, 8, 10, 16, 32, 64])
        {
            _code[(ulong)thunks.Slow(size, false)] = $"SlowLoad{size}";
            _code[(ulong)thunks.Slow(size, true)] = $"SlowStore{size}";
            for (int kind = 0; kind < 4 && Thunks.IsLookedUp(size); kind++)
            {
                _code[(ulong)thunks.Lookup((kind & 2) != 0, (kind & 1) != 0, size, false)] = $"Lookup{Tlbs[kind]}{size}";
                _code[(ulong)thunks.Lookup((kind & 2) != 0, (kind & 1) != 0, size, true)] = $"LookupHashed{Tlbs[kind]}{size}";
            }
        }

        _code[(ulong)thunks.PageMask] = nameof(thunks.PageMask);
    }
}
