using System;
using System.Numerics;
using System.Threading;
using Hull.Kvm.Abi;

namespace Hull.Kvm;

/// <summary>
/// Vectors for a local APIC that software has disabled: it takes no message, so nobody else changes its registers while the vCPU is
/// outside of the guest, and they are put into its IRR then.
/// </summary>
internal sealed class OwedVectors
{
    private const int SpuriousVector = 0xF0;
    private const int SoftwareEnable = 1;
    private const int RequestRegisters = 0x200;

    private readonly ulong[] _vectors = new ulong[256 / 64];
    private volatile bool _any;

    /// <summary>True when there is something to deliver.</summary>
    internal bool Any => _any;

    /// <summary>One more. Any thread.</summary>
    internal void Add(byte vector)
    {
        Interlocked.Or(ref _vectors[vector / 64], 1UL << (vector % 64));
        _any = true;
    }

    /// <summary>
    /// Gives them to the vCPU, on its own thread outside of the guest. The INIT that starts a processor resets its APIC in KVM, and
    /// does nothing in Xen: what was there before waits for it.
    /// </summary>
    internal void Deliver(KvmVcpu vcpu)
    {
        if (vcpu.State.GetMpState() == KvmMpState.Uninitialized)
        {
            return;
        }

        _any = false;
        KvmLapic lapic = vcpu.State.GetLapic();
        Span<byte> registers = lapic;
        bool isEnabled = (registers[SpuriousVector + 1] & SoftwareEnable) != 0;
        for (int word = 0; word < _vectors.Length; word++)
        {
            for (ulong rest = Interlocked.Exchange(ref _vectors[word], 0); rest != 0; rest &= rest - 1)
            {
                int vector = (word * 64) + BitOperations.TrailingZeroCount(rest);
                if (isEnabled)
                {
                    vcpu.Inject((byte)vector);
                }
                else
                {
                    registers[RequestRegisters + (vector / 32 * 16) + (vector / 8 % 4)] |= (byte)(1 << (vector % 8));
                }
            }
        }

        if (!isEnabled)
        {
            vcpu.State.SetLapic(lapic);
        }
    }
}
