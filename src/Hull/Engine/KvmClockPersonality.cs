using System;
using System.Buffers.Binary;
using Hull.Bus;
using Hull.Memory;
using Hull.Timeline;

namespace Hull.Engine;

/// <summary>
/// KVM's paravirtual clock: the guest learns the TSC's frequency and reads nanoseconds from a page instead of
/// calibrating against timers. Linux, "KVM CPUID bits" and "KVM-specific MSRs". Nothing else of KVM is offered, and one
/// hypercall is served all the same (<see cref="KvmHypercalls"/>).
/// </summary>
public sealed class KvmClockPersonality : IPersonality
{
    private const uint SignatureLeaf = 0x4000_0000;
    private const uint FeatureLeaf = 0x4000_0001;
    private const uint FrequencyLeaf = 0x4000_0010;

    private const uint ClockSource = 1 << 0;
    private const uint NopIoDelay = 1 << 1;
    private const uint ClockSource2 = 1 << 3;
    private const uint ClockSourceStable = 1 << 24;

    private const uint WallClockMsr = 0x4b56_4d00;
    private const uint SystemTimeMsr = 0x4b56_4d01;

    // The same two by their first numbers, for guests older than Linux 2.6.35, whose structure had no flags.
    private const uint OldWallClockMsr = 0x11;
    private const uint OldSystemTimeMsr = 0x12;

    private const int TimeInfoSize = 32;
    private const int WallClockSize = 12;
    private const byte TscStable = 1;

    private readonly GuestMemory _memory;
    private readonly IMachineClock _clock;
    private readonly uint _apicBusKhz;
    private readonly ulong[] _systemTime;
    private readonly ulong _baseTsc;
    private readonly long _baseNs;
    private ulong _wallClock;

    /// <summary>Makes the clock of one machine.</summary>
    /// <param name="memory">Where the guest puts its clock pages.</param>
    /// <param name="clock">The time to tell.</param>
    /// <param name="vcpuCount">Virtual processors, each with a page of its own.</param>
    /// <param name="apicBusHz">Ticks of the local APIC timer's input in a second.</param>
    public KvmClockPersonality(GuestMemory memory, IMachineClock clock, int vcpuCount, ulong apicBusHz)
    {
        _memory = memory;
        _clock = clock;
        _apicBusKhz = (uint)(apicBusHz / 1000);
        _systemTime = new ulong[vcpuCount];
        (_baseTsc, _baseNs) = ReadBoth(clock);
    }

    /// <summary>Where a hypercall's interrupts go; null: they cannot be sent.</summary>
    internal IMsiSink? Messages { get; init; }

    /// <inheritdoc/>
    public bool TryCpuid(int vcpu, uint leaf, uint subleaf, out CpuidResult result)
    {
        result = leaf switch
        {
            // "KVMKVMKVM\0\0\0" in EBX, ECX, EDX.
            SignatureLeaf => new CpuidResult(FrequencyLeaf, 0x4b4d_564b, 0x564b_4d56, 0x4d),
            FeatureLeaf => new CpuidResult(ClockSource | NopIoDelay | ClockSource2 | ClockSourceStable, 0, 0, 0),
            FrequencyLeaf => new CpuidResult((uint)(_clock.TscHz / 1000), _apicBusKhz, 0, 0),
            _ => default,
        };
        return leaf is >= SignatureLeaf and <= FrequencyLeaf;
    }

    /// <inheritdoc/>
    public bool TryReadMsr(int vcpu, uint index, out ulong value)
    {
        bool isSystemTime = index is SystemTimeMsr or OldSystemTimeMsr;
        value = isSystemTime ? _systemTime[vcpu] : _wallClock;
        return isSystemTime || index is WallClockMsr or OldWallClockMsr;
    }

    /// <inheritdoc/>
    public bool TryWriteMsr(int vcpu, uint index, ulong value)
    {
        switch (index)
        {
            case WallClockMsr or OldWallClockMsr:
                _wallClock = value;
                WriteWallClock(new GuestPhysical(value));
                return true;
            case SystemTimeMsr or OldSystemTimeMsr:
                _systemTime[vcpu] = value;
                if ((value & 1) != 0)
                {
                    WriteTimeInfo(new GuestPhysical(value & ~1UL), index == SystemTimeMsr ? TscStable : (byte)0);
                }

                return true;
            default:
                return false;
        }
    }

    /// <inheritdoc/>
    public bool TryHypercall(int vcpu, IHypercallRegisters registers)
    {
        KvmHypercalls.Call(registers, Messages, _systemTime.Length);
        return true;
    }

    /// <inheritdoc/>
    public void HaltedWithInterruptsOff(int vcpu)
    {
        // A PC that stands still: so it does here.
    }

    /// <summary>
    /// The scale of pvclock: ns = ((ticks &lt;&lt; shift) * multiplier) &gt;&gt; 32, with the shift not negative.
    /// </summary>
    internal static (uint Multiplier, sbyte Shift) ScaleOf(ulong tscHz)
    {
        int shift = 0;
        UInt128 nanoseconds = (UInt128)1_000_000_000 << 32;
        while (nanoseconds / ((UInt128)tscHz << shift) > uint.MaxValue)
        {
            shift++;
        }

        return ((uint)(nanoseconds / ((UInt128)tscHz << shift)), (sbyte)shift);
    }

    // One moment on both clocks. Every vCPU's page starts from it: with pairs of their own, a thread that is interrupted
    // between the two readings would put its vCPU's clock behind the others', and the guest was told that they agree.
    private static (ulong Tsc, long NowNs) ReadBoth(IMachineClock clock)
    {
        const int Tries = 8;
        (ulong bestTsc, long bestNs, ulong bestWidth) = (0, 0, ulong.MaxValue);
        for (int i = 0; i < Tries; i++)
        {
            ulong before = clock.Tsc;
            long now = clock.NowNs;
            ulong width = clock.Tsc - before;
            if (width < bestWidth)
            {
                (bestTsc, bestNs, bestWidth) = (before + (width / 2), now, width);
            }
        }

        return (bestTsc, bestNs);
    }

    // struct pvclock_vcpu_time_info: version, pad, tsc_timestamp, system_time, multiplier, shift, flags, pad.
    private void WriteTimeInfo(GuestPhysical at, byte flags)
    {
        uint version = BeginUpdate(at);
        (uint multiplier, sbyte shift) = ScaleOf(_clock.TscHz);

        Span<byte> info = stackalloc byte[TimeInfoSize];
        info.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(info, version);
        BinaryPrimitives.WriteUInt64LittleEndian(info[8..], _baseTsc);
        BinaryPrimitives.WriteInt64LittleEndian(info[16..], _baseNs);
        BinaryPrimitives.WriteUInt32LittleEndian(info[24..], multiplier);
        info[28] = (byte)shift;
        info[29] = flags;
        _memory.TryWrite(at, info);
        _memory.Write(at, version + 1);
    }

    // struct pvclock_wall_clock: version, seconds, nanoseconds; the wall-clock time when the system time was zero.
    private void WriteWallClock(GuestPhysical at)
    {
        uint version = BeginUpdate(at);
        long bootNs = ((_clock.UtcNow - DateTimeOffset.UnixEpoch).Ticks * 100) - _clock.NowNs;

        Span<byte> wall = stackalloc byte[WallClockSize];
        BinaryPrimitives.WriteUInt32LittleEndian(wall, version);
        BinaryPrimitives.WriteUInt32LittleEndian(wall[4..], (uint)(bootNs / 1_000_000_000));
        BinaryPrimitives.WriteUInt32LittleEndian(wall[8..], (uint)(bootNs % 1_000_000_000));
        _memory.TryWrite(at, wall);
        _memory.Write(at, version + 1);
    }

    // An odd version tells a reader on another vCPU that an update is going on.
    private uint BeginUpdate(GuestPhysical at)
    {
        uint version = _memory.Read<uint>(at) | 1;
        _memory.Write(at, version);
        return version;
    }
}
