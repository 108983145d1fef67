using System;
using System.Diagnostics;
using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Threading.Tasks;
using Xunit;

namespace Hull.BootTests;

/// <summary>
/// The user's own network under Debian's virtio_net: the guest's router is the host's loopback, so nothing leaves the host.
/// </summary>
public sealed class NetworkTests
{
    private const int Megabytes = 32;

    [Fact]
    public void Card_HasAddressRouteAndNameServer()
    {
        RunResult result = HullRun.Hull("run", "--net", "user", "--", "sh", "-c",
            "ip -o addr show dev eth0 | grep -c 'inet '; ip route | grep -c default; grep -c nameserver /etc/resolv.conf; "
            + "cat /sys/class/net/eth0/mtu /sys/class/net/eth0/carrier");

        Assert.True(result.Status == 0, result.ToString());
        Assert.Matches("^1\n1\n[1-9]\n65520\n1\n$", result.Text);
    }

    [Theory]
    [InlineData("1", "user")]
    [InlineData("2", "user,queues=2,mtu=1500")]
    public async Task LongTransfers_BothWays_AreWhole(string vcpus, string net)
    {
        byte[] block = RandomNumberGenerator.GetBytes(1 << 20);
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        Task<(string Sent, string Received)> host = Serve(listener, block);

        RunResult result = HullRun.Hull("run", "-m", "1G", "-c", vcpus, "--net", net, "--", "sh", "-c",
            $"{HostNetwork.Router} wget -q -O /tmp/data http://$router:{Port(listener)}/ && nc $router {Port(listener)} </tmp/data");

        Assert.True(result.Status == 0, result.ToString());
        (string sent, string received) = await host.WaitAsync(TimeSpan.FromMinutes(2));
        Assert.Equal(sent, received);
    }

    [Fact]
    public async Task PublishedPort_LeadsToTheGuest()
    {
        int port = HostNetwork.FreePort();
        using HullRun run = HullRun.Start("run", "--publish", $"127.0.0.1:{port}:80", "--", "sh", "-c",
            "echo 'from the guest' >/tmp/index.html; httpd -h /tmp && echo up; sleep 1000");
        run.WaitFor("up\n");
        string text = await HostNetwork.ReadPageAsync(port);
        run.Signal("INT");

        Assert.Equal("from the guest\n", text);
        Assert.Equal(130, run.WaitForEnd().Status);
    }

    [Fact]
    public async Task PublishedUdpPort_LeadsToTheGuest()
    {
        // busybox has no server for datagrams: the guest's kernel counts those that it has no port for.
        int port = HostNetwork.FreePort();
        using HullRun run = HullRun.Start("run", "--publish", $"127.0.0.1:{port}:53/udp", "--", "sh", "-c",
            "echo up; until [ \"$(sed -n 's/^Udp: [0-9]* \\([0-9]*\\).*/\\1/p' /proc/net/snmp)\" -ge 3 ]; do usleep 10000; done; echo came");
        run.WaitFor("up\n");
        using UdpClient client = new(0, AddressFamily.InterNetwork);
        Task<RunResult> end = Task.Run(run.WaitForEnd);
        while (!end.IsCompleted)
        {
            await client.SendAsync("question\n"u8.ToArray(), "127.0.0.1", port);
            await Task.WhenAny(end, Task.Delay(100));
        }

        RunResult result = await end;
        Assert.True(result is { Status: 0, Text: "came\n" }, result.ToString());
    }

    [Fact]
    public void KilledPasst_IsALostLink_AndComesBack()
    {
        using HullRun run = HullRun.Start("run", "--net", "user", "--", "sh", "-c",
            "echo up; while grep -q 1 /sys/class/net/eth0/carrier; do usleep 10000; done; echo lost; "
            + $"while grep -q 0 /sys/class/net/eth0/carrier; do usleep 10000; done; {HostNetwork.Router} arping -q -c 1 -w 20 -I eth0 $router && echo back");
        run.WaitFor("up\n");
        using Process kill = Process.Start("pkill", ["-KILL", "-P", $"{run.Id}", "passt"]);
        kill.WaitForExit();
        run.WaitFor("lost\n");
        run.WaitFor("back\n");
        RunResult result = run.WaitForEnd();

        Assert.True(result.Status == 0, result.ToString());
        Assert.Equal(
            "hull: passt ended (killed by signal 9): the guest has no network until it runs again\n"
            + "hull: passt runs again: the guest's network is back\n",
            result.Error);
    }

    [Fact]
    public void KilledHull_LeavesNoPasst()
    {
        using HullRun run = HullRun.Start("run", "--net", "user", "--", "sh", "-c", "echo up; sleep 1000");
        run.WaitFor("up\n");
        string[] children = File.ReadAllText($"/proc/{run.Id}/task/{run.Id}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries);
        string[] passt = Array.FindAll(children, static id => File.ReadAllText($"/proc/{id}/comm").StartsWith("passt", StringComparison.Ordinal));
        run.Signal("KILL");
        run.WaitForEnd();

        string id = Assert.Single(passt);
        Assert.True(
            System.Threading.SpinWait.SpinUntil(() => !IsRunning(id), TimeSpan.FromSeconds(20)),
            $"passt {id} still runs");
    }

    [Fact]
    public void Capture_IsReadByTcpdump()
    {
        string file = Path.Combine(Path.GetTempPath(), $"hull-{Guid.NewGuid():n}.pcap");
        RunResult result = HullRun.Hull("run", "--pcap", file, "--", "sh", "-c", $"{HostNetwork.Router} arping -q -c 1 -I eth0 $router");
        Assert.True(result.Status == 0, result.ToString());

        using Process reader = Process.Start(new ProcessStartInfo(ProgramOf("tcpdump"), ["-n", "-r", file]) { RedirectStandardOutput = true })!;
        string text = reader.StandardOutput.ReadToEnd();
        reader.WaitForExit();
        File.Delete(file);
        Assert.Equal(0, reader.ExitCode);
        Assert.Contains("BOOTP/DHCP, Reply", text, StringComparison.Ordinal);
        Assert.Contains("ARP, Reply", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Console_HasANetwork_WithoutBeingAsked()
    {
        using HullRun run = HullRun.StartOnTerminal("run");
        run.WaitFor("/root # ");
        run.Type("until grep nameserver /etc/resolv.conf; do usleep 10000; done; echo con''figured\n");
        run.WaitFor("configured");
        run.Type("poweroff\n");
        Assert.Equal(0, run.WaitForEnd().Status);
    }

    [Theory]
    [InlineData("--net=bridge", "user, none or tap=NAME")]
    [InlineData("--net=tap=hull-no-such", "ip tuntap add hull-no-such")]
    [InlineData("--publish=80", "[ADDRESS:]HOST:GUEST[/udp]")]
    [InlineData("--pcap=/nowhere/x.pcap", "/nowhere/x.pcap")]
    public void WrongNetwork_IsOneClearLine(string option, string expected)
    {
        RunResult result = HullRun.Hull("run", option, "--", "true");

        Assert.True(result.Status == 125 && result.Error.Contains(expected, StringComparison.Ordinal)
            && result.Error.TrimEnd().Split('\n').Length == 1, result.ToString());
    }

    [ToolFact("unshare")]
    public void HostWithoutUserNamespaces_IsOneClearLine()
    {
        using HullRun run = HullRun.StartProgram("unshare", "-Ur", "sh", "-c",
            $"echo 0 >/proc/sys/user/max_user_namespaces && exec {Checkout.Hull} run --net user -- true");
        RunResult result = run.Finish();
        Assert.Equal(125, result.Status);
        Assert.Contains("user.max_user_namespaces", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void PublishedPortThatIsInUse_IsSaidBeforeTheGuestRuns()
    {
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        RunResult result = HullRun.Hull("run", "--publish", $"127.0.0.1:{Port(listener)}:80", "--", "true");

        Assert.True(result.Status == 125 && result.Error.Contains($"{Port(listener)}", StringComparison.Ordinal)
            && result.Error.TrimEnd().Split('\n').Length == 1, result.ToString());
    }

    /// <summary>A program from the host's packages; installed where it is missing and that is possible.</summary>
    internal static string ProgramOf(string package)
    {
        foreach (string place in (string[])["/usr/bin", "/usr/sbin", "/sbin", "/bin"])
        {
            if (File.Exists($"{place}/{package}"))
            {
                return $"{place}/{package}";
            }
        }

        using Process install = Process.Start("sh", ["-c", $"apt-get install -y -qq {package} >&2 || {{ apt-get update && apt-get install -y -qq {package}; }} >&2"]);
        install.WaitForExit();
        Assert.True(install.ExitCode == 0, $"this host lacks {package}: sudo apt-get install {package}");
        return package;
    }

    private static bool IsRunning(string id)
    {
        try
        {
            return File.ReadAllText($"/proc/{id}/stat").Split(')')[^1].Trim()[0] != 'Z';
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static int Port(TcpListener listener) => ((IPEndPoint)listener.LocalEndpoint).Port;

    // The first connection asks for a file, of blocks that are each a little different; the second one brings it back.
    private static async Task<(string Sent, string Received)> Serve(TcpListener listener, byte[] block)
    {
        using IncrementalHash sent = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using IncrementalHash received = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] buffer = new byte[1 << 18];
        using (TcpClient down = await listener.AcceptTcpClientAsync())
        {
            _ = await down.GetStream().ReadAsync(buffer);
            string header = $"HTTP/1.0 200 OK\r\nContent-Length: {Megabytes << 20}\r\n\r\n";
            await down.GetStream().WriteAsync(Encoding.ASCII.GetBytes(header));
            for (int i = 0; i < Megabytes; i++)
            {
                BitConverter.TryWriteBytes(block.AsSpan(i), i);
                sent.AppendData(block);
                await down.GetStream().WriteAsync(block);
            }
        }

        using TcpClient up = await listener.AcceptTcpClientAsync();

        // Debian 12's passt resets a connection after 24 s when its own side has never sent a byte.
        await up.GetStream().WriteAsync("."u8.ToArray());
        int count;
        while ((count = await up.GetStream().ReadAsync(buffer)) > 0)
        {
            received.AppendData(buffer, 0, count);
        }

        return (Convert.ToHexString(sent.GetHashAndReset()), Convert.ToHexString(received.GetHashAndReset()));
    }
}
