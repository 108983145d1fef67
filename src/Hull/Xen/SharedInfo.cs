using System;
using System.Buffers.Binary;
using Hull.Memory;

namespace Hull.Xen;

/// <summary>
/// The page that a domain shares with Xen: vcpu_info of the first 32 vCPUs, event bits, wall clock. It lies where the guest
/// has put it. A 32-bit guest's has words of 32 bits, and so other places for what follows them. Xen, public/xen.h, "struct shared_info".
/// </summary>
internal sealed class SharedInfo(Domain domain)
{
    /// <summary>Bytes of a vcpu_info.</summary>
    internal const int VcpuInfoSize = 64;

    /// <summary>vCPUs whose vcpu_info is in the page until they register one.</summary>
    internal const int InlineVcpus = 32;

    private const int PendingOffset = 2048;
    private const int MaskOffset = 2560;
    private const int NarrowMaskOffset = 2176;
    private const int WallClockOffset = 3072;
    private const int NarrowWallClockOffset = 2304;

    // Behind the clock's other words, or behind the architecture's part.
    private const int SecondsHighOffset = WallClockOffset + 12;
    private const int NarrowSecondsHighOffset = 2340;

    /// <summary>Where the page is; null before XENMEM_add_to_physmap.</summary>
    internal GuestPhysical? Page { get; private set; }

    /// <summary>The guest is a 32-bit one; see <see cref="Latch"/>.</summary>
    internal bool IsNarrow { get; private set; }

    /// <summary>Bytes of the guest's long words.</summary>
    internal int WordBytes => IsNarrow ? sizeof(uint) : sizeof(ulong);

    /// <summary>The domain begins anew: the page is nowhere.</summary>
    internal void Restart()
    {
        Page = null;
        IsNarrow = false;
    }

    /// <summary>
    /// A call of those that drivers begin with: what code it comes from says how the page is laid out from now on. What is in it stays where
    /// it is but for the clock, as in Xen.
    /// </summary>
    internal void Latch(bool is64Bit)
    {
        IsNarrow = !is64Bit;
        WriteWallClock();
    }

    /// <summary>A word of 32 bits of evtchn_pending.</summary>
    internal GuestPhysical? PendingWord(int port) => At(PendingOffset + (port / 32 * 4));

    /// <summary>A word of 32 bits of evtchn_mask.</summary>
    internal GuestPhysical? MaskWord(int port) => At((IsNarrow ? NarrowMaskOffset : MaskOffset) + (port / 32 * 4));

    /// <summary>The vcpu_info of a vCPU in the page; null for those that have none here.</summary>
    internal GuestPhysical? VcpuInfo(int vcpu) => vcpu < InlineVcpus ? At(vcpu * VcpuInfoSize) : null;

    /// <summary>Puts the page at a frame of the guest's, with what it held before.</summary>
    /// <returns>0, or an error.</returns>
    internal long MoveTo(ulong frame)
    {
        if (frame > ulong.MaxValue / GuestMemory.PageSize)
        {
            return XenError.Invalid;
        }

        GuestPhysical at = new(frame * GuestMemory.PageSize);
        if (!domain.Memory.Contains(at, GuestMemory.PageSize) && !domain.Memory.Spare.TryPlace(at.Value, SpecialPages.SharedInfo))
        {
            return XenError.Invalid;
        }

        // QUIRK: shared_info takes over the guest's own page of RAM at that frame; in Xen it replaces it.
        Span<byte> page = stackalloc byte[GuestMemory.PageSize];
        page.Clear();
        if (Page is GuestPhysical before)
        {
            domain.Memory.TryRead(before, page);
        }

        domain.Memory.TryWrite(at, page);
        Page = at;
        domain.Reservation.Cover(frame);
        WriteWallClock();
        foreach (DomainVcpu vcpu in domain.Vcpus)
        {
            vcpu.WriteTime();
        }

        return 0;
    }

    // wc_version, wc_sec, wc_nsec and wc_sec_hi: the time of day when system time was zero.
    private void WriteWallClock()
    {
        if (At(IsNarrow ? NarrowWallClockOffset : WallClockOffset) is not GuestPhysical at
            || At(IsNarrow ? NarrowSecondsHighOffset : SecondsHighOffset) is not GuestPhysical high)
        {
            return;
        }

        long bootNs = ((domain.Clock.UtcNow - DateTimeOffset.UnixEpoch).Ticks * 100) - domain.SystemTime.NowNs;
        uint version = domain.Memory.Read<uint>(at) | 1;
        domain.Memory.Write(at, version);
        Span<byte> wall = stackalloc byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(wall, (uint)(bootNs / 1_000_000_000));
        BinaryPrimitives.WriteUInt32LittleEndian(wall[4..], (uint)(bootNs % 1_000_000_000));
        domain.Memory.TryWrite(new GuestPhysical(at.Value + 4), wall);
        domain.Memory.Write(high, (uint)((bootNs / 1_000_000_000) >> 32));
        domain.Memory.Write(at, version + 1);
    }

    private GuestPhysical? At(int offset) => Page is GuestPhysical page ? new GuestPhysical(page.Value + (uint)offset) : null;
}
