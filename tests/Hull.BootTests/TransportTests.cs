using System;
using System.Diagnostics;
using System.IO;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Threading.Tasks;
using Xunit;

namespace Hull.BootTests;

/// <summary>The same devices behind MMIO instead of PCI, and with packed rings, under Debian's own drivers.</summary>
public sealed class TransportTests : IDisposable
{
    private readonly string _image = Path.Combine(Path.GetTempPath(), $"hull-transport-{Guid.NewGuid():n}.img");

    [Theory]
    [InlineData("mmio")]
    [InlineData("packed")]
    [InlineData("mmio,packed")]
    public void DiskCardAndEntropy_Work(string how)
    {
        using (FileStream file = File.Create(_image))
        {
            file.SetLength(32 << 20);
        }

        using (Process format = Process.Start("mke2fs", ["-q", "-t", "ext4", _image]))
        {
            format.WaitForExit();
        }

        RunResult result = HullRun.Hull("run", "-c", "2", "--disk", $"{_image},{how}", "--net", $"user,{how}", "--device", $"rng,{how}",
            "--device", $"balloon,size=400M,{how}", "--", "sh", "-c",
            "mount -t ext4 /dev/vda /mnt && cp /bin/busybox /mnt/copy && umount /mnt "
            + "&& mount -t ext4 -o ro /dev/vda /mnt && cmp /bin/busybox /mnt/copy && echo same; "
            + "ip -o addr show dev eth0 | grep -c 'inet '; dd if=/dev/hwrng bs=1k count=4 2>/dev/null | wc -c; "
            + "cat /sys/bus/virtio/devices/*/features | cut -c35 | sort -u; ls /sys/bus/pci/drivers/virtio-pci | grep -c ^0000; true");

        bool isPacked = how.Contains("packed", StringComparison.Ordinal);
        bool isMmio = how.Contains("mmio", StringComparison.Ordinal);
        Assert.True(result.Status == 0, result.ToString());
        Assert.Equal($"same\n1\n4096\n{(isPacked ? 1 : 0)}\n{(isMmio ? 0 : 4)}\n", result.Text);
    }

    [Theory]
    [InlineData("mmio")]
    [InlineData("packed")]
    [InlineData("mmio,packed")]
    public async Task FolderConsoleAndSockets_Work(string how)
    {
        string folder = Directory.CreateTempSubdirectory("hull-transport-").FullName;
        try
        {
            byte[] content = RandomNumberGenerator.GetBytes(3_000_001);
            await File.WriteAllBytesAsync(Path.Combine(folder, "content"), content);
            using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            listener.Bind(new UnixDomainSocketEndPoint(Path.Combine(folder, "v_99")));
            listener.Listen();
            Task<long> received = Task.Run(() => Count(listener));

            RunResult result = HullRun.Hull("run", "-c", "2", "--root", "host", "--device", $"fs,path={folder},tag=tag,{how}",
                "--device", $"console,ports=stdio log=file:{folder}/log,{how}", "--device", $"vsock,path={folder}/v,{how}", "--", "sh", "-c",
                "mount -t tmpfs none /mnt; mkdir /mnt/a; mount -t virtiofs tag /mnt/a && cp /mnt/a/content /mnt/a/copy && sync "
                + "&& sha256sum </mnt/a/copy; seq 20000 >/dev/virtio-ports/log; echo shown >/dev/hvc0; "
                + "perl -e 'use Socket; socket(C, 40, SOCK_STREAM, 0); connect(C, pack(\"S S L L x4\", 40, 0, 99, 2)) or die; "
                + "print C \"x\" x 4000000' && echo sent; "
                + "ls -d /sys/bus/virtio/devices/virtio*/driver/ | wc -l; ls -d /sys/bus/platform/devices/LNRO0005* 2>/dev/null | wc -l");

            Assert.True(result.Status == 0, result.ToString());
            Assert.Contains(Convert.ToHexStringLower(SHA256.HashData(content)), result.Text, StringComparison.Ordinal);
            Assert.Contains("shown", result.Text, StringComparison.Ordinal);
            bool isMmio = how.Contains("mmio", StringComparison.Ordinal);
            Assert.EndsWith($"sent\n4\n{(isMmio ? 3 : 0)}\n", result.Text, StringComparison.Ordinal); // the root's share is the fourth
            Assert.Equal(4_000_000, await received);
            Assert.Equal(content, await File.ReadAllBytesAsync(Path.Combine(folder, "copy")));
            Assert.Equal(20000, File.ReadAllLines(Path.Combine(folder, "log")).Length);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    public void Dispose() => File.Delete(_image);

    private static long Count(Socket listener)
    {
        using Socket socket = listener.Accept();
        byte[] buffer = new byte[65536];
        long total = 0;
        int count;
        while ((count = socket.Receive(buffer)) > 0)
        {
            total += count;
        }

        return total;
    }
}
