using System;
using System.Globalization;
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
    /// <summary>The device.</summary>
    public const string Device = "/dev/kvm";

    private const string Groups = "/etc/group";
    private const nuint GetApiVersion = 0xAE00;
    private const nuint CreateVm = 0xAE01;
    private const int ExpectedVersion = 12;

    /// <summary>True when the device is there and this user may open it.</summary>
    public static bool IsOpen()
    {
        try
        {
            // FileShare.ReadWrite: .NET would lock the file otherwise.
            using SafeFileHandle kvm = File.OpenHandle(Device, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>What an administrator types to let this user open the device.</summary>
    /// <param name="device">The device's path.</param>
    public static string HowToPermit(string device = Device)
    {
        uint group = LibcFiles.GroupOf(device);
        string? name = null;
        foreach (string line in File.Exists(Groups) ? File.ReadLines(Groups) : [])
        {
            // name:password:number:members
            string[] fields = line.Split(':');
            name = fields.Length > 2 && fields[2] == group.ToString(CultureInfo.InvariantCulture) ? fields[0] : name;
        }

        string user = UserName();

        // A device of root's own group is not to be shared by making users members of that.
        return group == 0 || name is null
            ? $"sudo setfacl -m u:{user}:rw {device}"
            : $"sudo usermod -aG {name} {user}, then log in again";
    }

    // In a container a user may have no name, or there may be no list of users at all.
    private static string UserName()
    {
        try
        {
            return Environment.UserName;
        }
        catch (IOException)
        {
            return LibcDirectories.EffectiveUser().ToString(CultureInfo.InvariantCulture);
        }
    }

    /// <summary>Looks; makes and drops one empty virtual machine.</summary>
    /// <param name="device">The device's path.</param>
    public static KvmState Look(string device = Device)
    {
        if (!File.Exists(device))
        {
            return KvmState.Absent;
        }

        try
        {
            using SafeFileHandle kvm = File.OpenHandle(device, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
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
