using System;
using System.Diagnostics;

namespace Hull.BootTests;

/// <summary>A web server for the files of a folder, on the host's loopback.</summary>
internal sealed class HostWebServer : IDisposable
{
    private readonly Process _server;

    internal HostWebServer(string folder)
    {
        Port = HostNetwork.FreePort();
        _server = Process.Start("busybox", ["httpd", "-f", "-p", $"127.0.0.1:{Port}", "-h", folder]);
    }

    internal int Port { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        _server.Kill();
        _server.Dispose();
    }
}
