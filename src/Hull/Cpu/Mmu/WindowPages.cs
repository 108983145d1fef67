using System.Collections.Generic;

namespace Hull.Cpu.Mmu;

/// <summary>The pages that are mapped in windows, found by their host address and by the page of RAM.</summary>
internal sealed class WindowPages
{
    private const int None = -1;
    private readonly Dictionary<ulong, int> _byHost = [];
    private readonly Dictionary<ulong, int> _byOffset = [];
    private readonly List<Entry> _entries = [];
    private readonly Stack<int> _free = [];

    /// <summary>A page, by number.</summary>
    internal Entry this[int number] => _entries[number];

    /// <summary>The page at a host address.</summary>
    internal bool TryFind(ulong host, out int number) => _byHost.TryGetValue(host, out number);

    /// <summary>Enters a page, which its space gets too.</summary>
    internal void Add(WindowSpace space, ulong host, ulong linear, ulong offset, bool writable)
    {
        int next = _byOffset.GetValueOrDefault(offset, None);
        Entry entry = new(space, host, linear, offset, writable, next, space.Pages.Count);
        if (!_free.TryPop(out int number))
        {
            number = _entries.Count;
            _entries.Add(default);
        }

        _entries[number] = entry;
        _byHost.Add(host, number);
        _byOffset[offset] = number;
        space.Pages.Add(number);
    }

    /// <summary>Says whether stores reach a page.</summary>
    internal void SetWritable(int number, bool writable) => _entries[number] = _entries[number] with { Writable = writable };

    /// <summary>Forgets a page.</summary>
    internal void Remove(int number)
    {
        Entry entry = _entries[number];
        _byHost.Remove(entry.Host);
        Unchain(number, entry);
        List<int> pages = entry.Space.Pages;
        int last = pages[^1];
        pages[entry.Index] = last;
        _entries[last] = _entries[last] with { Index = entry.Index };
        pages.RemoveAt(pages.Count - 1);
        _entries[number] = default;
        _free.Push(number);
    }

    /// <summary>The number of a page that shows a page of RAM to stores; -1 when there is none.</summary>
    internal int FindStore(ulong offset)
    {
        int number = _byOffset.GetValueOrDefault(offset, None);
        while (number != None && !_entries[number].Writable)
        {
            number = _entries[number].Next;
        }

        return number;
    }

    private void Unchain(int number, in Entry entry)
    {
        int before = _byOffset[entry.Offset];
        if (before == number)
        {
            if (entry.Next == None)
            {
                _byOffset.Remove(entry.Offset);
            }
            else
            {
                _byOffset[entry.Offset] = entry.Next;
            }

            return;
        }

        while (_entries[before].Next != number)
        {
            before = _entries[before].Next;
        }

        _entries[before] = _entries[before] with { Next = entry.Next };
    }

    /// <summary>A page.</summary>
    /// <param name="Space">Whose it is.</param>
    /// <param name="Host">Where it is mapped.</param>
    /// <param name="Linear">Its linear address.</param>
    /// <param name="Offset">Its offset in RAM.</param>
    /// <param name="Writable">Stores reach it.</param>
    /// <param name="Next">The next one of the same page of RAM, or -1.</param>
    /// <param name="Index">Its index in the space's list.</param>
    internal readonly record struct Entry(
        WindowSpace Space, ulong Host, ulong Linear, ulong Offset, bool Writable, int Next, int Index);
}
