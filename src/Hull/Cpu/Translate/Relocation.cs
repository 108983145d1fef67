using System.Runtime.InteropServices;
using Hull.Host;

namespace Hull.Cpu.Translate;

/// <summary>What of a block's host code depends on where the guest's code or the host's own is.</summary>
internal enum RelocationKind : byte
{
    /// <summary>A 32-bit displacement to host code: of this block, or of a thunk.</summary>
    Displacement,

    /// <summary>A guest address in 64 bits, at a distance from the block's rip.</summary>
    Address,

    /// <summary>The displacement of a line of the jump cache, for a target.</summary>
    JumpLine,

    /// <summary>The displacement of the page slot that belongs to an address.</summary>
    PageSlot,

    /// <summary>The number of a link.</summary>
    Link,
}

/// <summary>A place in a block's host code that <see cref="BlockCopier"/> writes anew.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct Relocation(RelocationKind kind, bool cold, int offset, int distance)
{
    private readonly uint _place = ((uint)offset << 8) | (cold ? 0x80u : 0) | (uint)kind;

    internal RelocationKind Kind => (RelocationKind)(_place & 0x7F);

    /// <summary>It is in the cold pieces.</summary>
    internal bool IsCold => (_place & 0x80) != 0;

    /// <summary>Offset in the block's code, or in its cold pieces.</summary>
    internal int Offset => (int)(_place >> 8);

    /// <summary>Where the guest address is, from the block's rip on.</summary>
    internal int Distance { get; } = distance;
}

/// <summary>Notes the relocations of a block while it is written. A block that has anything else to depend on stays where it is.</summary>
internal sealed unsafe class RelocationRecorder(NativeList<Relocation>? list)
{
    // Addresses that are so far from both ends of the user's half, and from what 32 bits hold, stay so 2 GiB away: their
    // instructions have one form.
    private const ulong Lowest = 1UL << 33;
    private const ulong Highest = (1UL << 47) - (1UL << 32);
    private byte* _code;
    private byte* _cold;
    private ulong _rip;
    private int _first;
    private bool _recording;

    /// <summary>True for an rip whose blocks may be moved, and where they may be moved to.</summary>
    internal static bool IsMovable(ulong rip) => rip is >= Lowest and < Highest;

    /// <summary>A block begins, with its first bytes of code and cold pieces.</summary>
    internal void Begin(byte* code, byte* cold, ulong rip, bool mayMove)
    {
        _code = code;
        _cold = cold;
        _rip = rip;
        _first = list?.Count ?? 0;
        _recording = mayMove && list is not null;
    }

    /// <summary>The block is written: its relocations; none when it stays where it is.</summary>
    internal void End(out int start, out int count)
    {
        start = _first;
        count = _recording ? list!.Count - _first : 0;
        _recording = false;
    }

    /// <summary>The block depends on something else.</summary>
    internal void StayPut() => _recording = false;

    internal void Displacement(byte* site) => Add(RelocationKind.Displacement, site, _rip);

    internal void Address(byte* site, ulong value)
    {
        if (_recording && *(ulong*)site != value)
        {
            StayPut();
        }

        Add(RelocationKind.Address, site, value);
    }

    internal void JumpLine(byte* site, ulong target) => Add(RelocationKind.JumpLine, site, target);

    internal void PageSlot(byte* site, ulong linear) => Add(RelocationKind.PageSlot, site, linear);

    internal void Link(byte* site) => Add(RelocationKind.Link, site, _rip);

    private void Add(RelocationKind kind, byte* site, ulong address)
    {
        if (!_recording)
        {
            return;
        }

        long distance = (long)(address - _rip);
        if (distance != (int)distance)
        {
            StayPut();
            return;
        }

        bool cold = site >= _cold;
        list!.Add(new Relocation(kind, cold, (int)(site - (cold ? _cold : _code)), (int)distance));
    }
}
