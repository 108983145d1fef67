using System;
using System.Buffers.Binary;
using Hull.Engine;

namespace Hull.Xen;

/// <summary>
/// What one vCPU did with its time: it ran, it waited for one of the host's processors, or it had nothing to do. Xen counts at each
/// switch; here the host's scheduler does, and its numbers are taken over at the vCPU's hypercalls, of which a tick of the guest's has
/// at least one. Xen, public/vcpu.h, "vcpu_runstate_info". On the vCPU's own thread, under the domain's lock.
/// </summary>
internal sealed class Runstate(Domain domain, int vcpu)
{
    /// <summary>Bytes for a 64-bit guest, the most.</summary>
    internal const int Length = 48;

    // For a 32-bit guest nothing is aligned to eight.
    private const int ShortLength = 44;
    private const byte Offline = 3;
    private const long LeastAgeNs = 1_000_000;
    private const ulong Updating = 1UL << 63;

    private readonly long _beginNs = domain.Clock.NowNs;
    private ulong _area;
    private long _enteredNs = domain.Clock.NowNs;
    private long _writtenNs;
    private long _runningNs;
    private long _runnableNs;
    private long _blockedNs;

    /// <summary>VCPUOP_register_runstate_memory_area: from now on it is kept there, at an address of the guest's kernel.</summary>
    internal void Register(ulong area, IHypercallRegisters caller)
    {
        _area = area;
        Store(caller);
    }

    /// <summary>The domain begins anew: it is kept nowhere.</summary>
    internal void Restart() => _area = 0;

    /// <summary>A hypercall of the vCPU's: looks at the host's numbers, and writes them to the guest if the last are old.</summary>
    internal void Update(IHypercallRegisters caller)
    {
        if (_area == 0 || domain.Clock.NowNs - _writtenNs < LeastAgeNs)
        {
            return;
        }

        Observe();
        Store(caller);
    }

    /// <summary>Takes the host's numbers; none goes back, and together they are the time that has passed.</summary>
    internal void Observe()
    {
        long now = domain.Clock.NowNs;
        long passed = now - _beginNs;
        (long runNs, long waitNs) = domain.VcpuTimes is { } times ? times(vcpu) : (passed, 0);
        _runnableNs = Math.Clamp(waitNs, _runnableNs, Math.Max(passed - _runningNs - _blockedNs, _runnableNs));
        _blockedNs = Math.Max(_blockedNs, passed - _runnableNs - Math.Max(runNs, _runningNs));
        _runningNs = Math.Max(_runningNs, passed - _runnableNs - _blockedNs);
        _enteredNs = now;
    }

    /// <summary>
    /// The structure: state (running or offline), when that began, and nanoseconds of running, runnable, blocked and offline.
    /// </summary>
    /// <returns>The bytes that are used.</returns>
    internal Span<byte> Fill(Span<byte> destination, bool is64Bit)
    {
        Span<byte> used = destination[..(is64Bit ? Length : ShortLength)];
        used.Clear();
        Span<byte> times = used[(is64Bit ? 8 : 4)..];
        BinaryPrimitives.WriteInt64LittleEndian(times, _enteredNs);
        BinaryPrimitives.WriteInt64LittleEndian(times[8..], _runningNs);
        BinaryPrimitives.WriteInt64LittleEndian(times[16..], _runnableNs);
        BinaryPrimitives.WriteInt64LittleEndian(times[24..], _blockedNs);
        if (domain.IsOffline(vcpu))
        {
            used[0] = Offline;
            BinaryPrimitives.WriteInt64LittleEndian(times[32..], Math.Max(0, domain.Clock.NowNs - _enteredNs));
        }

        return used;
    }

    // With VMASST_TYPE_runstate_update_flag the entry's highest bit says that the rest is being written. An address that leads nowhere
    // is the guest's affair, as in Xen.
    private void Store(IHypercallRegisters caller)
    {
        if (_area == 0)
        {
            return;
        }

        _writtenNs = domain.Clock.NowNs;
        Span<byte> bytes = stackalloc byte[Length];
        bytes = Fill(bytes, caller.Is64Bit);
        if (!domain.MarksRunstateUpdates)
        {
            caller.TryStore(_area, bytes);
            return;
        }

        int last = (caller.Is64Bit ? 8 : 4) + sizeof(ulong) - 1;
        const byte mark = (byte)(Updating >> 56);
        bytes[last] |= mark;
        caller.TryStore(_area + (uint)last, bytes.Slice(last, 1));
        caller.TryStore(_area, bytes);
        bytes[last] &= unchecked((byte)~mark);
        caller.TryStore(_area + (uint)last, bytes.Slice(last, 1));
    }
}
