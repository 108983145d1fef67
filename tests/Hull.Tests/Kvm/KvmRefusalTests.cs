using System;
using System.IO;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Threading;
using Hull.Host;
using Hull.Kvm;
using Hull.Kvm.Abi;
using Xunit;

namespace Hull.Tests.Kvm;

/// <summary>What is said when /dev/kvm cannot be used. All but one run where there is none.</summary>
public sealed partial class KvmRefusalTests : IDisposable
{
    private const int Nobody = 65534;

    private readonly string _folder = Directory.CreateTempSubdirectory("hull-kvm-").FullName;

    private string Device => Path.Combine(_folder, "kvm");

    [Fact]
    public void MissingDevice_SaysWhichModulesToLoad() =>
        Assert.Equal(
            $"there is no {Device}: load kvm_amd or kvm_intel (modprobe), or use --engine soft", Refusal());

    [Fact]
    public void DeviceOfOthers_SaysHowToPermitIt()
    {
        File.WriteAllText(Device, "");
        File.SetUnixFileMode(Device, UnixFileMode.None);
        File.SetUnixFileMode(
            _folder, File.GetUnixFileMode(_folder) | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);
        string? message = null;
        Thread other = new(() =>
        {
            // The kernel keeps this user for a thread. It takes root's rights to files away too, and whoever is not root
            // has none to this one anyway.
            _ = SetFileUser(Nobody);
            try
            {
                using KvmSystem system = new(Device);
            }
            catch (HullException e)
            {
                message = e.Message;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                message = e.ToString(); // no refusal: the test fails, and not the process
            }
        });
        other.Start();
        other.Join();
        Assert.StartsWith($"{Device} is not for this user: sudo ", message, StringComparison.Ordinal);
        Assert.EndsWith(", or use --engine soft", message, StringComparison.Ordinal);
    }

    [Fact]
    public void DeviceThatDoesNotOpen_SaysTheKernelsReason()
    {
        // A socket's file: the kernel has no driver for it (ENXIO), as with a module that is gone.
        using Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(Device));
        string message = Refusal();
        Assert.StartsWith($"{Device} does not open: No such device or address", message, StringComparison.Ordinal);
        Assert.EndsWith("use --engine soft", message, StringComparison.Ordinal);
    }

    [Fact]
    public void FileThatIsNoKvm_NamesTheCallAndTheError()
    {
        File.WriteAllText(Device, "");
        Assert.Equal("KVM_GET_API_VERSION failed: Inappropriate ioctl for device", Refusal());
    }

    [KvmFact]
    public void MachineThatTheKernelRefuses_NamesTheCallAndTheError()
    {
        using KvmSystem system = new();
        HullException refusal = Assert.Throws<HullException>(() => system.File.Call(KvmRequests.CreateVm, 0x7FFF_0000));
        Assert.Equal("KVM_CREATE_VM failed: Invalid argument", refusal.Message);
    }

    [Theory]
    [InlineData(16, "Device or resource busy: another hypervisor may hold the CPU; end it, or use --engine soft")]
    [InlineData(24, "Too many open files: raise the limit of open files (ulimit -n), or give fewer vCPUs (-c)")]
    [InlineData(12, "Cannot allocate memory")]
    public void RefusedCall_SaysWhatToTry(int error, string expected) =>
        Assert.Equal($"KVM_CREATE_VM failed: {expected}", KvmFile.Failure(KvmRequests.CreateVm, error).Message);

    [Theory]
    [InlineData(KvmCapability.UserMemory, "KVM_CAP_USER_MEMORY")]
    [InlineData(KvmCapability.SplitIrqChip, "KVM_CAP_SPLIT_IRQCHIP")]
    [InlineData(KvmCapability.SignalMsi, "KVM_CAP_SIGNAL_MSI")]
    [InlineData(KvmCapability.ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT")]
    [InlineData(KvmCapability.MpState, "KVM_CAP_MP_STATE")]
    [InlineData(KvmCapability.VcpuEvents, "KVM_CAP_VCPU_EVENTS")]
    [InlineData(KvmCapability.DebugRegs, "KVM_CAP_DEBUGREGS")]
    [InlineData(KvmCapability.Xsave, "KVM_CAP_XSAVE")]
    internal void LackingCapability_IsNamed(KvmCapability lacking, string name)
    {
        HullException refusal = Assert.Throws<HullException>(
            () => KvmSystem.CheckAbilities(capability => capability == lacking ? 0 : 1));
        Assert.Equal($"this kernel's KVM lacks {name}: use a newer kernel, or --engine soft", refusal.Message);
    }

    [Theory]
    [InlineData(KvmExitReason.FailEntry, 0x8000_0021, "KVM_RUN: the CPU did not enter the guest (reason 0x80000021)")]
    [InlineData(KvmExitReason.FailEntry, ulong.MaxValue, "KVM_RUN: the CPU did not enter the guest (reason 0xffffffffffffffff)")]
    [InlineData(KvmExitReason.InternalError, 1, "KVM_RUN: KVM cannot emulate an instruction (internal error 1)")]
    [InlineData(KvmExitReason.InternalError, 2, "KVM_RUN: a second exception came while one was delivered (internal error 2)")]
    [InlineData(KvmExitReason.InternalError, 3, "KVM_RUN: an exit came while an event was delivered (internal error 3)")]
    [InlineData(KvmExitReason.InternalError, 4, "KVM_RUN: the CPU left the guest for an unknown reason (internal error 4)")]
    [InlineData(KvmExitReason.InternalError, 9, "KVM_RUN: internal error 9")]
    [InlineData(KvmExitReason.Unknown, 0x7B, "KVM_RUN: an exit that KVM does not know (reason 0x7b)")]
    [InlineData((KvmExitReason)77, 0, "KVM_RUN: exit reason 77")]
    internal void ExitThatEndsTheRun_IsDescribed(KvmExitReason reason, ulong detail, string expected)
    {
        KvmRun run = new() { ExitReason = reason, HardwareReason = detail };
        Assert.Equal(expected, KvmExits.DescribeFailure(run));
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string Refusal() => Assert.Throws<HullException>(() => new KvmSystem(Device).Dispose()).Message;

    [LibraryImport("libc", EntryPoint = "setfsuid")]
    private static partial int SetFileUser(int user);
}
