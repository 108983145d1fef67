using System;
using System.IO;
using System.Runtime.Intrinsics.X86;
using System.Threading;

namespace Hull.Host;

/// <summary>The host's time-stamp counter and how fast it runs. SDM vol. 3B, "Time-Stamp Counter".</summary>
internal static unsafe class HostTsc
{
    /// <summary>The counters that Linux has found good enough to tell time by.</summary>
    internal const string ClockSources = "/sys/devices/system/clocksource/clocksource0/available_clocksource";

    private const int PageSize = 4096;

    private static readonly delegate* unmanaged[SuppressGCTransition]<ulong> Reader = EmitReader();

    // Taken when this class is first used, so that the measurement, if there must be one, runs beside other work.
    private static readonly (ulong Tsc, long Ns) FirstSample = Sample();

    /// <summary>
    /// Ticks in a second. When the processor does not tell, it is measured from this class's first use on, which must be
    /// 20 ms ago: the rest is waited for.
    /// </summary>
    internal static ulong Hz => Frequency.Hz;

    /// <summary>
    /// False when Linux has found that this host's counters differ from processor to processor, or stop. It then drops "tsc" from
    /// the clock sources; where there is no such list, it is taken to be well.
    /// </summary>
    /// <param name="clockSources">The list.</param>
    internal static bool IsStable(string clockSources = ClockSources)
    {
        try
        {
            return Array.IndexOf(File.ReadAllText(clockSources).Split([' ', '\n']), "tsc") >= 0;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return true;
        }
    }

    /// <summary>RDTSC.</summary>
    internal static ulong Read() => Reader();

    /// <summary>CPUID 15h, "Time Stamp Counter and Nominal Core Crystal Clock"; zero when it does not say.</summary>
    private static ulong CrystalHz()
    {
        if (X86Base.CpuId(0, 0).Eax < 0x15)
        {
            return 0;
        }

        (int denominator, int numerator, int crystal, _) = X86Base.CpuId(0x15, 0);
        return denominator == 0 ? 0 : (ulong)(uint)crystal * (uint)numerator / (uint)denominator;
    }

    /// <summary>The hypervisor's timing leaf (VMware's convention, also KVM's and Hull's): EAX is kHz.</summary>
    private static ulong HypervisorHz()
    {
        const int TimingLeaf = 0x4000_0010;
        bool present = (X86Base.CpuId(1, 0).Ecx >> 31 & 1) != 0;
        return present && (uint)X86Base.CpuId(0x4000_0000, 0).Eax is >= TimingLeaf and < 0x4001_0000
            ? (ulong)(uint)X86Base.CpuId(TimingLeaf, 0).Eax * 1000
            : 0;
    }

    private static ulong Measure()
    {
        const long EnoughNs = 20_000_000;
        long leftNs = FirstSample.Ns + EnoughNs - Sample().Ns;
        if (leftNs > 0)
        {
            Thread.Sleep((int)((leftNs + 999_999) / 1_000_000));
        }

        (ulong tsc, long ns) = Sample();
        return (ulong)((double)(tsc - FirstSample.Tsc) * 1e9 / (ns - FirstSample.Ns));
    }

    /// <summary>The counter and the clock at the same moment: the tightest of some tries.</summary>
    private static (ulong Tsc, long Ns) Sample()
    {
        ulong best = ulong.MaxValue;
        (ulong, long) result = default;
        for (int i = 0; i < 16; i++)
        {
            TimeSpec now;
            ulong before = Read();
            _ = LibcTime.ClockGetTime(LibcTime.ClockMonotonicRaw, &now);
            ulong width = Read() - before;
            if (width < best)
            {
                best = width;
                result = (before + (width / 2), (now.Seconds * 1_000_000_000) + now.Nanoseconds);
            }
        }

        return result;
    }

    private static delegate* unmanaged[SuppressGCTransition]<ulong> EmitReader()
    {
        // rdtsc; shl rdx, 32; or rax, rdx; ret
        ReadOnlySpan<byte> code = [0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0xC3];
        void* page = Libc.MapOrThrow(
            PageSize,
            Libc.ProtRead | Libc.ProtWrite,
            Libc.MapPrivate | Libc.MapAnonymous,
            -1,
            "the clock's code");

        // SAFETY: the page was just mapped, is larger than the code, and is never unmapped.
        code.CopyTo(new Span<byte>(page, PageSize));
        if (Libc.Mprotect(page, PageSize, Libc.ProtRead | Libc.ProtExec) != 0)
        {
            throw new HullException($"cannot make code executable: {Libc.LastErrorMessage()}");
        }

        return (delegate* unmanaged[SuppressGCTransition]<ulong>)page;
    }

    /// <summary>Apart, so that reading the counter does not wait for its frequency.</summary>
    private static class Frequency
    {
        internal static readonly ulong Hz = Find();

        private static ulong Find()
        {
            ulong hz = CrystalHz();
            hz = hz == 0 ? HypervisorHz() : hz;

            // An absurd answer is worse than none.
            return hz is < 100_000_000 or > 20_000_000_000 ? Measure() : hz;
        }
    }
}
