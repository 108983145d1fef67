using System;
using System.Globalization;
using Hull.Engine;
using Hull.Kvm.Abi;
using Hull.Memory;

namespace Hull.Kvm;

/// <summary>What a guest's exits want of user space: ports, MMIO, MSRs. On the vCPU's thread.</summary>
internal sealed unsafe class KvmExits
{
    private readonly KvmVcpu _vcpu;
    private readonly KvmEngine _engine;
    private readonly KvmRun* _run;
    private readonly KvmHypercall _hypercall;

    internal KvmExits(KvmVcpu vcpu, KvmEngine engine, KvmRun* run)
    {
        _vcpu = vcpu;
        _engine = engine;
        _run = run;
        _hypercall = new KvmHypercall(vcpu, engine.Memory, run);
    }

    /// <summary>IN and OUT; a string instruction brings several items at once.</summary>
    internal void PortIo()
    {
        _vcpu.Counters.PortExits++;
        int size = _run->IoSize;
        ushort port = _run->IoPort;
        uint count = _run->IoCount;
        ulong offset = _run->IoDataOffset;
        bool isOut = _run->IoIsOut != 0;

        // SAFETY: the kernel keeps size * count bytes at this offset inside what the vCPU's file maps (a page of its own).
        byte* data = (byte*)_run + offset;
        for (; count > 0; count--, data += size)
        {
            if (isOut)
            {
                uint value = size switch { 1 => *data, 2 => *(ushort*)data, _ => *(uint*)data };
                _engine.Bus.WritePort(port, size, value);
                continue;
            }

            uint read = _engine.Bus.ReadPort(port, size);
            switch (size)
            {
                case 1:
                    *data = (byte)read;
                    break;
                case 2:
                    *(ushort*)data = (ushort)read;
                    break;
                default:
                    *(uint*)data = read;
                    break;
            }
        }
    }

    /// <summary>A load or store where there is no memory; KVM brings at most 8 bytes at once, of any number.</summary>
    internal void Mmio()
    {
        _vcpu.Counters.MmioExits++;
        ulong at = _run->MmioAddress;
        int length = (int)Math.Min(_run->MmioLength, 8);
        bool isWrite = _run->MmioIsWrite != 0;
        ulong data = isWrite ? _run->MmioData : 0;
        for (int done = 0; done < length;)
        {
            // Devices know accesses of 1, 2, 4 and 8 bytes: an odd one becomes several.
            int left = length - done;
            int size = left == 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
            GuestPhysical place = new(at + (ulong)done);
            if (isWrite)
            {
                ulong mask = size == 8 ? ulong.MaxValue : (1UL << (size * 8)) - 1;
                _engine.Bus.WriteMmio(place, size, (data >> (done * 8)) & mask);
            }
            else
            {
                data |= _engine.Bus.ReadMmio(place, size) << (done * 8);
            }

            done += size;
        }

        if (!isWrite)
        {
            _run->MmioData = data;
        }
    }

    /// <summary>RDMSR of what KVM does not know, or what the table is asked for.</summary>
    internal void ReadMsr()
    {
        _vcpu.Counters.MsrExits++;
        bool known = MsrPolicy.TryRead(_run->MsrIndex, _engine.Cpuid, _vcpu.Msrs, out ulong value)
            || _engine.Personality.TryReadMsr(_vcpu.Index, _run->MsrIndex, out value);
        _run->MsrData = known ? value : 0;
        _run->MsrError = known ? (byte)0 : (byte)1;
    }

    /// <summary>WRMSR of the same.</summary>
    internal void WriteMsr()
    {
        _vcpu.Counters.MsrExits++;
        bool taken = MsrPolicy.TryWrite(_run->MsrIndex, _engine.Cpuid, _vcpu.Msrs, _run->MsrData, out bool known);
        if (!known)
        {
            taken = _engine.Personality.TryWriteMsr(_vcpu.Index, _run->MsrIndex, _run->MsrData);
        }

        _run->MsrError = taken ? (byte)0 : (byte)1;
    }

    /// <summary>VMCALL or VMMCALL of a guest whose hypercalls are the personality's.</summary>
    internal void Hypercall()
    {
        _vcpu.Counters.HypercallExits++;
        _hypercall.Begin();
        _ = _engine.Personality.TryHypercall(_vcpu.Index, _hypercall);
    }

    /// <summary>An exit behind which the guest cannot go on, in words.</summary>
    internal static string DescribeFailure(in KvmRun run)
    {
        string what = run.ExitReason switch
        {
            KvmExitReason.InternalError => run.InternalSuberror switch
            {
                1 => "KVM cannot emulate an instruction (internal error 1)",
                2 => "a second exception came while one was delivered (internal error 2)",
                3 => "an exit came while an event was delivered (internal error 3)",
                4 => "the CPU left the guest for an unknown reason (internal error 4)",
                _ => $"internal error {run.InternalSuberror}",
            },
            KvmExitReason.FailEntry => $"the CPU did not enter the guest (reason 0x{run.HardwareReason:x})",
            KvmExitReason.Unknown => $"an exit that KVM does not know (reason 0x{run.HardwareReason:x})",
            _ => string.Create(CultureInfo.InvariantCulture, $"exit reason {(uint)run.ExitReason}"),
        };
        return "KVM_RUN: " + what;
    }
}
