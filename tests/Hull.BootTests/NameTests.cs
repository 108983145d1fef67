using System;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Threading.Tasks;
using Xunit;

namespace Hull.BootTests;

/// <summary>Names, by a server on the host's loopback that the host's resolv.conf names: no other network is needed.</summary>
public sealed class NameTests : IDisposable
{
    private const string Name = "www.hull.test";
    private const string Server = "127.0.0.77";                                 // not the first, as systemd-resolved's is not
    private readonly string _resolver = Path.GetTempFileName();
    private readonly UdpClient? _server = Bind();

    [MountTheory]
    [InlineData("nslookup " + Name)]
    [InlineData("getent ahostsv4 " + Name)]                                     // the host's C library in the guest
    public void Name_IsFoundThroughTheHostsResolver(string command)
    {
        Assert.True(_server is not null, $"somebody has port 53 of {Server}");
        Task server = Serve(_server);
        File.WriteAllText(_resolver, $"nameserver {Server}\n");
        RunResult result = HullRun.StartProgram("unshare", "-m", "sh", "-c",
            $"chmod 644 {_resolver} && mount --bind {_resolver} /etc/resolv.conf && exec {Checkout.Hull} run --net user "
            + (command.StartsWith("getent", StringComparison.Ordinal) ? "--root host " : "") + "-- " + command).WaitForEnd();

        Assert.True(result.Status == 0 && result.Text.Contains("198.51.100.7", StringComparison.Ordinal), result.ToString());
        Assert.False(server.IsFaulted, server.Exception?.ToString());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _server?.Dispose();
        File.Delete(_resolver);
    }

    private static UdpClient? Bind()
    {
        try
        {
            return new UdpClient(new IPEndPoint(IPAddress.Parse(Server), 53));
        }
        catch (SocketException)
        {
            return null;
        }
    }

    // RFC 1035: the question comes back with the answer's bit, and the one address behind it where that was asked for.
    private static async Task Serve(UdpClient server)
    {
        byte[] name = [.. Name.Split('.').SelectMany(static part => (byte[])[(byte)part.Length, .. Encoding.ASCII.GetBytes(part)]), 0];
        try
        {
            while (true)
            {
                UdpReceiveResult request = await server.ReceiveAsync();
                byte[] question = request.Buffer[12..(12 + Array.IndexOf(request.Buffer, (byte)0, 12) - 12 + 5)];
                bool isKnown = question.AsSpan().StartsWith(name);
                bool isAddress = isKnown && question[^3] == 1;
                byte[] answer =
                [
                    request.Buffer[0], request.Buffer[1], 0x85, isKnown ? (byte)0x80 : (byte)0x83, 0, 1, 0, isAddress ? (byte)1 : (byte)0, 0, 0, 0, 0,
                    .. question,
                    .. isAddress ? (byte[])[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 51, 100, 7] : [],
                ];
                await server.SendAsync(answer, request.RemoteEndPoint);
            }
        }
        catch (ObjectDisposedException)
        {
            // The test has ended.
        }
    }
}
