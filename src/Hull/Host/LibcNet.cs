using System;
using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>The libc calls for sockets, tap devices and child processes that inherit a socket.</summary>
internal static unsafe partial class LibcNet
{
    internal const int FamilyUnix = 1;
    internal const int SocketStream = 1;
    internal const int CloseOnExec = 0x8_0000;
    internal const int NonBlocking = 0x800;
    internal const int OpenReadWrite = 2;
    internal const int SocketLevel = 1;
    internal const int SendBuffer = 7;
    internal const int SendBufferForce = 32;
    internal const short PollIn = 1;
    internal const short PollOut = 4;
    internal const int SignalKill = 9;

    /// <summary>posix_spawn: reset signals to their defaults, take a signal mask, begin a session.</summary>
    internal const short SpawnFlags = 0x04 | 0x08 | 0x80;

    /// <summary>Bytes that hold glibc's posix_spawn_file_actions_t (80) or posix_spawnattr_t (336).</summary>
    internal const int SpawnObjectSize = 512;

    /// <summary>TUNSETIFF, TUNSETVNETHDRSZ, TUNSETOFFLOAD; SIOCGIFMTU on any socket.</summary>
    internal const nuint TunSetInterface = 0x4004_54CA;
    internal const nuint TunSetHeaderSize = 0x4004_54D8;
    internal const nuint TunSetOffload = 0x4004_54D0;

    /// <summary>socketpair(2).</summary>
    [LibraryImport("libc", EntryPoint = "socketpair", SetLastError = true)]
    internal static partial int SocketPair(int family, int kind, int protocol, int* pair);

    /// <summary>setsockopt(2) with a number.</summary>
    [LibraryImport("libc", EntryPoint = "setsockopt", SetLastError = true)]
    internal static partial int SetSocketOption(int fd, int level, int option, in int value, int length = sizeof(int));

    /// <summary>pipe2(2).</summary>
    [LibraryImport("libc", EntryPoint = "pipe2", SetLastError = true)]
    internal static partial int Pipe2(int* pair, int flags);

    /// <summary>eventfd(2).</summary>
    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    internal static partial int EventFd(uint value, int flags);

    /// <summary>fcntl(2) with a number.</summary>
    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    internal static partial int Fcntl(int fd, int command, int argument);

    /// <summary>open(2) of something that exists.</summary>
    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Open(string path, int flags);

    /// <summary>ioctl(2) with a buffer.</summary>
    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Ioctl(int fd, nuint request, Span<byte> buffer);

    /// <summary>ioctl(2) with a number.</summary>
    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Ioctl(int fd, nuint request, nint argument);

    /// <summary>if_nametoindex(3): 0 when there is no such network device.</summary>
    [LibraryImport("libc", EntryPoint = "if_nametoindex", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial uint InterfaceIndex(string name);

    /// <summary>posix_spawnp(3): returns the error number itself.</summary>
    [LibraryImport("libc", EntryPoint = "posix_spawnp", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Spawn(int* pid, string file, byte* actions, byte* attributes, byte** argv, byte** envp);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_init")]
    internal static partial int ActionsInit(byte* actions);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_destroy")]
    internal static partial int ActionsDestroy(byte* actions);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_adddup2")]
    internal static partial int ActionsDup(byte* actions, int from, int to);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_addopen", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int ActionsOpen(byte* actions, int fd, string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_init")]
    internal static partial int AttributesInit(byte* attributes);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_destroy")]
    internal static partial int AttributesDestroy(byte* attributes);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setflags")]
    internal static partial int AttributesSetFlags(byte* attributes, short flags);

    /// <summary>posix_spawnattr_setsigdefault(3); a signal set is 128 bytes.</summary>
    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setsigdefault")]
    internal static partial int AttributesSetDefaults(byte* attributes, byte* signals);

    /// <summary>kill(2).</summary>
    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    internal static partial int Kill(int pid, int signal);

    /// <summary>waitpid(2).</summary>
    [LibraryImport("libc", EntryPoint = "waitpid", SetLastError = true)]
    internal static partial int WaitPid(int pid, int* status, int options);
}
