using System;
using System.IO;
using System.Net.Sockets;
using System.Threading;
using Hull.Devices.Virtio;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

public sealed class VsockDeviceTests : IDisposable
{
    private const int Receive = 0;
    private const int Transmit = 1;
    private readonly string _folder = Directory.CreateTempSubdirectory("hull-vsock").FullName;

    private string Place => Path.Combine(_folder, "v");

    [Fact]
    public void HostsProgram_ReachesTheGuestsPort()
    {
        using VirtioDriver driver = Start();
        using Socket host = Connect(Place);
        host.Send("CONNECT 1234\nearly"u8);
        VsockPacket request = Next(driver, out _);
        Assert.Equal((VsockOperation.Request, 1234u), (request.Operation, request.DestinationPort));
        Send(driver, Answer(request, VsockOperation.Response));
        Assert.Equal("OK 1073741824\n", ReadText(host, 14));
        Assert.Equal(VsockOperation.Data, Next(driver, out byte[] data).Operation);
        Assert.Equal("early"u8, data);
        Send(driver, Answer(request, VsockOperation.Data) with { Length = 3 }, "abc"u8);
        Assert.Equal("abc", ReadText(host, 3));
        host.Dispose();
        Assert.Equal(VsockOperation.Shutdown, Next(driver, out _).Operation);
    }

    [Fact]
    public void GuestsPort_ReachesTheHostsSocket()
    {
        using Socket listener = Listen(99);
        using VirtioDriver driver = Start();
        Send(driver, Packet(VsockOperation.Request, 5, 99));
        Assert.Equal(VsockOperation.Response, Next(driver, out _).Operation);
        using Socket host = listener.Accept();
        Send(driver, Packet(VsockOperation.Data, 5, 99) with { Length = 4 }, "data"u8);
        Assert.Equal("data", ReadText(host, 4));
        Send(driver, Packet(VsockOperation.Shutdown, 5, 99) with { Flags = 3 });
        Assert.Equal(VsockOperation.Reset, Next(driver, out _).Operation);
        Assert.Equal(0, host.Receive(new byte[1]));
    }

    [Theory]
    [InlineData((ushort)1)]
    [InlineData((ushort)5)]
    [InlineData((ushort)99)]
    public void PacketForNobody_IsAnsweredWithAReset(ushort operation)
    {
        using VirtioDriver driver = Start();
        Send(driver, Packet((VsockOperation)operation, 5, 99));
        VsockPacket answer = Next(driver, out _);
        Assert.Equal((VsockOperation.Reset, 99u, 5u), (answer.Operation, answer.SourcePort, answer.DestinationPort));
    }

    [Fact]
    public void GuestThatSendsBeyondItsRoom_LosesTheConnection()
    {
        using Socket listener = Listen(99);
        using VirtioDriver driver = Start();
        Send(driver, Packet(VsockOperation.Request, 5, 99));
        Assert.Equal(VsockOperation.Response, Next(driver, out _).Operation);
        byte[] much = new byte[60_000];
        for (int i = 0; i < 20; i++)
        {
            Send(driver, Packet(VsockOperation.Data, 5, 99) with { Length = (uint)much.Length }, much);
        }

        VsockOperation last = VsockOperation.CreditUpdate;
        while (last == VsockOperation.CreditUpdate)
        {
            last = Next(driver, out _).Operation;
        }

        Assert.Equal(VsockOperation.Reset, last);
    }

    [Fact]
    public void NoMoreGoesToTheGuest_ThanItHasRoomFor()
    {
        using VirtioDriver driver = Start();
        using Socket host = Connect(Place);
        host.Send("CONNECT 1\n"u8);
        VsockPacket request = Next(driver, out _);
        Send(driver, Answer(request, VsockOperation.Response) with { BufferBytes = 10 });
        host.Send("0123456789abc"u8);
        Next(driver, out byte[] data);
        Assert.Equal("0123456789"u8, data);
        Send(driver, Answer(request, VsockOperation.CreditUpdate) with { BufferBytes = 10, ForwardedBytes = 10 });
        Next(driver, out data);
        Assert.Equal("abc"u8, data);
    }

    [Fact]
    public void GuestThatTakesNoAnswers_IsNotListenedTo()
    {
        using VirtioDriver driver = new VirtioDriver(context => new VsockDevice(context, Place, 3), threads: false).Start();
        for (int i = 0; i < 400; i++)
        {
            Send(driver, Packet(VsockOperation.Request, 5, 99));
        }

        Assert.InRange(driver.Used(Transmit), 200, 300);
    }

    [Fact]
    public void ProgramsOfTheHosts_SurviveAGuestThatResetsItsDevice()
    {
        using VirtioDriver driver = Start();
        for (int round = 0; round < 100; round++)
        {
            using Socket first = Connect(Place);
            using Socket second = Connect(Place);
            first.Send("CONNECT 1\nhello"u8);
            second.Send("CONNECT 2\n"u8);
            driver.Start();
        }

        using Socket last = Connect(Place);
        last.Send("CONNECT 77\n"u8);
        while (Next(driver, out _).DestinationPort != 77)
        {
        }
    }

    [Fact]
    public void ProgramThatSaysNonsense_IsHungUpOn()
    {
        using VirtioDriver driver = Start();
        foreach (string line in (ReadOnlySpan<string>)["CONNECT\n", "CONNECT x\n", "CONNECT 99999999999\n", new string('y', 100)])
        {
            using Socket host = Connect(Place);
            host.Send(System.Text.Encoding.ASCII.GetBytes(line));
            Assert.Equal(0, host.Receive(new byte[16], 0, 16, SocketFlags.None, out _));
        }
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    // The host's socket for a port of the guest's calls.
    private Socket Listen(int port)
    {
        Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint($"{Place}_{port}"));
        listener.Listen();
        return listener;
    }

    private static Socket Connect(string path)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
        {
            ReceiveTimeout = 60_000,
            SendTimeout = 60_000, // of Connect too
        };
        socket.Connect(new UnixDomainSocketEndPoint(path));
        return socket;
    }

    private static string ReadText(Socket socket, int length)
    {
        byte[] bytes = new byte[length];
        for (int done = 0; done < length;)
        {
            int count = socket.Receive(bytes, done, length - done, SocketFlags.None);
            Assert.NotEqual(0, count);
            done += count;
        }

        return System.Text.Encoding.ASCII.GetString(bytes);
    }

    private static VsockPacket Packet(VsockOperation operation, uint guestPort, uint hostPort) => new()
    {
        SourceCid = 3,
        DestinationCid = 2,
        SourcePort = guestPort,
        DestinationPort = hostPort,
        Type = 1,
        Operation = operation,
        BufferBytes = 1 << 18,
    };

    private static VsockPacket Answer(in VsockPacket packet, VsockOperation operation) =>
        Packet(operation, packet.DestinationPort, packet.SourcePort);

    private static void Send(VirtioDriver driver, in VsockPacket packet, ReadOnlySpan<byte> data = default)
    {
        byte[] bytes = new byte[VsockPacket.HeaderBytes + data.Length];
        packet.Write(bytes);
        data.CopyTo(bytes.AsSpan(VsockPacket.HeaderBytes));
        driver.Memory.TryWrite(new Hull.Memory.GuestPhysical(VirtioDriver.DataAt + 0x20_0000), bytes);
        driver.Describe(Transmit, 0, VirtioDriver.DataAt + 0x20_0000, (uint)bytes.Length, 0);
        ushort before = driver.Used(Transmit);
        driver.Offer(Transmit, 0);
        SpinWait.SpinUntil(() => driver.Used(Transmit) != before, 50);
    }

    private static VsockPacket Next(VirtioDriver driver, out byte[] data)
    {
        byte[] bytes = driver.Request(Receive, [], 4096) ?? throw new InvalidOperationException("no packet came");
        data = bytes[VsockPacket.HeaderBytes..];
        return VsockPacket.Read(bytes);
    }

    private VirtioDriver Start() => new VirtioDriver(context => new VsockDevice(context, Place, 3), threads: true).Start();
}
