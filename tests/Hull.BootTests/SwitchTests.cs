using System;
using System.Collections.Concurrent;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading.Tasks;
using Hull.Boot;
using Hull.Devices.Virtio;
using Hull.Net;
using Xunit;

namespace Hull.BootTests;

/// <summary>Machines of one process on a switch of their own: what a program gets that has the library, not the command.</summary>
public sealed class SwitchTests : IAsyncLifetime
{
    private static readonly string[] Modules =
    [
        "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "failover", "net_failover", "virtio_net",
    ];

    private readonly ConcurrentBag<Machine> _machines = [];
    private readonly string _folder = Directory.CreateTempSubdirectory("hull-switch-").FullName;

    /// <summary>16 MB each way over TCP at once, with all offloads or in frames of 1500 bytes; one on another switch sees nobody.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1500)]
    public async Task TwoGuests_PingAndTransfer_WithNobodyElse(int mtu)
    {
        EthernetSwitch between = new();
        Task<string[]> first = RunAsync(between, mtu, 1, Exchange(2));
        Task<string[]> second = RunAsync(between, mtu, 2, Exchange(1));
        Task<string[]> other = RunAsync(new EthernetSwitch(), mtu, 3, "ping -c 2 -W 1 10.9.8.1 >/dev/null || echo alone");

        string[] mine = await first;
        string[] yours = await second;
        Assert.Matches("^[0-9a-f]{64}  -$", mine[0]);
        Assert.NotEqual(mine[0], yours[0]);
        Assert.Equal([mine[0], "answered", yours[0]], mine);
        Assert.Equal([yours[0], "answered", mine[0]], yours);
        Assert.Equal(["alone"], await other);
    }

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        foreach (Machine machine in _machines)
        {
            await machine.DisposeAsync();
        }

        Directory.Delete(_folder, recursive: true);
    }

    // Says the sum of its own bytes, and of those that the other one gives.
    private static string Exchange(int other) =>
        "dd if=/dev/urandom of=/data bs=1M count=16 2>/dev/null; sha256sum </data; httpd -p 80 -h /; "
        + $"until ping -c 1 -W 1 10.9.8.{other} >/dev/null; do :; done; echo answered; "
        + $"until wget -q -O /other http://10.9.8.{other}/data 2>/dev/null; do sleep 1; done; sha256sum </other";

    // What the guest's script printed. It stays until the others have ended too: they talk to it.
    private async Task<string[]> RunAsync(EthernetSwitch network, int mtu, int number, string script)
    {
        StringBuilder output = new();
        TaskCompletionSource finished = new(TaskCreationOptions.RunContinuationsAsynchronously);
        string kernel = Checkout.CloudKernel();
        Machine machine = await Machine.StartAsync(new MachineSpec
        {
            Name = $"guest{number}",
            MemoryBytes = 256UL << 20,
            Kernel = BootBlob.FromFile(kernel),
            Initrd = [BootBlob.FromFile(MakeInitramfs(kernel, number, script))],
            CommandLine = "console=ttyS0 quiet panic=-1",
            Devices = [new NetSpec { Switch = network, Mtu = mtu }],
            Serial = [bytes =>
            {
                output.Append(Encoding.ASCII.GetString(bytes));
                if (bytes.Contains((byte)'\n') && output.ToString().Contains("finished", StringComparison.Ordinal))
                {
                    finished.TrySetResult();
                }
            }],
        });
        _machines.Add(machine);
        await Task.WhenAny(finished.Task, machine.WaitAsync(), Task.Delay(TimeSpan.FromSeconds(120)));
        Assert.True(finished.Task.IsCompleted, $"guest {number} did not finish: {output}");
        return output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(static line => line.TrimEnd('\r'))
            .Where(static line => line != "finished" && !line.StartsWith('[')).ToArray();
    }

    private string MakeInitramfs(string kernel, int number, string script)
    {
        string tree = Directory.CreateDirectory(Path.Combine(_folder, $"tree{number}")).FullName;
        foreach (string folder in (string[])["bin", "dev", "proc", "sys"])
        {
            Directory.CreateDirectory(Path.Combine(tree, folder));
        }

        File.Copy(NetworkTests.ProgramOf("busybox"), Path.Combine(tree, "bin/busybox"));
        string modules = Path.Combine(Path.GetDirectoryName(kernel)!, "modules"); // a file has a folder
        foreach (string module in Modules)
        {
            // One that is not there is built in.
            string? file = Directory.GetFiles(modules, module + ".ko", SearchOption.AllDirectories).FirstOrDefault();
            if (file is not null)
            {
                File.Copy(file, Path.Combine(tree, module + ".ko"));
            }
        }

        File.WriteAllText(Path.Combine(tree, "init"), $"""
            #!/bin/busybox sh
            /bin/busybox --install /bin
            mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
            for module in {string.Join(' ', Modules)}; do [ ! -e /$module.ko ] || insmod /$module.ko; done
            ip link set eth0 up; ip addr add 10.9.8.{number}/24 dev eth0
            {script}
            echo finished
            while :; do sleep 1000; done

            """);
        string initramfs = tree + ".cpio";
        using Process pack = Process.Start("sh", ["-c", "cd \"$1\" && chmod 755 init && find . | busybox cpio -o -H newc >\"$2\" 2>/dev/null", "sh", tree, initramfs]);
        pack.WaitForExit();
        Assert.Equal(0, pack.ExitCode);
        return initramfs;
    }
}
