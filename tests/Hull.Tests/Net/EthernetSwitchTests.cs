using System;
using System.Threading.Tasks;
using Hull.Net;
using Xunit;

namespace Hull.Tests.Net;

public sealed class EthernetSwitchTests : IDisposable
{
    private const string A = "020000000001";
    private const string B = "020000000002";
    private const string C = "020000000003";
    private const string Everybody = "FFFFFFFFFFFF";

    private readonly IEthernetPort _a;
    private readonly IEthernetPort _b;
    private readonly IEthernetPort _c;

    public EthernetSwitchTests()
    {
        EthernetSwitch between = new();
        _a = between.Attach(0);
        _b = between.Attach(0);
        _c = between.Attach(0);
    }

    [Fact]
    public void Broadcast_GoesToAllOthers_AndTheAnswerToOne()
    {
        Send(_a, A, Everybody, 1);
        Send(_b, B, A, 2);
        Send(_c, C, Everybody, 3);
        Assert.Equal([2, 3], [Next(_a), Next(_a)]);
        Assert.Equal([1, 3], [Next(_b), Next(_b)]);
        Assert.Equal(1, Next(_c));
    }

    [Fact]
    public void PortThatIsGone_IsForgotten()
    {
        Send(_b, B, Everybody, 1);
        _b.Dispose();
        Send(_a, A, B, 2);
        Assert.Equal([1, 2], [Next(_c), Next(_c)]);
    }

    [Fact]
    public void ReceiverThatCannotCut_GetsPackets()
    {
        _b.SetReceiver(OffloadAbility.None);
        _c.SetReceiver(OffloadAbility.All);
        _a.Put(Frames.Tcp(true, 3000), Frames.Offload(true, 1000));
        for (int i = 0; i < 3; i++)
        {
            Assert.True(Frames.HasGoodChecksum(_b.Receive(out FrameOffload done), isIp4: true));
            Assert.Equal(OffloadAbility.None, done.Needs);
        }

        Assert.Equal(Frames.Tcp4Headers + 3000, _c.Receive(out FrameOffload left).Length);
        Assert.Equal(Segmentation.Tcp4, left.Kind);
    }

    [Fact]
    public void ReaderThatDoesNotRead_LosesFrames_AndHoldsUpNobody()
    {
        byte[] frame = Frames.Plain(60000, to: Everybody);
        for (int i = 0; i < 10_000; i++)
        {
            _a.Put(frame, default);
        }

        Assert.Equal(frame, _b.Receive(out _).ToArray());
    }

    [Fact]
    public async Task FramesThroughTheRing_AreWhole_AndInOrder()
    {
        _b.SetReceiver(OffloadAbility.All);
        const int frames = 200_000;
        Task<int> reader = Task.Run(() =>
        {
            int last = -1;
            int count = 0;
            while (last < frames - 1)
            {
                Span<byte> frame = _b.Receive(out _);
                int number = BitConverter.ToInt32(frame[14..]);
                Assert.True(number > last);
                Assert.True(frame[18..].IndexOfAnyExcept((byte)number) < 0);
                last = number;
                count++;
            }

            return count;
        });
        Random random = new(3);
        byte[] frame = new byte[3000];
        for (int i = 0; i < frames || !reader.IsCompleted; i++)
        {
            // The last one again and again: it may be lost too.
            int number = Math.Min(i, frames - 1);
            Frames.Plain(18, to: Everybody).CopyTo(frame, 0);
            BitConverter.TryWriteBytes(frame.AsSpan(14), number);
            int length = random.Next(18, frame.Length);
            frame.AsSpan(18).Fill((byte)number);
            _a.Put(frame.AsSpan(0, length), default);
        }

        Assert.True(await reader > 0);
    }

    public void Dispose()
    {
        _a.Dispose();
        _b.Dispose();
        _c.Dispose();
    }

    private static void Send(IEthernetPort port, string from, string to, byte mark) =>
        port.Put(Frames.Plain(60, mark, from, to), default);

    private static int Next(IEthernetPort port) => port.Receive(out _)[20];
}
