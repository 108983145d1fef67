using System;
using System.Diagnostics;
using System.IO;
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

    public void Dispose() => File.Delete(_image);
}
