using System.Threading;
using Hull.Bus;
using Hull.Kvm.Abi;

namespace Hull.Kvm;

/// <summary>
/// Writes to doorbells, taken over by the kernel: it signals the descriptor and the vCPU goes on, without an exit to user
/// space. Linux, "KVM API", "KVM_IOEVENTFD".
/// </summary>
internal sealed class KvmDoorbells : IDoorbells
{
    // A write of any size needs its own capability; drivers write virtio's notifications with 16 bits.
    private const uint NotificationBytes = 2;

    private readonly KvmFile _vm;
    private readonly bool _isSupported;
    private readonly bool _takesAnyLength;
    private int _attached;

    /// <summary>Looks at what the kernel can do.</summary>
    internal KvmDoorbells(KvmFile vm)
    {
        _vm = vm;
        _isSupported = vm.Check(KvmCapability.IoEventFd) != 0;
        _takesAnyLength = vm.Check(KvmCapability.IoEventFdAnyLength) != 0;
    }

    /// <summary>How many the kernel has now.</summary>
    internal int Attached => Volatile.Read(ref _attached);

    /// <inheritdoc/>
    public bool TryAttach(DoorbellWrite write, Doorbell bell)
    {
        // The kernel refuses when its bus is full, or when two are the same: the write stays an exit.
        bool done = _isSupported && Call(write, bell, KvmIoEventFlags.None);
        if (done)
        {
            Interlocked.Increment(ref _attached);
        }

        return done;
    }

    /// <inheritdoc/>
    public void Detach(DoorbellWrite write, Doorbell bell)
    {
        if (Call(write, bell, KvmIoEventFlags.Detach))
        {
            Interlocked.Decrement(ref _attached);
        }
    }

    private bool Call(DoorbellWrite write, Doorbell bell, KvmIoEventFlags flags)
    {
        KvmIoEventFd request = new()
        {
            Address = write.Address.Value,
            Length = write.Size == 0 && !_takesAnyLength ? NotificationBytes : (uint)write.Size,
            Descriptor = bell.Descriptor,
            Value = write.Value ?? 0,
            Flags = flags | (write.Value is null ? KvmIoEventFlags.None : KvmIoEventFlags.MatchData),
        };
        return _vm.TryCallAnytime(KvmRequests.IoEventFd, ref request) >= 0;
    }
}
