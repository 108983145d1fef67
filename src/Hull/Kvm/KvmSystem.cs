using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Hull.Engine;
using Hull.Host;
using Hull.Kvm.Abi;
using Microsoft.Win32.SafeHandles;

namespace Hull.Kvm;

/// <summary>/dev/kvm: what this kernel's KVM can do, and the door to virtual machines.</summary>
internal sealed class KvmSystem : IDisposable
{
    private const int ExpectedVersion = 12;
    private const int MostCpuidEntries = 256;

    private static readonly (KvmCapability Capability, string Name)[] Needed =
    [
        (KvmCapability.UserMemory, "KVM_CAP_USER_MEMORY"),
        (KvmCapability.SplitIrqChip, "KVM_CAP_SPLIT_IRQCHIP"),
        (KvmCapability.SignalMsi, "KVM_CAP_SIGNAL_MSI"),
        (KvmCapability.ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
        (KvmCapability.MpState, "KVM_CAP_MP_STATE"),
        (KvmCapability.VcpuEvents, "KVM_CAP_VCPU_EVENTS"),
        (KvmCapability.DebugRegs, "KVM_CAP_DEBUGREGS"),
        (KvmCapability.Xsave, "KVM_CAP_XSAVE"),
    ];

    private readonly SafeFileHandle _handle;
    private readonly Dictionary<ulong, CpuidResult> _supported = [];

    /// <summary>Opens the device.</summary>
    /// <param name="device">The device's path.</param>
    /// <exception cref="HullException">There is none, this user may not, or it lacks something; the message says which.</exception>
    internal KvmSystem(string device = KvmProbe.Device)
    {
        _handle = Open(device);
        try
        {
            File = new KvmFile((int)_handle.DangerousGetHandle());
            CheckVersion();
            CheckAbilities(File.Check);
            VcpuMapBytes = File.Call(KvmRequests.GetVcpuMmapSize);
            ReadSupportedCpuid();
        }
        catch
        {
            _handle.Dispose();
            throw;
        }
    }

    /// <summary>The device.</summary>
    internal KvmFile File { get; }

    /// <summary>Bytes that a vCPU shares with the kernel.</summary>
    internal int VcpuMapBytes { get; }

    /// <summary>
    /// CPUID as KVM could give it to a guest: as the host's, less what KVM does not virtualise, plus what it emulates.
    /// </summary>
    internal CpuidResult Supported(uint leaf, uint subleaf)
    {
        bool known = _supported.TryGetValue(Key(leaf, subleaf), out CpuidResult result);
        if (leaf == 1 && known)
        {
            // Of these KVM says nothing here, or only newer kernels do: OSXSAVE is dynamic, the others are emulated.
            uint osxsave = (uint)X86Base.CpuId(1, 0).Ecx & (1u << 27);
            uint deadline = File.Check(KvmCapability.TscDeadlineTimer) != 0 ? 1u << 24 : 0;
            result = result with { Ecx = result.Ecx | osxsave | deadline | (1u << 31) };
        }

        return result;
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    /// <summary>Looks for all that Hull cannot do without.</summary>
    /// <param name="check">What there is of a capability: 0 is none.</param>
    /// <exception cref="HullException">One is not there; the message names it.</exception>
    internal static void CheckAbilities(Func<KvmCapability, int> check)
    {
        foreach ((KvmCapability capability, string name) in Needed)
        {
            if (check(capability) == 0)
            {
                throw new HullException($"this kernel's KVM lacks {name}: use a newer kernel, or --engine soft");
            }
        }
    }

    private static SafeFileHandle Open(string device)
    {
        switch (KvmProbe.Look(device))
        {
            case KvmState.Absent:
                throw new HullException(
                    $"there is no {device}: load kvm_amd or kvm_intel (modprobe), or use --engine soft");
            case KvmState.NotPermitted:
                throw new HullException(
                    $"{device} is not for this user: {KvmProbe.HowToPermit(device)}, or use --engine soft");
            default:
                try
                {
                    return System.IO.File.OpenHandle(
                        device, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
                }
                catch (IOException e)
                {
                    throw new HullException($"{device} does not open: {e.Message}; use --engine soft", e);
                }
        }
    }

    private static ulong Key(uint leaf, uint subleaf) => ((ulong)leaf << 32) | subleaf;

    private void CheckVersion()
    {
        int version = File.Call(KvmRequests.GetApiVersion);
        if (version != ExpectedVersion)
        {
            throw new HullException($"/dev/kvm has API version {version}, not {ExpectedVersion}: use --engine soft");
        }
    }

    private void ReadSupportedCpuid()
    {
        int headBytes = Marshal.SizeOf<KvmListHead>();
        Span<byte> list = new byte[headBytes + (MostCpuidEntries * Marshal.SizeOf<KvmCpuidEntry>())];
        MemoryMarshal.Write(list, new KvmListHead { Count = MostCpuidEntries });
        File.CallList(KvmRequests.GetSupportedCpuid, list);
        int count = (int)Math.Min(MemoryMarshal.Read<KvmListHead>(list).Count, MostCpuidEntries);
        foreach (KvmCpuidEntry entry in MemoryMarshal.Cast<byte, KvmCpuidEntry>(list[headBytes..])[..count])
        {
            _supported[Key(entry.Function, entry.Index)] =
                new CpuidResult(entry.Eax, entry.Ebx, entry.Ecx, entry.Edx);
        }
    }
}
