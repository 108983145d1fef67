using System;
using Hull.Host;

namespace Hull.Files;

/// <summary>Which file systems of the host's hold no files but ways into the kernel and its processes. statfs(2).</summary>
internal static class HostFileSystems
{
    /// <summary>True for such a one, and for one that does not say what it is.</summary>
    internal static bool IsOfTheKernel(int fd)
    {
        Span<long> status = stackalloc long[16];
        return LibcDirectories.FileSystemStatus(fd, status) < 0 || (ulong)status[0] is
            0x9FA0              // proc
            or 0x6265_6572      // sysfs
            or 0x1CD1           // devpts
            or 0x0027_E0EB      // cgroup
            or 0x6367_7270      // cgroup2
            or 0x6462_6720      // debugfs
            or 0x7472_6163      // tracefs
            or 0x7363_6673      // securityfs
            or 0x6265_6570      // configfs
            or 0xCAFE_4A11      // bpf
            or 0xDE5E_81E4      // efivarfs
            or 0x6165_676C      // pstore
            or 0xF97C_FF8C      // selinuxfs
            or 0x4341_5D53      // smackfs
            or 0x6E73_6673      // nsfs
            or 0x6573_5543      // fusectl
            or 0x0187           // autofs
            or 0x4249_4E4D      // binfmt_misc
            or 0x1980_0202;     // mqueue
    }
}
