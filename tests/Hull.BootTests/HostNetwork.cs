using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Threading.Tasks;

namespace Hull.BootTests;

/// <summary>The host's loopback, as guests with the user's own network reach it.</summary>
internal static class HostNetwork
{
    /// <summary>Shell words that set $router to the guest's router, which is the host's loopback.</summary>
    internal const string Router = "router=$(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p');";

    /// <summary>A TCP port that nobody has now.</summary>
    internal static int FreePort()
    {
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>What a web server on a port of the loopback has at its root.</summary>
    internal static async Task<string> ReadPageAsync(int port)
    {
        using Process curl = Process.Start(new ProcessStartInfo("curl", ["-sS", "--max-time", "60", $"http://127.0.0.1:{port}/"])
        {
            RedirectStandardOutput = true,
        })!; // a new process: never null
        string text = await curl.StandardOutput.ReadToEndAsync();
        await curl.WaitForExitAsync();
        return text;
    }
}
