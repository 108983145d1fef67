using System;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Threading.Tasks;
using Xunit;

namespace Hull.BootTests;

/// <summary>The user's own network under Debian's xen_netfront: `hull run --xen --net user`.</summary>
public sealed class XenNetworkTests
{
    private const int Megabytes = 16;

    [Theory]
    [InlineData("1", 1)]
    [InlineData("2", 2)]
    public void Card_IsNetfronts_WithAnAddress(string vcpus, int queues)
    {
        RunResult result = HullRun.Hull("run", "--xen", "-c", vcpus, "--net", "user", "--", "sh", "-c",
            "basename $(readlink /sys/class/net/eth0/device/driver); ip -o addr show dev eth0 | grep -c 'inet '; "
            + "cat /sys/class/net/eth0/mtu; ls -d /sys/class/net/eth0/queues/rx-* | wc -l; grep -c vif0.*tx /proc/interrupts");

        Assert.True(result.Status == 0, result.ToString());
        Assert.Equal($"vif\n1\n65520\n{queues}\n{queues}\n", result.Text);
    }

    [Theory]
    [InlineData("1", "user")]
    [InlineData("2", "user,mtu=1500")]
    public Task LongTransfers_BothWays_AreWhole(string vcpus, string net) => Transfer([], vcpus, net);

    [GuestFact(TestGuest.GenericKernel)]
    public Task LongTransfers_OfTheGenericKernel_AreWhole() => Transfer([Checkout.GenericKernel!], "2", "user"); // there, or skipped

    [Fact]
    public async Task PublishedPort_LeadsToTheGuest()
    {
        int port = HostNetwork.FreePort();
        using HullRun run = HullRun.Start("run", "--xen", "--publish", $"127.0.0.1:{port}:80", "--", "sh", "-c",
            "echo 'from a guest of Xen' >/tmp/index.html; httpd -h /tmp && echo up; sleep 1000");
        run.WaitFor("up\n");
        string text = await HostNetwork.ReadPageAsync(port);
        run.Signal("INT");

        Assert.Equal("from a guest of Xen\n", text);
        Assert.Equal(130, run.WaitForEnd().Status);
    }

    [Fact]
    public void Driver_ThatIsTakenOut_ComesBack()
    {
        RunResult result = HullRun.Hull("run", "--xen", "--net", "user", "--", "sh", "-c",
            "for i in 1 2 3; do rmmod xen_netfront && insmod /hull/modules/*xen-netfront.ko && "
            + "until [ -e /sys/class/net/eth0 ]; do usleep 1000; done; done; "
            + $"udhcpc -n -t 10 -T 1 -s /hull/dhcp -i eth0 >/dev/null && {HostNetwork.Router} arping -q -c 1 -w 20 -I eth0 $router && dmesg | grep -i 'still in use'");

        Assert.True(result.Status == 1 && result.Text.Length == 0, result.ToString());
    }

    private static async Task Transfer(string[] kernel, string vcpus, string net)
    {
        byte[] data = RandomNumberGenerator.GetBytes(Megabytes << 20);
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        Task<byte[]> host = Serve(listener, data);
        int port = ((IPEndPoint)listener.LocalEndpoint).Port;

        RunResult result = HullRun.Hull(["run", .. kernel, "--xen", "-m", "1G", "-c", vcpus, "--net", net, "--", "sh", "-c",
            $"{HostNetwork.Router} wget -q -O /tmp/data http://$router:{port}/ && nc $router {port} </tmp/data"]);

        Assert.True(result.Status == 0, result.ToString());
        byte[] back = await host.WaitAsync(TimeSpan.FromMinutes(2));
        Assert.True(data.AsSpan().SequenceEqual(back));
    }

    // One connection gets the bytes, the next one sends them back.
    private static async Task<byte[]> Serve(TcpListener listener, byte[] data)
    {
        using (TcpClient first = await listener.AcceptTcpClientAsync())
        {
            NetworkStream stream = first.GetStream();
            _ = await stream.ReadAsync(new byte[4096]); // the question, whatever it is
            await stream.WriteAsync(System.Text.Encoding.ASCII.GetBytes($"HTTP/1.0 200 OK\r\nContent-Length: {data.Length}\r\n\r\n"));
            await stream.WriteAsync(data);
        }

        using TcpClient second = await listener.AcceptTcpClientAsync();
        await second.GetStream().WriteAsync("."u8.ToArray()); // passt: see NetworkTests
        using System.IO.MemoryStream back = new();
        await second.GetStream().CopyToAsync(back);
        return back.ToArray();
    }
}
