using System;
using System.IO;
using Microsoft.Win32.SafeHandles;

namespace Hull.Host;

/// <summary>What a look at /dev/kvm says.</summary>
public enum KvmState
{
    /// <summary>There is no such device.</summary>
    Absent,

    /// <summary>It is there, but this user may not open it.</summary>
    NotPermitted,

    /// <summary>It opens, but makes no virtual machine.</summary>
    Broken,

    /// <summary>It makes virtual machines; how fast they run is not measured.</summary>
    Works,
}

/// <summary>Asks /dev/kvm whether it is there and makes a virtual machine. Linux, "The Definitive KVM API".</summary>
public static class KvmProbe
{
    private const string Device = "/dev/kvm";
    private const nuint GetApiVersion = 0xAE00;
    private const nuint CreateVm = 0xAE01;
    private const int ExpectedVersion = 12;

    /// <summary>Looks; makes and drops one empty virtual machine.</summary>
    public static KvmState Look()
    {
        if (!File.Exists(Device))
        {
            return KvmState.Absent;
        }

        try
        {
            // FileShare.ReadWrite: .NET would lock the file otherwise.
            using SafeFileHandle kvm = File.OpenHandle(Device, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            int vm = LibcStreams.Ioctl(kvm, GetApiVersion, 0) == ExpectedVersion
                ? LibcStreams.Ioctl(kvm, CreateVm, 0)
                : -1;
            _ = vm < 0 ? 0 : Libc.Close(vm);
            return vm < 0 ? KvmState.Broken : KvmState.Works;
        }
        catch (UnauthorizedAccessException)
        {
            return KvmState.NotPermitted;
        }
        catch (IOException)
        {
            return KvmState.Broken;
        }
    }
}
