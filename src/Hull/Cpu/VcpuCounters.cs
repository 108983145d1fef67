using System.Collections.Generic;
using Hull.Cpu.Mmu;
using Hull.Cpu.Translate;
using Hull.Engine;
using Iced.Intel;

namespace Hull.Cpu;

/// <summary>What a vCPU counts on its slow paths; translated code counts only the accesses that missed their page slot.</summary>
internal sealed class VcpuCounters
{
    private readonly ulong[] _exits = new ulong[16];
    private readonly ulong[] _assists = new ulong[2048];

    /// <summary>Loads that missed the inline TLB.</summary>
    internal ulong LoadMisses;

    /// <summary>Stores that missed the inline TLB.</summary>
    internal ulong StoreMisses;

    /// <summary>Misses that needed no page walk.</summary>
    internal ulong VictimHits;

    /// <summary>Stores beside code in a page that holds some.</summary>
    internal ulong StoresBesideCode;

    /// <summary>Blocks that went because this vCPU wrote over them.</summary>
    internal ulong StoreInvalidations;

    /// <summary>INVLPG and its kin.</summary>
    internal ulong PageFlushes;

    /// <summary>Blocks looked up by physical address.</summary>
    internal ulong Lookups;

    /// <summary>Exceptions and interrupts delivered.</summary>
    internal ulong Events;

    /// <summary>Counts an exit from generated code.</summary>
    internal void CountExit(ulong reason) => _exits[reason & 15]++;

    /// <summary>Counts an assist by its mnemonic.</summary>
    internal void CountAssist(Mnemonic mnemonic) => _assists[(int)mnemonic & 2047]++;

    /// <summary>The assists that ran, by name.</summary>
    internal IEnumerable<EngineCounter> ReadAssists()
    {
        for (int i = 0; i < _assists.Length; i++)
        {
            if (_assists[i] != 0)
            {
                yield return new($"assist-{((Mnemonic)i).ToString().ToLowerInvariant()}", _assists[i]);
            }
        }
    }

    /// <summary>The other counters.</summary>
    internal IEnumerable<EngineCounter> Read(Tlb tlb)
    {
        yield return new("exits-dispatch", _exits[(int)ExitReason.Dispatch]);
        yield return new("exits-branch", _exits[(int)ExitReason.Branch]);
        yield return new("exits-link", _exits[(int)ExitReason.Link]);
        yield return new("exits-assist", _exits[(int)ExitReason.AssistJump]);
        yield return new("exits-fault", _exits[(int)ExitReason.Fault]);
        yield return new("exits-halt", _exits[(int)ExitReason.Halt]);
        yield return new("exits-careful", _exits[(int)ExitReason.Careful]);
        yield return new("exits-host-fault", _exits[(int)ExitReason.HostFault]);
        yield return new("block-lookups", Lookups);
        yield return new("events", Events);
        yield return new("slot-misses", tlb.SlotMisses);
        yield return new("tlb-load-misses", LoadMisses);
        yield return new("tlb-store-misses", StoreMisses);
        yield return new("tlb-victim-hits", VictimHits);
        yield return new("tlb-page-flushes", PageFlushes);
        yield return new("tlb-flushes", tlb.Flushes);
        yield return new("tlb-full-flushes", tlb.FullFlushes);
        yield return new("jump-cache-flushes", tlb.Jumps.Flushes);
        yield return new("invalidations-by-store", StoreInvalidations);
        yield return new("stores-beside-code", StoresBesideCode);
        yield return new("window-faults", tlb.Windows.Faults);
        yield return new("window-pages", tlb.Windows.Mapped);
        yield return new("window-pages-dropped", tlb.Windows.Dropped);
        yield return new("windows-opened", tlb.Windows.Openings);
        yield return new("windows-closed", tlb.Windows.Closings);
    }
}
