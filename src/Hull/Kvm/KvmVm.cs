using System;
using Hull.Bus;
using Hull.Engine;
using Hull.Host;
using Hull.Kvm.Abi;

namespace Hull.Kvm;

/// <summary>
/// One virtual machine of KVM's with a split irqchip: local APICs in the kernel; I/O APIC, 8259s and timers are Hull's.
/// </summary>
internal sealed class KvmVm : IDisposable
{
    // Three pages for the task state and one for page tables, which KVM needs on Intel CPUs without unrestricted guests;
    // below what firmware may take at the end of 4 GiB.
    private const nuint TaskStateAt = 0xFEFF_D000;
    private const ulong IdentityMapAt = 0xFEFF_C000;

    /// <summary>Makes the machine, without memory or vCPUs.</summary>
    /// <exception cref="HullException">The kernel refused; the message names the ioctl and the error.</exception>
    internal KvmVm(KvmSystem system, uint ioApicInputs)
    {
        File = new KvmFile(system.File.Call(KvmRequests.CreateVm));
        try
        {
            ulong map = IdentityMapAt;
            File.Call(KvmRequests.SetIdentityMapAddress, ref map);
            File.Call(KvmRequests.SetTssAddress, TaskStateAt);
            Enable(KvmCapability.SplitIrqChip, ioApicInputs);
        }
        catch
        {
            File.Dispose();
            throw;
        }
    }

    /// <summary>The machine.</summary>
    internal KvmFile File { get; }

    /// <summary>Turns a capability on.</summary>
    internal void Enable(KvmCapability capability, ulong argument)
    {
        KvmEnableCapability enable = new() { Capability = (uint)capability, Argument0 = argument };
        File.Call(KvmRequests.EnableCapability, ref enable);
    }

    /// <summary>
    /// Sends MSRs that KVM does not know, and those that only tell facts, to user space: one table answers on both
    /// engines. Before Linux 5.10 there is no such exit, and they raise #GP.
    /// </summary>
    internal void RouteMsrs(CpuidPolicy cpuid)
    {
        if (File.Check(KvmCapability.UserSpaceMsr) == 0)
        {
            return;
        }

        Enable(KvmCapability.UserSpaceMsr, (ulong)(KvmMsrExit.Unknown | KvmMsrExit.Filtered));
        if (File.Check(KvmCapability.MsrFilter) != 0)
        {
            KvmMsrPolicy.SetFilter(File, cpuid);
        }
    }

    /// <summary>VMCALL and VMMCALL become exits; a write to an MSR fills a page with calls. Before vCPUs are made.</summary>
    /// <exception cref="HullException">This kernel's KVM does not do that.</exception>
    internal void InterceptHypercalls(uint msr)
    {
        const KvmHypercallFlags Needed = KvmHypercallFlags.HypercallMsr | KvmHypercallFlags.InterceptHypercalls;
        if (((KvmHypercallFlags)File.Check(KvmCapability.XenHvm) & Needed) != Needed)
        {
            throw new HullException("this kernel's KVM lacks KVM_CAP_XEN_HVM with interception of hypercalls "
                + "(CONFIG_KVM_XEN is off, or Linux is older than 5.12): --xen needs --engine soft");
        }

        KvmHypercallConfig config = new() { Flags = KvmHypercallFlags.InterceptHypercalls, Msr = msr };
        File.Call(KvmRequests.SetHypercallConfig, ref config);
    }

    /// <summary>Sends a message-signalled interrupt. Any thread.</summary>
    /// <returns>False when no local APIC took it.</returns>
    internal bool Signal(MsiMessage message)
    {
        KvmMsi msi = new()
        {
            AddressLow = (uint)message.Address,
            AddressHigh = (uint)(message.Address >> 32),
            Data = message.Data,
        };

        // Negative or zero: the guest's APIC is off, masked, or not there. The guest erred, as on a PC. Or a device speaks
        // while the machine is taken down.
        return File.TryCallAnytime(KvmRequests.SignalMsi, ref msi) > 0;
    }

    /// <inheritdoc/>
    public void Dispose() => File.Dispose();
}
