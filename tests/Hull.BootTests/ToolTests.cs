using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Threading.Tasks;
using Xunit;

namespace Hull.BootTests;

/// <summary>
/// What others' programs say of Hull's disks and networks. Those of the guest are the host's own, seen through --root host.
/// </summary>
public sealed class ToolTests : IDisposable
{

    private readonly string _folder = Directory.CreateTempSubdirectory("hull-tools-").FullName;

    [ToolTheory("fio", "qemu-img", "e2fsck")]
    [InlineData("raw")]
    [InlineData("qcow2")]
    public void Fio_VerifiesWhatIsOnTheDisk_AlsoInTheNextGuest(string format)
    {
        string image = Path.Combine(_folder, "disk." + format);
        Assert.Equal(0, Run("qemu-img", "create", "-q", "-f", format, image, "256M").Status);

        // Sixteen requests of mixed sizes at once; zeroed and trimmed parts among them; a flush now and then.
        const string job = "fio --name=disk --filename=/dev/vda --direct=1 --ioengine=libaio --rw=randwrite --bssplit=4k/50:16k/30:64k/20 "
            + "--size=64m --iodepth=16 --fsync=64 --verify=crc32c --verify_fatal=1 --randseed=7 --minimal";
        Guest(image, $"{job} --do_verify=1 >/tmp/log || cat /tmp/log; blkdiscard -o 64M -l 32M /dev/vda; blkdiscard -z -o 96M -l 32M /dev/vda; echo ok");
        Guest(image, $"{job} --verify_only >/tmp/log || cat /tmp/log; dd if=/dev/vda bs=1M skip=64 count=64 2>/dev/null | cmp -n 67108864 - /dev/zero && echo ok");
        AssertImageIsClean(image, format);

        Guest(image, "mkfs.ext4 -q /dev/vda && mount -t ext4 /dev/vda /mnt && fio --name=files --directory=/mnt --rw=randwrite --bs=4k --size=16m "
            + "--numjobs=2 --fsync=32 --verify=crc32c --verify_fatal=1 --verify_backlog=256 --minimal >/tmp/log || cat /tmp/log; umount /mnt && echo ok");
        AssertImageIsClean(image, format);
        string raw = Path.Combine(_folder, "whole.img");
        Assert.Equal(0, Run("qemu-img", "convert", "-f", format, "-O", "raw", image, raw).Status);
        (int status, string text) = Run("e2fsck", "-fn", raw);
        Assert.True(status == 0, text);
    }

    [ToolTheory("qemu-img", "mkfs.ext4", "fstrim")]
    [InlineData("raw")]
    [InlineData("qcow2")]
    public void Fstrim_GivesTheHostItsBlocksBack(string format)
    {
        string image = Path.Combine(_folder, "disk." + format);
        Assert.Equal(0, HullRun.Hull("image", "create", image, "256M").Status);
        Guest(image, "mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt && dd if=/dev/urandom of=/mnt/stays bs=1M count=8 2>/dev/null "
            + "&& dd if=/dev/urandom of=/mnt/goes bs=1M count=96 2>/dev/null && sha256sum </mnt/stays >/mnt/sum && umount /mnt && echo ok");
        long full = HostKilobytes(image);
        Assert.True(full > 100 << 10, $"{full} KiB");

        Guest(image, "mount /dev/vda /mnt && rm /mnt/goes && sync && fstrim /mnt && sha256sum </mnt/stays | cmp - /mnt/sum && umount /mnt && echo ok");
        long left = HostKilobytes(image);
        Assert.InRange(left, 8 << 10, full - (90 << 10));
        AssertImageIsClean(image, format);
    }

    [ToolFact("curl", "passt")]
    public void Curl_FetchesAndSends_BothWaysThroughTheRouter()
    {
        byte[] content = new byte[20_000_000];
        new Random(3).NextBytes(content);
        File.WriteAllBytes(Path.Combine(_folder, "data"), content);
        int published = HostNetwork.FreePort();
        using HostWebServer server = new(_folder);

        // The host's file comes in, and goes out again to whoever asks at the published port.
        using HullRun run = HullRun.Start("run", "--root", "host", "--publish", $"127.0.0.1:{published}:80", "--", "sh", "-c",
            $"{HostNetwork.Router} mkdir /run/www && curl -sSf -o /run/www/data http://$router:{server.Port}/data && echo fetched; busybox httpd -f -p 80 -h /run/www");
        run.WaitFor("fetched\n");
        string copy = Path.Combine(_folder, "copy");
        (int status, _) = Run("curl", "-sSf", "--retry", "20", "--retry-connrefused", "--retry-all-errors", "-o", copy, $"http://127.0.0.1:{published}/data");
        Assert.Equal(0, status);
        Assert.True(File.ReadAllBytes(copy).AsSpan().SequenceEqual(content));
    }

    [ToolTheory("iperf3", "passt")]
    [InlineData("1", "user")]
    [InlineData("2", "user,queues=2")]
    public void Iperf3_SendsAndReceives(string vcpus, string net)
    {
        string port = HostNetwork.FreePort().ToString(CultureInfo.InvariantCulture);
        using Process server = Process.Start(new ProcessStartInfo("iperf3", ["-s", "-B", "127.0.0.1", "-p", port])
        {
            RedirectStandardOutput = true,
        })!;
        try
        {
            foreach (string direction in (ReadOnlySpan<string>)["", "-R", "--bidir -P 2"])
            {
                RunResult result = HullRun.Hull("run", "-c", vcpus, "--root", "host", "--net", net, "--", "sh", "-c",
                    $"{HostNetwork.Router} iperf3 -c $router -p {port} -t 2 {direction} --json");

                Assert.True(result.Status == 0, result.ToString());
                using JsonDocument report = JsonDocument.Parse(result.Text);
                JsonElement end = report.RootElement.GetProperty("end");
                Assert.True(end.GetProperty("sum_received").GetProperty("bytes").GetInt64() > 4 << 20, result.Text);
                if (direction.StartsWith("--bidir", StringComparison.Ordinal))
                {
                    Assert.True(end.GetProperty("sum_received_bidir_reverse").GetProperty("bytes").GetInt64() > 4 << 20, result.Text);
                }
            }
        }
        finally
        {
            server.Kill();
        }
    }

    [ToolFact("tshark", "passt")]
    public async Task Capture_HasNothingThatTsharkFindsWrong()
    {
        string file = Path.Combine(_folder, "net.pcap");
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        Task served = Task.Run(async () =>
        {
            using TcpClient client = await listener.AcceptTcpClientAsync();
            byte[] request = new byte[4096];
            _ = await client.GetStream().ReadAsync(request);
            await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes("HTTP/1.0 200 OK\r\nContent-Length: 200000\r\n\r\n" + new string('x', 200_000)));
        });
        RunResult result = HullRun.Hull("run", "--pcap", file, "--", "sh", "-c",
            $"{HostNetwork.Router} wget -q -O - http://$router:{((IPEndPoint)listener.LocalEndpoint).Port}/ | wc -c");
        Assert.True(result is { Status: 0, Text: "200000\n" }, result.ToString());
        await served;

        string wrong = Tshark(file, "_ws.malformed || tcp.checksum.status == \"Bad\" || udp.checksum.status == \"Bad\" || ip.checksum.status == \"Bad\"");
        Assert.Equal("", wrong);
        Assert.NotEqual("", Tshark(file, "dhcp.option.dhcp == 5"));
        Assert.NotEqual("", Tshark(file, "http.request.method == GET"));
        Assert.NotEqual("", Tshark(file, "http.response.code == 200 && http.content_length == 200000"));
        Assert.Equal("", Tshark(file, "tcp.analysis.lost_segment || tcp.analysis.ack_lost_segment"));
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static void Guest(string image, string command)
    {
        RunResult result = HullRun.Hull("run", "-c", "2", "--root", "host", "--disk", image, "--", "sh", "-c", command);
        Assert.True(result is { Status: 0, Text: "ok\n" }, result.ToString());
    }

    private static long HostKilobytes(string file)
    {
        (int status, string text) = Run("du", "-k", file);
        Assert.Equal(0, status);
        return long.Parse(text.Split('\t')[0], CultureInfo.InvariantCulture);
    }

    private static void AssertImageIsClean(string image, string format)
    {
        if (format == "qcow2")
        {
            (int status, string text) = Run("qemu-img", "check", "-f", format, image);
            Assert.True(status == 0, text);
        }
    }

    private static string Tshark(string file, string filter)
    {
        (int status, string text) = Run(
            "tshark", "-r", file, "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
            "-2", "-d", "tcp.port==1-65535,http", "-Y", filter);
        Assert.Equal(0, status);
        return text;
    }

    private static (int Status, string Text) Run(string program, params string[] arguments)
    {
        ProcessStartInfo info = new(program, arguments) { RedirectStandardOutput = true };
        info.Environment["PATH"] += ":/usr/sbin:/sbin";
        using Process process = Process.Start(info)!; // a new process: never null
        string text = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, text);
    }
}
