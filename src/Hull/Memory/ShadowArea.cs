using System;
using System.Threading;

namespace Hull.Memory;

/// <summary>
/// The area of expansion ROMs and BIOS below 1 MiB: RAM that a chipset can protect from processors, in sections. Devices are not
/// held back.
/// </summary>
internal sealed class ShadowArea
{
    /// <summary>Where it starts.</summary>
    internal const ulong Base = 0xC_0000;

    /// <summary>Its bytes.</summary>
    internal const ulong Size = 0x4_0000;

    /// <summary>Bytes of a section.</summary>
    internal const ulong Section = 0x4000;

    // A bit for each section.
    private uint _protected;

    /// <summary>Sections were protected or opened: translations of their pages are no longer true.</summary>
    internal event Action? Changed;

    /// <summary>
    /// Says where processors may store directly; elsewhere their stores go to the bus. A vCPU's thread, or before any runs.
    /// </summary>
    /// <param name="sections">A bit for each section: 1 protects it.</param>
    internal void Protect(uint sections)
    {
        if (Interlocked.Exchange(ref _protected, sections) != sections)
        {
            Changed?.Invoke();
        }
    }

    /// <summary>True when an address is in a section that is protected.</summary>
    internal bool IsProtected(ulong at)
    {
        ulong offset = at - Base;
        return offset < Size && (Volatile.Read(ref _protected) & (1u << (int)(offset / Section))) != 0;
    }
}
