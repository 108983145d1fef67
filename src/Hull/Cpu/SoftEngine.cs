using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using Hull.Bus;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Cpu.Translate;
using Hull.Engine;
using Hull.Host;
using Hull.Memory;
using Hull.Timeline;

namespace Hull.Cpu;

/// <summary>
/// The soft engine: a same-ISA binary translator. One code cache serves all vCPUs of a machine. Start reading in
/// docs/translator.md, then <see cref="SoftVcpu.Run"/> and <see cref="Translator"/>.
/// </summary>
internal sealed unsafe class SoftEngine : IEngine, ICodeWatcher
{
    /// <summary>Room for generated code.</summary>
    internal const nuint DefaultCodeBytes = 128 << 20;

    private readonly List<SoftVcpu> _vcpus = [];
    private readonly Translator _translator;
    private readonly Thunks _thunks;
    private readonly Action<int> _forget;
    private readonly delegate* unmanaged<CpuState*, byte*, ulong> _enter;
    private readonly delegate* unmanaged<CpuState*, ulong> _resume;

    /// <summary>
    /// Room for generated code: a small guest's translations, and their tables of about the same size, take no more memory than
    /// the guest. They are flushed when the room is full.
    /// </summary>
    /// <param name="memoryBytes">The guest's RAM.</param>
    internal static nuint CodeBytesFor(ulong memoryBytes) =>
        (nuint)Math.Clamp((memoryBytes / 4) + (16 << 20), 32 << 20, DefaultCodeBytes) & ~(nuint)0xFFFF;

    internal SoftEngine(
        GuestMemory memory,
        IoBus bus,
        IMachineClock clock,
        IPersonality? personality,
        CpuidPolicy cpuid,
        nuint codeBytes = DefaultCodeBytes)
    {
        Memory = memory;
        Bus = bus;
        Clock = clock;
        Personality = personality;
        Cpuid = cpuid;
        bool avx = cpuid.Features.Has(CpuFeature.Avx);
        Cache = new CodeCache(memory, codeBytes);
        _thunks = new Thunks(Cache.Emitter, avx, HostCpu.HasFastPext);
        Cache.SealThunks();
        _forget = Forget;
        Guard = new FetchGuard(Cache, memory, _vcpus, _forget);
        Exclusive = new ExclusiveSection(_vcpus);
        SharedKernel = new SharedKernelMap(memory, _vcpus);
        CrossLinks = new CrossLinks(this);
        _translator = new Translator(Cache, _thunks, Guard, cpuid.Features, cpuid.IsIntel);
        _enter = (delegate* unmanaged<CpuState*, byte*, ulong>)_thunks.Enter;
        _resume = (delegate* unmanaged<CpuState*, ulong>)_thunks.Resume;
        HostSignals.Register(Cache.CodeStart, Cache.Base + Cache.Size, _thunks.HostFault);
        memory.Pages.Watch(this);
        memory.Shadow.Changed += RequestFlush;
        memory.Spare.Removed += _ => RequestFlush();
    }

    /// <inheritdoc/>
    public string Name => "soft";

    internal GuestMemory Memory { get; }

    internal IoBus Bus { get; }

    internal IMachineClock Clock { get; }

    internal IPersonality? Personality { get; }

    internal CpuidPolicy Cpuid { get; }

    internal CodeCache Cache { get; }

    /// <summary>
    /// Held while the code cache is read or changed. Its holder waits for no vCPU and takes no device's lock.
    /// </summary>
    internal Lock CodeLock { get; } = new();

    /// <summary>Two vCPUs or more.</summary>
    internal bool IsShared { get; private set; }

    /// <summary>Stops all vCPUs but one.</summary>
    internal ExclusiveSection Exclusive { get; }

    /// <summary>Stores of other vCPUs to what is being translated.</summary>
    internal FetchGuard Guard { get; }

    /// <summary>Whether links between pages are good for all vCPUs.</summary>
    internal SharedKernelMap SharedKernel { get; }

    /// <summary>What goes when translations go.</summary>
    internal CrossLinks CrossLinks { get; }

    /// <summary>An instruction that is not known ends the run instead of raising #UD.</summary>
    internal bool Strict { get; init; }

    /// <summary>Deterministic mode: the timers that are driven by the instructions of the one vCPU.</summary>
    internal VirtualTimerQueue? VirtualTimers
    {
        get;
        init
        {
            field = value;
            _translator.CountsInstructions = value is not null;
        }
    }

    /// <summary>Instructions in a block at the most; 1 for comparisons of blocks with single steps.</summary>
    internal int BlockLimit
    {
        init => _translator.Limit = value;
    }

    /// <summary>Times that the whole cache was emptied.</summary>
    internal ulong CacheFlushes { get; private set; }

    /// <summary>Blocks that were translated and that were invalidated.</summary>
    internal ulong Translations { get; private set; }

    internal ulong Invalidations { get; private set; }

    /// <summary>Time spent translating, in nanoseconds.</summary>
    internal long TranslationNs => (long)((double)_translationTicks * 1e9 / HostTsc.Hz);

    /// <summary>Guest instructions translated.</summary>
    internal ulong TranslatedInstructions => _translator.TranslatedInstructions;

    private ulong _translationTicks;

    /// <inheritdoc/>
    public IVcpu CreateVcpu(int index, ILocalApic? apic)
    {
        ArgumentNullException.ThrowIfNull(apic);
        SoftVcpu vcpu = new(this, index, apic);
        _vcpus.Add(vcpu);
        IsShared = _translator.IsShared = _vcpus.Count > 1;
        return vcpu;
    }

    /// <inheritdoc/>
    public IReadOnlyList<EngineCounter> ReadCounters()
    {
        List<EngineCounter> counters =
        [
            new("translations", Translations),
            new("copied-blocks", _translator.Copies),
            new("translated-instructions", TranslatedInstructions),
            new("translation-ns", (ulong)TranslationNs),
            new("invalidations", Invalidations),
            new("invalidations-by-device", Invalidations - Stored()),
            new("chain-links", Cache.ChainLinks),
            new("chain-breaks", Cache.ChainBreaks),
            new("cache-flushes", CacheFlushes),
            new("late-stores", Guard.LateStores),
            new("blocks-in-doubt", Guard.Doubts),
            new("exclusive-sections", Exclusive.Stops),
            new("code-bytes", Cache.CodeBytes),
            new("cold-code-bytes", Cache.ColdBytes),
        ];
        if (VirtualTimers is not null)
        {
            counters.Add(new("instructions", (ulong)_vcpus[0].Budget!.Executed)); // the mode has exactly one vCPU
            counters.Add(new("virtual-ns", (ulong)Clock.NowNs));
            counters.Add(new("state-hash", HashState(false)));
        }

        SortedDictionary<string, ulong> sums = new(StringComparer.Ordinal);
        foreach (SoftVcpu vcpu in _vcpus)
        {
            foreach (EngineCounter counter in vcpu.Counters.Read(vcpu.Tlb).Concat(vcpu.Counters.ReadAssists()))
            {
                sums[counter.Name] = sums.GetValueOrDefault(counter.Name) + counter.Value;
            }
        }

        counters.AddRange(sums.Select(static sum => new EngineCounter(sum.Key, sum.Value)));
        return counters;
    }

    /// <summary>Deterministic mode: the only vCPU now, on its own thread.</summary>
    /// <returns>Instructions run, the next one, and a hash of the registers.</returns>
    internal (long Executed, ulong Rip, ulong Registers) Observe()
    {
        SoftVcpu vcpu = _vcpus[0];
        return (vcpu.Budget!.Executed, vcpu.Cpu->Rip, vcpu.HashState(true));
    }

    /// <summary>A hash of RAM and of all vCPUs' registers; <paramref name="running"/>: on the only vCPU's thread.</summary>
    internal ulong HashState(bool running)
    {
        StateHash hash = default;
        foreach (SoftVcpu vcpu in _vcpus)
        {
            hash.Add(vcpu.HashState(running));
        }

        hash.Add(Memory.Hash());
        return hash.Value;
    }

    /// <summary>Runs generated code until it leaves.</summary>
    internal void Enter(CpuState* cpu, byte* entry) => _enter(cpu, entry);

    /// <summary>Goes on where the host's last fault in generated code was.</summary>
    internal void Resume(CpuState* cpu) => _resume(cpu);

    /// <summary>Where the flags are at the jump for which blocks are translated from now on.</summary>
    internal FlagPlace UsualFlags
    {
        set => _translator.UsualFlags = value;
    }

    /// <summary>The accesses of an instruction, by its guest-physical address, are checked from now on. Not under the code lock.</summary>
    internal void CheckAccesses(int block, ulong site)
    {
        lock (CodeLock)
        {
            Cache.PlainSites.Add(site);
            if (Cache.Blocks[block].Valid)
            {
                Cache.InvalidateBlock(block, _forget);
            }
        }
    }

    /// <summary>What all windows together may take of the host.</summary>
    internal WindowRoom WindowRoom { get; } = new();

    /// <summary>Programs may get windows: the host can keep flags over an access, and nobody counts instructions.</summary>
    internal bool HasWindows => HostCpu.HasFastPext && VirtualTimers is null && Windows != WindowUse.Never;

    /// <summary>Which programs get windows.</summary>
    internal WindowUse Windows { get; init; } = Asked();

    /// <summary>Translates a block. Under the code lock, with room in the cache. Returns -1 when fetching faulted.</summary>
    internal int Translate(SoftVcpu vcpu, in BlockKey key, ulong linear, byte* hostPage, int limit)
    {
        ulong start = HostTsc.Read();
        int index = _translator.Translate(vcpu, key, linear, hostPage, limit);
        _translationTicks += HostTsc.Read() - start;
        Translations++;
        return index;
    }

    /// <summary>
    /// The same for 64-bit code that nobody has come to yet: -1 and no fault where its first instruction lies in two pages.
    /// </summary>
    internal int TranslateAhead(SoftVcpu vcpu, in BlockKey key, byte* hostPage)
    {
        _translator.StaysInPage = true;
        int index = Translate(vcpu, key, key.Rip, hostPage, Translator.MaximumInstructions);
        _translator.StaysInPage = false;
        return index;
    }

    /// <summary>Where the call that ends the block that was translated last returns to; 0 when it does not end in one.</summary>
    internal ulong ReturnPoint => _translator.ReturnPoint;

    /// <summary>Empties the full code cache, with all other vCPUs stopped. Not under the code lock.</summary>
    internal void FlushCache(SoftVcpu vcpu)
    {
        Exclusive.Begin(vcpu);
        try
        {
            lock (CodeLock)
            {
                if (Cache.IsFull)
                {
                    FlushCache();
                }
            }
        }
        finally
        {
            Exclusive.End();
        }
    }

    /// <summary>Blocks may hold bytes that another vCPU has changed meanwhile: looks at them. Not under the code lock.</summary>
    internal void VerifyFetches()
    {
        lock (CodeLock)
        {
            Guard.Verify();
        }
    }

    /// <summary>Lets a link that can never be patched to its target look into the jump cache first.</summary>
    internal void SendThroughJumpCache(int link, bool user)
    {
        if (!Cache.IsFull)
        {
            _translator.SendThroughJumpCache(link, user);
        }
    }

    /// <summary>
    /// Generated code at <paramref name="pc"/> is about to store to [offset, offset + length) of RAM. False when that is its
    /// own block's code. Not under the code lock.
    /// </summary>
    internal bool TryMakeWay(ulong offset, ulong length, byte* pc)
    {
        lock (CodeLock)
        {
            return Cache.TryMakeWay(offset, length, pc, _forget);
        }
    }

    /// <inheritdoc/>
    public void CodeWritten(ulong offset, ulong length)
    {
        lock (CodeLock)
        {
            Cache.Invalidate(offset, length, _forget);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        HostSignals.Unregister(Cache.CodeStart);
        foreach (SoftVcpu vcpu in _vcpus)
        {
            vcpu.Dispose();
        }

        Cache.Dispose();
    }

    // Blocks that went because a vCPU wrote over them; the rest went because a device or a loader did.
    private ulong Stored()
    {
        ulong sum = 0;
        foreach (SoftVcpu vcpu in _vcpus)
        {
            sum += vcpu.Counters.StoreInvalidations;
        }

        return sum;
    }

    // Pages of the guest's are somewhere else, or may no longer be written.
    private void RequestFlush() => _vcpus.ForEach(static vcpu => vcpu.RequestFlush());

    private void FlushCache()
    {
        Cache.Flush();
        _translator.Clear();
        Guard.Clear();
        SharedKernel.Clear();
        CacheFlushes++;
        foreach (SoftVcpu vcpu in _vcpus)
        {
            vcpu.Tlb.Jumps.Flush();
        }
    }

    // For looking for defects: docs/translator.md, "Windows".
    private static WindowUse Asked() => Environment.GetEnvironmentVariable("HULL_WINDOWS") switch
    {
        "never" => WindowUse.Never,
        "always" => WindowUse.Always,
        _ => WindowUse.ForLongRuns,
    };

    private void Forget(int index)
    {
        Invalidations++;
        ref Block block = ref Cache.Blocks[index];
        foreach (SoftVcpu vcpu in _vcpus)
        {
            vcpu.Tlb.Jumps.Drop(block.Key.Rip, (block.Key.Mode & BlockMode.User) != 0, block.MemoryFlagsEntry);
        }
    }
}
