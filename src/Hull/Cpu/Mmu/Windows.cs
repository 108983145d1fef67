using System.Collections.Generic;
using System.Threading;
using Hull.Cpu.State;
using Hull.Host;
using Hull.Memory;

namespace Hull.Cpu.Mmu;

/// <summary>
/// A vCPU's windows: pages of a program that runs long, mapped by the host where its generated code reaches them without a check.
/// They are one more TLB: filled by faults (<see cref="WindowFaults"/>), and right under the same conditions as the others.
/// See docs/translator.md, "Windows".
/// </summary>
internal sealed unsafe class Windows
{
    private const int MostSpaces = 8;

    // So many pages tell whether tables are still those of the same program.
    private const int Telling = 8;

    // Devices interrupt more often than this.
    private const int TicksASecond = 400;
    private readonly CpuState* _cpu;
    private readonly GuestMemory _memory;
    private readonly int _physicalBits;
    private readonly Lock _gate = new();
    private readonly List<WindowSpace> _spaces = [];
    private readonly WindowPages _pages = new();
    private readonly WindowFiller _filler;
    private readonly WindowRoom _room;
    private readonly LongRuns _runs = new();
    private readonly WindowPlaces _places;
    private WindowSpace? _current;
    private ulong _lastRoot;
    private ulong _lastTick;
    private bool _isRefused;
    private bool _isPaused;

    internal Windows(CpuState* cpu, GuestMemory memory, int physicalBits, WindowRoom room)
    {
        _room = room;
        _cpu = cpu;
        _memory = memory;
        _physicalBits = physicalBits;
        _places = new WindowPlaces(cpu);
        _filler = new WindowFiller(memory, _pages, room);
    }

    /// <summary>The program that runs has windows.</summary>
    internal bool IsOpen { get; private set; }

    /// <summary>The next careful access says which region its program wants a window for.</summary>
    internal bool WantsRegion { get; set; }

    /// <summary>The program has used up what its windows may cost.</summary>
    internal bool IsTired => _current is { IsTired: true };

    /// <summary>Faults so far.</summary>
    internal ulong Faults { get; private set; }

    /// <summary>Pages mapped so far.</summary>
    internal ulong Mapped => _filler.Mapped;

    /// <summary>Pages that had to go.</summary>
    internal ulong Dropped { get; private set; }

    /// <summary>Times that an address space got windows, and that it lost them because they cost too much.</summary>
    internal ulong Openings { get; private set; }

    /// <summary>See <see cref="Openings"/>.</summary>
    internal ulong Closings { get; private set; }

    private ulong Root => _cpu->Cr3 & ((1UL << _physicalBits) - 1) & ~0xFFFUL;

    /// <summary>The guest's timer, or another interrupt, has interrupted a program in 64-bit mode.</summary>
    /// <returns>True when the program's blocks are others from now on.</returns>
    internal bool Tick()
    {
        ulong now = HostTsc.Read();
        if (now - _lastTick < HostTsc.Hz / TicksASecond)
        {
            return false;
        }

        _lastTick = now;
        if (_current is not { } space)
        {
            return _runs.Tick(Root) && TryOpen();
        }

        if (IsOpen && space.IsTired)
        {
            Close();
            return true;
        }

        return space.Tick() && TryOpen();
    }

    /// <summary>Gives the current address space windows.</summary>
    /// <returns>False when the host has no room, or every access is watched.</returns>
    internal bool TryOpen()
    {
        if (_isRefused || _isPaused)
        {
            return false;
        }

        lock (_gate)
        {
            if (!_places.TryMake())
            {
                _isRefused = true;
                return false;
            }

            WindowSpace space = Find(Root) ?? Add(Root);
            space.Open();
            Enter(space);
            Openings++;
            return IsOpen;
        }
    }

    /// <summary>The current address space has no windows for a while.</summary>
    internal void Close()
    {
        if (_current is not { IsClosed: false } space)
        {
            return;
        }

        lock (_gate)
        {
            Leave();
            Empty(space);
            space.Close();
            _current = space;
            Closings++;
        }
    }

    /// <summary>While a data breakpoint is armed every access is checked.</summary>
    /// <returns>True when the program's blocks are others from now on.</returns>
    internal bool Pause(bool on)
    {
        bool wasOpen = IsOpen;
        if (_isPaused != on)
        {
            lock (_gate)
            {
                _isPaused = on;
                Reenter();
            }
        }

        return IsOpen != wasOpen;
    }

    /// <summary>Another address space is current.</summary>
    /// <param name="flushed">What is known of it must be looked at again.</param>
    internal void Switch(bool flushed)
    {
        ulong root = Root;
        if (flushed && root != _lastRoot)
        {
            _runs.Forget(root);
        }

        _lastRoot = root;
        if (_spaces.Count == 0)
        {
            return;
        }

        lock (_gate)
        {
            if (flushed && Find(root) is { } space)
            {
                space.IsStale = true;
            }

            Reenter();
        }
    }

    /// <summary>All translations that are not global were forgotten, of all address spaces.</summary>
    internal void Flush()
    {
        if (_spaces.Count == 0)
        {
            return;
        }

        lock (_gate)
        {
            _spaces.ForEach(static space => space.IsStale = true);
            Reenter();
        }
    }

    /// <summary>Translations of an address space that is not current were forgotten.</summary>
    internal void FlushOthers()
    {
        lock (_gate)
        {
            foreach (WindowSpace space in _spaces)
            {
                space.IsStale |= space != _current;
            }
        }
    }

    /// <summary>A page of the current address space was forgotten.</summary>
    internal void FlushPage(ulong linear)
    {
        if (!IsOpen)
        {
            return;
        }

        lock (_gate)
        {
            if (_places.TryHost(_current!, linear & ~0xFFFUL, out ulong host) && _pages.TryFind(host, out int page))
            {
                UserPeek peek = Peek(_current!);
                Revalidate(page, ref peek);
            }
        }
    }

    /// <summary>Code is translated from a page of RAM: nobody stores to it through a window any more. Any thread.</summary>
    internal void ProtectPage(ulong offset)
    {
        if (!_places.Exist)
        {
            return;
        }

        lock (_gate)
        {
            for (int page; (page = _pages.FindStore(offset)) >= 0;)
            {
                ForbidStores(page);
            }
        }
    }

    /// <summary>A host address lies in the place that stands for regions without a window.</summary>
    internal bool IsNowhere(ulong host) => _places.IsNowhere(host);

    /// <summary>The linear address behind a host address in a window of the current address space.</summary>
    internal bool TryLinear(ulong host, out ulong linear)
    {
        linear = 0;
        if (!IsOpen)
        {
            return false;
        }

        lock (_gate)
        {
            return _places.TryLinear(_current!, host, out linear);
        }
    }

    /// <summary>The current address space gets a window for the region of an address, if there is a place.</summary>
    internal void OpenRegion(ulong linear)
    {
        WantsRegion = false;
        ulong region = linear >> StateLayout.RegionBits;
        if (!IsOpen || region >= StateLayout.Regions)
        {
            return;
        }

        lock (_gate)
        {
            WindowSpace space = _current!;
            if (space.PlaceOf(region) == 0 && !_places.TryOpen(space, region))
            {
                ForgetOthers();
                _places.TryOpen(space, region);
            }
        }
    }

    /// <summary>A page was translated for an access through a window: maps it, and its neighbours that the tables have.</summary>
    /// <param name="linear">The address.</param>
    /// <param name="page">RAM.</param>
    /// <param name="store">The access is a store.</param>
    /// <returns>False when the access must be made in another way.</returns>
    internal bool TryMap(ulong linear, in PageTranslation page, bool store)
    {
        Faults++;
        linear &= ~0xFFFUL;
        WindowSpace space = _current!;
        space.Charge(WindowSpace.FaultCost);
        if (space.IsTired)
        {
            return false;
        }

        lock (_gate)
        {
            if (!_filler.HasRoom)
            {
                MakeRoom(space);
                return false;
            }

            if (!_places.TryHost(space, linear, out ulong host))
            {
                return false;
            }

            UserPeek peek = Peek(space);
            return _filler.TryMap(space, host - linear, ref peek, linear, page, store);
        }
    }

    /// <summary>Gives the host's address space back.</summary>
    internal void Release()
    {
        _spaces.ForEach(_room.Give);
        _places.Release();
    }

    private UserPeek Peek(WindowSpace space) => new(_memory, space.Root, _physicalBits, (_cpu->Efer & Efer.Nxe) != 0);

    private WindowSpace? Find(ulong root) => _spaces.Find(space => space.Root == root);

    private WindowSpace Add(ulong root)
    {
        if (_spaces.Count == MostSpaces)
        {
            Forget(_spaces[0]);
        }

        WindowSpace space = new(root);
        _spaces.Add(space);
        return space;
    }

    // CR3 may be another one: a reset, a task switch, or a state from outside has changed it.
    private void Reenter()
    {
        Leave();
        if ((_cpu->Efer & Efer.Lma) != 0 && Find(Root) is { } space)
        {
            Enter(space);
        }
    }

    // The table has the current space's windows and nothing else.
    private void Enter(WindowSpace space)
    {
        _current = space;
        if (space.IsClosed || _isPaused)
        {
            return;
        }

        if (space.IsStale && !Revalidate(space))
        {
            // The tables are another program's now, which may end soon.
            Forget(space);
            _current = null;
            return;
        }

        // The one that was current last is the last to go.
        _spaces.Remove(space);
        _spaces.Add(space);
        _places.Show(space);
        IsOpen = true;
    }

    private void Leave()
    {
        if (IsOpen)
        {
            _places.Hide(_current!);
        }

        _current = null;
        IsOpen = false;
    }

    // What a TLB would fill again after a flush stays; the rest goes. False when that is most of it.
    private bool Revalidate(WindowSpace space)
    {
        int before = space.Pages.Count;
        space.IsStale = false;
        space.Charge(before / WindowSpace.LooksForOne);
        UserPeek peek = Peek(space);
        for (int i = before - 1; i >= 0 && i < space.Pages.Count; i--)
        {
            Revalidate(space.Pages[i], ref peek);
        }

        return before < Telling || space.Pages.Count >= before / 2;
    }

    private void Revalidate(int number, ref UserPeek peek)
    {
        WindowPages.Entry page = _pages[number];
        if (!peek.TryTranslate(page.Linear, out ulong physical, out bool writable)
            || !_filler.TryOffset(physical, out ulong offset) || offset != page.Offset)
        {
            page.Space.Charge(WindowSpace.ChangeCost);
            Dropped++;
            if (WindowArena.TryClose((byte*)page.Host))
            {
                _pages.Remove(number);
            }
            else
            {
                Empty(page.Space);
            }
        }
        else if (page.Writable && !(writable && _memory.TakesStores(physical)))
        {
            ForbidStores(number);
            page.Space.Charge(WindowSpace.ChangeCost);
        }
    }

    // To split a mapping takes room in the host's kernel; to put one over all of them takes none.
    private void ForbidStores(int number)
    {
        WindowPages.Entry page = _pages[number];
        if (WindowArena.TryForbidStores((byte*)page.Host))
        {
            _pages.SetWritable(number, false);
        }
        else
        {
            Empty(page.Space);
        }
    }

    // The current space stays so, and opens its regions anew.
    private void Empty(WindowSpace space)
    {
        if (space == _current)
        {
            _places.Hide(space);
        }

        _places.Clear(space);
        _room.Give(space);
        while (space.Pages.Count > 0)
        {
            _pages.Remove(space.Pages[^1]);
        }
    }

    private void Forget(WindowSpace space)
    {
        Empty(space);
        _spaces.Remove(space);
    }

    private void ForgetOthers()
    {
        foreach (WindowSpace space in _spaces.FindAll(space => space != _current))
        {
            Forget(space);
        }
    }

    // Other vCPUs keep what they have.
    private void MakeRoom(WindowSpace space)
    {
        ForgetOthers();
        if (!_filler.HasRoom)
        {
            Empty(space);
        }
    }
}
