using System;
using System.Collections.Generic;
using Hull.Memory;
using Hull.Xen.Grants;

namespace Hull.Xen.PvDevices;

/// <summary>Pages that a back end uses for long, such as a ring's: the guest's entries say so until they are given back.</summary>
internal sealed class GrantedPages : IDisposable
{
    private readonly GrantTable _grants;
    private readonly uint[] _references;
    private readonly List<GuestPhysical> _pages = [];

    private GrantedPages(GrantTable grants, uint[] references)
    {
        _grants = grants;
        _references = references;
    }

    /// <summary>The pages in order.</summary>
    internal GuestPhysical[] Pages => [.. _pages];

    /// <summary>Takes pages into use, to read and to write.</summary>
    /// <returns>Null when one of them is not granted so.</returns>
    internal static GrantedPages? TryHold(GrantTable grants, params uint[] references)
    {
        GrantedPages held = new(grants, references);
        foreach (uint reference in references)
        {
            if (!grants.TryBegin(reference, isWrite: true, out GuestPhysical page))
            {
                held.Dispose();
                return null;
            }

            held._pages.Add(page);
        }

        return held;
    }

    /// <summary>Gives them back.</summary>
    public void Dispose()
    {
        for (int i = 0; i < _pages.Count; i++)
        {
            _grants.End(_references[i]);
        }

        _pages.Clear();
    }
}
