using System;
using System.Diagnostics;
using System.IO;
using System.Net.Sockets;
using System.Text;
using System.Threading.Tasks;
using Xunit;

namespace Hull.BootTests;

/// <summary>Ways between host and guest under Debian's own drivers: console ports, the console itself, vsock.</summary>
public sealed class PortTests : IDisposable
{
    // AF_VSOCK is 40; struct sockaddr_vm is family, padding, port, context identifier.
    private const string Perl = "use Socket; sub at { pack('S S L L x4', 40, 0, $_[1], $_[0]) } $| = 1; ";

    private readonly string _folder = Directory.CreateTempSubdirectory("hull-ports").FullName;

    [Fact]
    public async Task NamedPort_IsInDevVirtioPorts_AndTalksThroughASocket()
    {
        string path = Path.Combine(_folder, "agent");
        using HullRun run = HullRun.Start("run", "--device", $"console,ports=org.hull.agent=unix:{path}", "--", "sh", "-c",
            "exec 5<>/dev/virtio-ports/org.hull.agent; echo up; until read -r line <&5; do usleep 20000; done; echo \"got $line\"; echo answer >&5; sleep 1");
        run.WaitFor("up\n");
        using Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(path));
        await socket.SendAsync("question\n"u8.ToArray());
        run.WaitFor("got question\n");
        byte[] answer = new byte[64];
        int count = await socket.ReceiveAsync(answer);

        Assert.Equal("answer\n", Encoding.ASCII.GetString(answer, 0, count));
        Assert.Equal(0, run.WaitForEnd().Status);
    }

    [Fact]
    public void ConsolePorts_GoToTheTerminalAndToAFile()
    {
        string log = Path.Combine(_folder, "log");
        RunResult result = HullRun.Hull("run", "--device", $"console,ports=stdio log=file:{log}", "--", "sh", "-c",
            "seq 20000 >/dev/virtio-ports/log; echo shown >/dev/hvc0; sleep 0.2");

        Assert.True(result.Status == 0 && result.Text.Contains("shown", StringComparison.Ordinal), result.ToString());
        Assert.Equal(20000, File.ReadAllLines(log).Length);
    }

    [Fact]
    public void Shell_OnTheVirtioConsole_KnowsTheTerminalsSize()
    {
        using HullRun run = HullRun.StartOnTerminal("run --net none --device console");
        run.WaitFor("# ");
        run.Type("tty; stty size\r");
        run.WaitFor("/dev/hvc0");
        run.WaitFor("40 120");

        // A window that becomes another: the terminal of `script`, which hull has on standard input.
        Resize(run.Id, 33, 101);
        run.Type("until stty size | grep '33 101'; do usleep 50000; done\r");
        run.WaitFor("33 101");
        run.WaitFor("# ");
        Resize(run.Id, 50, 90);
        run.Type("sleep 1; stty size\r");
        run.WaitFor("50 90");
        run.Type("exit\r");
        Assert.Equal(0, run.WaitForEnd().Status);
    }

    [Fact]
    public async Task Vsock_ReachesTheHostsSocket_AndIsReached()
    {
        string path = Path.Combine(_folder, "v");
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path + "_99"));
        listener.Listen();
        Task<long> echoed = Task.Run(() => Echo(listener.Accept()));
        string script = Perl
            + "socket(S, 40, SOCK_STREAM, 0); bind(S, at(0xffffffff, 1234)) or die; listen(S, 1); "
            + "socket(C, 40, SOCK_STREAM, 0); connect(C, at(2, 99)) or die; "
            + "if (!fork) { for (1 .. 400) { my $d = 'x' x 10000; while (length $d) { my $n = syswrite(C, $d) or die; substr($d, 0, $n) = '' } } shutdown(C, 1); exit } "
            + "my $n = 0; while (my $c = sysread(C, my $b, 65536)) { $n += $c } print qq(back $n\\n); "
            + "socket(D, 40, SOCK_STREAM, 0); print connect(D, at(2, 98)) ? qq(odd\\n) : qq(refused\\n); print qq(serving\\n); "
            + "accept(A, S); while (sysread(A, my $b, 65536)) { syswrite(A, uc $b) }";
        using HullRun run = HullRun.Start("run", "--root", "host", "--device", $"vsock,path={path}", "--", "perl", "-e", script);
        run.WaitFor("back 4000000\n");
        Assert.Equal(4_000_000, await echoed);
        run.WaitFor("refused\n");
        run.WaitFor("serving\n");

        using Socket host = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await host.ConnectAsync(new UnixDomainSocketEndPoint(path));
        await host.SendAsync("CONNECT 1234\nhello"u8.ToArray());
        host.Shutdown(SocketShutdown.Send);
        byte[] buffer = new byte[256];
        int length = 0;
        int count;
        while ((count = await host.ReceiveAsync(buffer.AsMemory(length))) > 0)
        {
            length += count;
        }

        Assert.Matches("^OK [0-9]+\nHELLO$", Encoding.ASCII.GetString(buffer, 0, length));
        Assert.Equal(0, run.WaitForEnd().Status);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static void Resize(int script, int rows, int columns)
    {
        using Process resize = Process.Start("sh",
            ["-c", $"stty -F \"$(readlink /proc/$(pgrep -P {script} | head -n 1)/fd/0)\" rows {rows} cols {columns}"]);
        resize.WaitForExit();
        Assert.Equal(0, resize.ExitCode);
    }

    private static long Echo(Socket socket)
    {
        using (socket)
        {
            byte[] buffer = new byte[65536];
            long total = 0;
            int count;
            while ((count = socket.Receive(buffer)) > 0)
            {
                socket.Send(buffer, count, SocketFlags.None);
                total += count;
            }

            return total;
        }
    }
}
