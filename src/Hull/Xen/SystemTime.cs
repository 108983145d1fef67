using System;
using System.Buffers.Binary;
using Hull.Engine;
using Hull.Timeline;

namespace Hull.Xen;

/// <summary>
/// Xen's system time: nanoseconds since the domain began, which a guest makes of its time-stamp counter by vcpu_time_info. The
/// counter's frequency is not known exactly, and the host's clock is slewed, so this time and the machine's clock drift apart:
/// what the guest says in system time is judged in system time. By the machine's clock, a timer of a guest whose clock is
/// behind would fire too soon, the guest would set it again, and so on until its clock had come there.
/// </summary>
internal sealed class SystemTime
{
    /// <summary>Bytes of vcpu_time_info.</summary>
    internal const int InfoLength = 32;

    private const byte TscStable = 1;
    private const int Tries = 8;

    private readonly IMachineClock _clock;
    private readonly ulong _baseTsc;
    private readonly long _baseNs;
    private readonly Lazy<(uint Multiplier, sbyte Shift)> _scale;

    internal SystemTime(IMachineClock clock)
    {
        _clock = clock;

        // A thread that is held up between the two readings would set them apart: the tightest of some tries.
        ulong bestWidth = ulong.MaxValue;
        for (int i = 0; i < Tries; i++)
        {
            ulong before = clock.Tsc;
            long now = clock.NowNs;
            ulong width = clock.Tsc - before;
            if (width < bestWidth)
            {
                (_baseTsc, _baseNs, bestWidth) = (before + (width / 2), now, width);
            }
        }

        // The counter's frequency may still be under measurement.
        _scale = new Lazy<(uint, sbyte)>(() => KvmClockPersonality.ScaleOf(clock.TscHz));
    }

    /// <summary>System time, as the guest computes it.</summary>
    internal long NowNs
    {
        get
        {
            (uint multiplier, sbyte shift) = _scale.Value;
            return _baseNs + (long)(((UInt128)(_clock.Tsc - _baseTsc) << shift) * multiplier >> 32);
        }
    }

    /// <summary>When the machine's clock will be where system time is then, by what both are now.</summary>
    internal long ToMachine(long systemNs)
    {
        long now = NowNs;
        long machineNow = _clock.NowNs;
        return systemNs - now > long.MaxValue - machineNow ? long.MaxValue : machineNow + (systemNs - now);
    }

    /// <summary>vcpu_time_info: version, TSC and system time at one moment, and how one follows from the other.</summary>
    internal void Fill(Span<byte> info)
    {
        const uint evenVersion = 2;
        (uint multiplier, sbyte shift) = _scale.Value;
        info[..InfoLength].Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(info, evenVersion);
        BinaryPrimitives.WriteUInt64LittleEndian(info[8..], _baseTsc);
        BinaryPrimitives.WriteInt64LittleEndian(info[16..], _baseNs);
        BinaryPrimitives.WriteUInt32LittleEndian(info[24..], multiplier);
        info[28] = (byte)shift;
        info[29] = TscStable;
    }
}
