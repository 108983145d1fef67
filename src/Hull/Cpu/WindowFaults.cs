using System.Collections.Generic;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Cpu.Translate;

namespace Hull.Cpu;

/// <summary>
/// An access through a window met what is not mapped there. Mostly the guest's tables have the page: it is mapped, and the host's
/// instruction runs again. Else nothing of the guest's instruction has happened yet, and it takes the slow path: the guest's own
/// page fault, or a careful access. See docs/translator.md, "Windows".
/// </summary>
internal sealed unsafe class WindowFaults
{
    // Careful accesses of an instruction until its accesses are checked.
    private const int Patience = 16;
    private const int MostSites = 4096;
    private const int WriteError = 2;
    private readonly SoftVcpu _vcpu;
    private readonly CpuState* _cpu;
    private readonly SoftEngine _engine;
    private readonly CodeCache _cache;
    private readonly Windows _windows;
    private readonly Dictionary<ulong, int> _stubborn = [];
    private bool _isGuests;

    internal WindowFaults(SoftVcpu vcpu, SoftEngine engine)
    {
        _vcpu = vcpu;
        _cpu = vcpu.Cpu;
        _engine = engine;
        _cache = engine.Cache;
        _windows = vcpu.Tlb.Windows;
    }

    /// <summary>Generated code was left: goes on where it was if that was a window's fault that is mended.</summary>
    internal bool TryMend()
    {
        if ((ExitReason)_cpu->ExitReason != ExitReason.HostFault || _cpu->FaultSignal != Vector.Page
            || !_windows.TryLinear(_cpu->Scratch2, out ulong linear))
        {
            return false;
        }

        bool store = (_cpu->FaultError & WriteError) != 0;
        if (!_vcpu.Mmu.Translate(linear, store ? Access.Store : Access.Load, out PageTranslation page))
        {
            _isGuests = true;
            return false;
        }

        bool mended = page.Host != null && _windows.TryMap(linear, page, store);
        if (_windows.IsTired)
        {
            _windows.Close();
            _vcpu.Tlb.Jumps.Flush();
        }

        return mended;
    }

    /// <summary>Leaves a block for such a fault: RIP and the flags are the instruction's.</summary>
    /// <param name="isGuests">The guest's page fault is recorded; else the access must be made carefully.</param>
    /// <returns>False when it is another host fault.</returns>
    internal bool TryLeave(out bool isGuests)
    {
        isGuests = _isGuests;
        _isGuests = false;
        if (_cpu->FaultSignal is not (Vector.Page or Vector.GeneralProtection or Vector.Stack))
        {
            return false;
        }

        byte* pc = (byte*)_cpu->FaultPc;
        int index = _cache.FindByHostPc(pc);
        if (index < 0 || (_cache.Blocks[index].Key.Mode & BlockMode.Windows) == 0)
        {
            return false;
        }

        SideRow row = _cache.FindRowBefore(_cache.Blocks[index], pc);
        if (row.HostOffset < 0)
        {
            return false;
        }

        _cpu->Rip = _cache.Blocks[index].Key.Rip + row.GuestOffset;
        if (row.HostFlags)
        {
            _cpu->ArithmeticFlags = _cpu->Scratch1;
        }

        if (!isGuests)
        {
            _windows.WantsRegion = _cpu->FaultSignal == Vector.Page && _windows.IsNowhere(_cpu->Scratch2);
            NoteStubborn(index, _cache.Blocks[index].Key.Physical + row.GuestOffset);
        }

        return true;
    }

    // Instructions that reach devices, or store beside code, are faster with a check.
    private void NoteStubborn(int index, ulong site)
    {
        if (_stubborn.Count >= MostSites)
        {
            _stubborn.Clear();
        }

        int times = _stubborn.GetValueOrDefault(site) + 1;
        _stubborn[site] = times;
        if (times >= Patience)
        {
            _stubborn.Remove(site);
            _engine.CheckAccesses(index, site);
        }
    }
}
