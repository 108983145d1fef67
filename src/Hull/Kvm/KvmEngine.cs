using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Bus;
using Hull.Engine;
using Hull.Host;
using Hull.Kvm.Abi;
using Hull.Memory;
using Hull.Platform;

namespace Hull.Kvm;

/// <summary>
/// The KVM engine: the host kernel runs the guest on the CPU. Local APICs are the kernel's, all other devices Hull's
/// (a split irqchip); ports and MMIO go through the same <see cref="IoBus"/> as on the soft engine. Start reading in
/// docs/kvm.md, then <see cref="KvmVcpu.Run"/>.
/// </summary>
internal sealed class KvmEngine : IEngine, IMsiLines, IIoApicRoutes, IInterruptInjector
{
    private const int Inputs = PlatformMap.IoApicInputs;
    private const int HaltLookMs = 250;

    private readonly Lock _lock = new();
    private readonly KvmVm _vm;
    private readonly List<KvmVcpu> _vcpus = [];
    private readonly KvmDirtyRings? _rings;
    private KvmCpuid _cpuidTable;
    private ulong? _tscOffset;
    private IExtIntSource? _extInt;
    private Action<byte>? _endOfInterrupt;
    private JoinedTimer? _haltWatch;

    /// <summary>Makes the virtual machine, with its memory.</summary>
    /// <param name="system">/dev/kvm; the engine takes it over.</param>
    /// <param name="memory">RAM.</param>
    /// <param name="bus">Ports and MMIO.</param>
    /// <param name="personality">Hypervisor leaves and MSRs. KVM's own clock and hypercalls are the kernel's.</param>
    /// <param name="cpuid">What the guest is told of its CPU, over <see cref="KvmSystem.Supported"/>.</param>
    /// <param name="dirtyRingEntries">Log written pages in rings of as many entries (a power of two); 0: in bitmaps.</param>
    /// <exception cref="HullException">KVM cannot; the message names the ioctl and the error.</exception>
    internal KvmEngine(
        KvmSystem system,
        GuestMemory memory,
        IoBus bus,
        IPersonality personality,
        CpuidPolicy cpuid,
        int dirtyRingEntries = 0)
    {
        Device = system;
        Memory = memory;
        Bus = bus;
        Personality = personality;
        Cpuid = cpuid;
        _cpuidTable = new KvmCpuid(cpuid, personality, system.Supported);
        _vm = new KvmVm(system, Inputs);
        try
        {
            _rings = dirtyRingEntries == 0 ? null : new KvmDirtyRings(_vm, dirtyRingEntries);
            Slots = new KvmSlots(_vm.File, memory);
            Doorbells = new KvmDoorbells(_vm.File);
            bus.Doorbells = Doorbells;
            Routes = new KvmRoutes(_vm.File, Inputs);
            _vm.RouteMsrs(cpuid);
            HasXcrs = _vm.File.Check(KvmCapability.Xcrs) != 0;
        }
        catch
        {
            _vm.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public string Name => "kvm";

    internal KvmSystem Device { get; }

    internal GuestMemory Memory { get; }

    internal IoBus Bus { get; }

    /// <summary>Hypervisor leaves, MSRs and, after <see cref="TakeHypercalls"/>, hypercalls.</summary>
    internal IPersonality Personality { get; private set; }

    internal CpuidPolicy Cpuid { get; }

    /// <summary>KVM_GET_XCRS is there: the host's CPU has XSAVE.</summary>
    internal bool HasXcrs { get; }

    /// <summary>Memory slots and their dirty log.</summary>
    internal KvmSlots Slots { get; }

    /// <summary>The notifications that the kernel takes.</summary>
    internal KvmDoorbells Doorbells { get; }

    /// <summary>The messages that the kernel sends by itself.</summary>
    internal KvmRoutes Routes { get; }

    /// <summary>The virtual machine.</summary>
    internal KvmFile File => _vm.File;

    /// <summary>Connects what the board has and the kernel has not. Before vCPUs are made.</summary>
    /// <param name="extInt">The 8259s at LINT0 of the first vCPU.</param>
    /// <param name="endOfInterrupt">Gets the vector of each EOI of a level-triggered interrupt, on a vCPU's thread.</param>
    internal void Connect(IExtIntSource extInt, Action<byte> endOfInterrupt)
    {
        _extInt = extInt;
        _endOfInterrupt = endOfInterrupt;
    }

    /// <summary>
    /// From now on the guest finds a personality that answers hypercalls, and tells time by the TSC: it is the same on all
    /// vCPUs. Before vCPUs are made.
    /// </summary>
    /// <param name="personality">Who answers.</param>
    /// <param name="tscOffset">The guest's TSC is the host's and this.</param>
    /// <exception cref="HullException">This kernel's KVM keeps hypercalls to itself, or a counter's offset does not last.</exception>
    internal void TakeHypercalls(IPersonality personality, ulong tscOffset)
    {
        _vm.InterceptHypercalls(personality.HypercallMsr);
        if (!HostTsc.IsStable())
        {
            // KVM then sets each guest's offset anew whenever the vCPU's thread is scheduled, so that its time stands still between.
            throw new HullException("this host's time-stamp counters do not agree (Linux has no clock source \"tsc\"), "
                + "and by them a guest tells Xen's time: --xen needs --engine soft");
        }

        Personality = personality;
        _tscOffset = tscOffset;
        _cpuidTable = new KvmCpuid(Cpuid, personality, Device.Supported);
        WatchHalts();
    }

    /// <summary>
    /// From now on the personality hears of vCPUs that halt with interrupts off. With the local APICs in the kernel HLT is no
    /// exit, so each vCPU is called out four times a second to look.
    /// </summary>
    internal void WatchHalts() => _haltWatch ??= new JoinedTimer(LookForHalts, HaltLookMs, HaltLookMs);

    /// <summary>The output of the 8259s may have changed. Any thread.</summary>
    internal void ExtIntChanged()
    {
        KvmVcpu? first;
        lock (_lock)
        {
            first = _vcpus.Count > 0 ? _vcpus[0] : null;
        }

        first?.InterruptChanged();
    }

    /// <inheritdoc/>
    /// <param name="index">The index, which is also the APIC id.</param>
    /// <param name="apic">Null: the kernel has it.</param>
    public IVcpu CreateVcpu(int index, ILocalApic? apic)
    {
        KvmVcpu vcpu = new(this, index, index == 0 ? _extInt : null);
        try
        {
            _cpuidTable.Set(vcpu.File, index);
            if (_tscOffset is ulong offset)
            {
                vcpu.SetTscOffset(offset);
            }

            _rings?.Add(vcpu.File);
        }
        catch
        {
            vcpu.Dispose();
            throw;
        }

        lock (_lock)
        {
            _vcpus.Add(vcpu);
        }

        return vcpu;
    }

    /// <inheritdoc/>
    public void Send(MsiMessage message) => _ = TrySend(message);

    /// <summary>As <see cref="Send"/>.</summary>
    /// <returns>False when no local APIC took it.</returns>
    internal bool TrySend(MsiMessage message) => IsInterrupt(message) && _vm.Signal(message);

    /// <summary>False for a message that is a write to memory or elsewhere, which no card of Hull's needs.</summary>
    internal static bool IsInterrupt(MsiMessage message) => message.Address >> 20 == PlatformMap.LocalApicBase >> 20;

    /// <inheritdoc/>
    public IMsiLine OpenLine() => new KvmMsiLine(this);

    /// <inheritdoc/>
    public void Inject(int vcpu, byte vector)
    {
        KvmVcpu? target;
        lock (_lock)
        {
            target = vcpu < _vcpus.Count ? _vcpus[vcpu] : null;
        }

        target?.Inject(vector);
    }

    /// <inheritdoc/>
    /// <remarks>KVM takes an external interrupt from user space only while LINT0 is open (kvm_cpu_accept_dm_intr).</remarks>
    public bool TryInjectPastApic(int vcpu, byte vector) => false;

    /// <inheritdoc/>
    public void InjectNmi(int vcpu)
    {
        KvmVcpu? target;
        lock (_lock)
        {
            target = vcpu < _vcpus.Count ? _vcpus[vcpu] : null;
        }

        target?.Nmi();
    }

    /// <inheritdoc/>
    public void Route(int input, MsiMessage message) => Routes.SetInput(input, message);

    /// <summary>A vCPU ended a level-triggered interrupt.</summary>
    internal void EndOfInterrupt(byte vector) => _endOfInterrupt?.Invoke(vector);

    /// <summary>Starts or ends the log of written pages of RAM: vCPUs' by the kernel, devices' by <see cref="PageTracker"/>.</summary>
    internal void LogDirty(bool on)
    {
        Memory.Pages.LogWrites(on);
        Slots.LogDirty(on);
    }

    /// <summary>Fetches and clears the log. Any thread.</summary>
    /// <param name="pages">Gets a bit a written page of RAM; other bits stay.</param>
    internal void CollectDirty(Span<ulong> pages)
    {
        if (_rings is null)
        {
            Slots.CollectDirty(pages);
        }
        else
        {
            _rings.Collect(Slots, pages);
        }

        Memory.Pages.CollectWrites(pages);
    }

    /// <summary>A ring is full: keeps its pages for the next <see cref="CollectDirty"/>. On a vCPU's thread.</summary>
    /// <returns>False when there was nothing in it.</returns>
    internal bool DrainRings() => _rings?.Drain(Slots) ?? false;

    /// <summary>Makes the kernel's side of a vCPU.</summary>
    /// <returns>The vCPU's file descriptor.</returns>
    internal int CreateKernelVcpu(int index) => _vm.File.Call(KvmRequests.CreateVcpu, (nuint)index);

    /// <inheritdoc/>
    public IReadOnlyList<EngineCounter> ReadCounters()
    {
        SortedDictionary<string, ulong> sums = new(StringComparer.Ordinal);
        foreach (KvmVcpu vcpu in _vcpus)
        {
            foreach (EngineCounter counter in vcpu.Counters.Read())
            {
                sums[counter.Name] = sums.GetValueOrDefault(counter.Name) + counter.Value;
            }
        }

        sums["irqfds"] = Routes.Made;
        sums["irqfd-signals"] = Routes.Signals;
        List<EngineCounter> counters = [];
        foreach ((string name, ulong value) in sums)
        {
            counters.Add(new EngineCounter(name, value));
        }

        return counters;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _haltWatch?.Dispose();
        foreach (KvmVcpu vcpu in _vcpus)
        {
            vcpu.Dispose();
        }

        _rings?.Dispose();
        _vm.Dispose();
        Routes.Dispose(); // behind the machine, which lets go of all irqfds at once
        Device.Dispose();
    }

    private void LookForHalts()
    {
        lock (_lock)
        {
            foreach (KvmVcpu vcpu in _vcpus)
            {
                vcpu.LookForHalt();
            }
        }
    }
}
