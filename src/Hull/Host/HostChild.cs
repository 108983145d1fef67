using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

namespace Hull.Host;

/// <summary>
/// A program of the host's that works for a device, joined to Hull by a socket that it inherits: no name in the file system
/// for others to find, and its end is seen on both sides. In a session of its own, so that Ctrl-C is not for it.
/// </summary>
internal sealed unsafe class HostChild : IDisposable
{
    /// <summary>The number under which the child finds its end of the socket.</summary>
    internal const int SocketNumber = 3;

    // passt drops what does not fit at once, and its bursts are as long as a guest's TCP window.
    private const int SendBufferBytes = 8 << 20;

    private const int MostWords = 4096;
    private const int NoHang = 1;
    private readonly int _errors;
    private bool _reaped;
    private int _signal;

    private HostChild(int id, int errors, HostChannel channel)
    {
        Id = id;
        _errors = errors;
        Channel = channel;
    }

    /// <summary>The process.</summary>
    internal int Id { get; }

    /// <summary>Hull's end of the socket.</summary>
    internal HostChannel Channel { get; }

    /// <summary>Starts a program from the search path.</summary>
    /// <exception cref="HullException">It cannot be started.</exception>
    internal static HostChild Start(string program, IReadOnlyList<string> arguments)
    {
        int* sockets = stackalloc int[2];
        int* errors = stackalloc int[2];
        if (LibcNet.SocketPair(LibcNet.FamilyUnix, LibcNet.SocketStream | LibcNet.CloseOnExec, 0, sockets) != 0)
        {
            throw new HullException($"cannot make a socket for {program}: {Libc.LastErrorMessage()} (try a higher ulimit -n)");
        }

        // Beyond net.core.wmem_max only with CAP_NET_ADMIN; up to it always.
        if (LibcNet.SetSocketOption(sockets[1], LibcNet.SocketLevel, LibcNet.SendBufferForce, SendBufferBytes) != 0)
        {
            _ = LibcNet.SetSocketOption(sockets[1], LibcNet.SocketLevel, LibcNet.SendBuffer, SendBufferBytes);
        }

        // Not blocking: a child that complains for ever loses words, not time.
        if (LibcNet.Pipe2(errors, LibcNet.CloseOnExec | LibcNet.NonBlocking) != 0)
        {
            string reason = Libc.LastErrorMessage();
            Close(sockets[0], sockets[1]);
            throw new HullException($"cannot make a pipe for {program}: {reason} (try a higher ulimit -n)");
        }

        int error = Spawn(program, arguments, sockets[1], errors[1], out int id);
        Close(sockets[1], errors[1]);
        if (error != 0)
        {
            Close(sockets[0], errors[0]);
            throw new HullException($"cannot start {program}: {Marshal.GetPInvokeErrorMessage(error)}");
        }

        return new HostChild(id, errors[0], new HostChannel(sockets[0]));
    }

    /// <summary>Ends the child if it runs, and returns what it said on standard error, and the signal that had ended it.</summary>
    /// <param name="graceMs">
    /// How long it may still need to end by itself: the kernel closes a dying process's sockets before it can be waited for.
    /// </param>
    internal string[] End(int graceMs = 0)
    {
        if (!_reaped)
        {
            int status = 0;
            bool hadEnded = LibcNet.WaitPid(Id, &status, NoHang) == Id;
            for (long from = Environment.TickCount64; !hadEnded && Environment.TickCount64 - from < graceMs;)
            {
                Thread.Sleep(1);
                hadEnded = LibcNet.WaitPid(Id, &status, NoHang) == Id;
            }

            if (!hadEnded)
            {
                _ = LibcNet.Kill(Id, LibcNet.SignalKill);
                _ = LibcNet.WaitPid(Id, &status, 0);
            }

            _reaped = true;
            _signal = hadEnded ? status & 0x7F : 0;
        }

        byte[] words = new byte[MostWords];
        nint count = LibcStreams.Read(_errors, words, MostWords);
        string text = Encoding.UTF8.GetString(words, 0, (int)Math.Max(count, 0));
        return (_signal == 0 ? text : $"{text}\nkilled by signal {_signal}").Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ = End();
        Channel.Dispose();
        _ = Libc.Close(_errors);
    }

    private static int Spawn(string program, IReadOnlyList<string> arguments, int socket, int errors, out int id)
    {
        byte* actions = stackalloc byte[LibcNet.SpawnObjectSize];
        byte* attributes = stackalloc byte[LibcNet.SpawnObjectSize];
        byte* signals = stackalloc byte[128];
        new Span<byte>(signals, 128).Fill(0xFF);
        int pid = 0;

        // SAFETY: the objects are larger than glibc's; the strings live until the call has returned.
        _ = LibcNet.ActionsInit(actions);
        _ = LibcNet.AttributesInit(attributes);
        _ = LibcNet.AttributesSetFlags(attributes, LibcNet.SpawnFlags);
        _ = LibcNet.AttributesSetDefaults(attributes, signals);
        _ = LibcNet.ActionsOpen(actions, 0, "/dev/null", LibcNet.OpenReadWrite, 0);
        _ = LibcNet.ActionsOpen(actions, 1, "/dev/null", LibcNet.OpenReadWrite, 0);
        _ = LibcNet.ActionsDup(actions, errors, 2);
        _ = LibcNet.ActionsDup(actions, socket, SocketNumber);
        byte** argv = Strings([program, .. arguments]);
        byte** environment = Strings(["LC_ALL=C", $"PATH={Environment.GetEnvironmentVariable("PATH")}"]);
        int error = LibcNet.Spawn(&pid, program, actions, attributes, argv, environment);
        Free(argv);
        Free(environment);
        _ = LibcNet.ActionsDestroy(actions);
        _ = LibcNet.AttributesDestroy(attributes);
        id = pid;
        return error;
    }

    private static byte** Strings(List<string> texts)
    {
        byte** array = (byte**)NativeMemory.AllocZeroed((nuint)texts.Count + 1, (nuint)sizeof(byte*));
        for (int i = 0; i < texts.Count; i++)
        {
            array[i] = (byte*)Marshal.StringToCoTaskMemUTF8(texts[i]);
        }

        return array;
    }

    private static void Free(byte** array)
    {
        for (byte** at = array; *at != null; at++)
        {
            Marshal.FreeCoTaskMem((nint)(*at));
        }

        NativeMemory.Free(array);
    }

    private static void Close(int one, int other)
    {
        _ = Libc.Close(one);
        _ = Libc.Close(other);
    }
}
