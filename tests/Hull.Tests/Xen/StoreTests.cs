using System;
using System.Collections.Generic;
using System.Text;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Xen;

/// <summary>The store as a guest sees it through its ring.</summary>
public sealed class StoreTests : IDisposable
{
    private const ulong Ring = 0xFEFF_C000;
    private const uint Directory = 1;
    private const uint Read = 2;
    private const uint Watch = 4;
    private const uint TransactionStart = 6;
    private const uint TransactionEnd = 7;
    private const uint Write = 11;
    private const uint Remove = 13;
    private const uint WatchEvent = 15;
    private const uint Error = 16;

    private readonly TestDomain _domain = new();

    public void Dispose() => _domain.Dispose();

    [Fact]
    public void RelativeNames_AreTheDomainsOwn()
    {
        Assert.Equal((Read, "1"), Ask(Read, "domid\0"));
        Assert.Equal((Read, "1"), Ask(Read, "/local/domain/1/domid\0"));
    }

    [Fact]
    public void Writes_AreOnlyWhereTheToolstackAllowsThem()
    {
        Assert.Equal((Error, "EACCES\0"), Ask(Write, "name\0other"));
        Assert.Equal((Error, "EACCES\0"), Ask(Write, "/tool/x\0y"));
        Assert.Equal((Write, "OK\0"), Ask(Write, "data/x\0y"));
        Assert.Equal((Read, "y"), Ask(Read, "data/x\0"));
    }

    [Theory]
    [InlineData(Read, "data/nothing\0", "ENOENT\0")]
    [InlineData(Read, "data//x\0", "EINVAL\0")]
    [InlineData(Read, "", "EINVAL\0")]
    [InlineData(TransactionEnd, "T\0", "ENOENT\0")]
    [InlineData(77u, "data\0", "ENOSYS\0")]
    public void Refusals_AreNames(uint type, string payload, string name) => Assert.Equal((Error, name), Ask(type, payload));

    [Fact]
    public void Watch_FiresOnceAtOnce_ThenOnChanges()
    {
        Send(Watch, "data\0token\0");
        Assert.Equal((Watch, "OK\0"), Receive());
        Assert.Equal((WatchEvent, "data\0token\0"), Receive());

        Send(Write, "data/a\01");
        Assert.Equal((Write, "OK\0"), Receive());
        Assert.Equal((WatchEvent, "data/a\0token\0"), Receive());

        Assert.True(_domain.Domain.Store.Write("data", "from outside"));
        Assert.Equal((WatchEvent, "data\0token\0"), Receive());
        Assert.False(_domain.Domain.Store.Write("control/shutdown", "poweroff"));
    }

    [Fact]
    public void Transaction_IsOfOnePiece_AndFailsWhenItsNodeChanged()
    {
        Assert.Equal((TransactionStart, "1\0"), Ask(TransactionStart, "\0"));
        Assert.Equal((Write, "OK\0"), Ask(Write, "data/t\01", 1));
        Assert.Equal((Error, "ENOENT\0"), Ask(Read, "data/t\0"));
        Assert.Equal((TransactionEnd, "OK\0"), Ask(TransactionEnd, "T\0", 1));
        Assert.Equal((Read, "1"), Ask(Read, "data/t\0"));

        Assert.Equal((TransactionStart, "2\0"), Ask(TransactionStart, "\0"));
        Ask(Write, "data/t\02", 2);
        Ask(Write, "data/t\03");
        Assert.Equal((Read, "2"), Ask(Read, "data/t\0", 2));
        Assert.Equal((Error, "EAGAIN\0"), Ask(TransactionEnd, "T\0", 2));
        Assert.Equal((Read, "3"), Ask(Read, "data/t\0"));
    }

    // What the transaction does, what another does meanwhile, and how xenstored ends it.
    [Theory]
    [InlineData("w data/a/x", "w data/b/x", "OK")] // another node
    [InlineData("w data/a/x", "w data/a/y", "OK")] // a brother that was there
    [InlineData("w data/a/x", "w data/a/new", "OK")] // its parent's names, which it has not looked at
    [InlineData("w data/a/new", "w data/a/other", "EAGAIN")] // both change the parent's names
    [InlineData("r data/a/x", "w data/a/x", "EAGAIN")] // what it has read
    [InlineData("r data/a", "w data/a/x", "OK")] // the value below is not the node
    [InlineData("l data/a", "w data/a/new", "EAGAIN")] // the names that it has read
    [InlineData("r data/none", "w data/none", "EAGAIN")] // what it has not found
    [InlineData("r data/none", "w data/b/x", "OK")]
    [InlineData("d data/a", "w data/a/x", "EAGAIN")] // below what it removes
    [InlineData("d data/a", "w data/b/x", "OK")]
    [InlineData("w data/a/x", "d data/a", "EAGAIN")]
    public void Transaction_IsInConflict_OnlyOverTheSameNodes(string mine, string others, string end)
    {
        foreach (string path in (ReadOnlySpan<string>)["data/a/x", "data/a/y", "data/b/x"])
        {
            Ask(Write, path + "\0old");
        }

        Ask(TransactionStart, "\0");
        Ask(Write, "data/c\0mine", 1);
        Do(mine, 1);
        Do(others, 0);
        Assert.Equal((end == "OK" ? TransactionEnd : Error, end + "\0"), Ask(TransactionEnd, "T\0", 1));
        if (others[0] == 'w')
        {
            Assert.Equal((Read, "0"), Ask(Read, others[2..] + "\0"));
        }

        Assert.Equal(end == "OK" ? (Read, "mine") : (Error, "ENOENT\0"), Ask(Read, "data/c\0"));
        if (end == "OK" && mine[0] is 'w')
        {
            Assert.Equal((Read, "1"), Ask(Read, mine[2..] + "\0"));
        }
        else if (end == "OK" && mine[0] is 'd')
        {
            Assert.Equal((Error, "ENOENT\0"), Ask(Read, mine[2..] + "/x\0"));
        }

        void Do(string what, uint transaction) => Ask(
            what[0] switch { 'w' => Write, 'r' => Read, 'l' => Directory, _ => Remove },
            what[2..] + "\0" + (what[0] == 'w' ? $"{transaction}" : ""),
            transaction);
    }

    [Fact]
    public void Transaction_SeesWhatOthersChanged_BeforeItHasLooked()
    {
        Ask(TransactionStart, "\0");
        Ask(Write, "data/t\0new");
        Assert.Equal((Read, "new"), Ask(Read, "data/t\0", 1));
        Ask(Remove, "data/t\0", 1);
        Ask(Write, "data/t/u\0v", 1);
        Ask(Write, "attr/z\0z");
        Assert.Equal((TransactionEnd, "OK\0"), Ask(TransactionEnd, "T\0", 1));
        Assert.Equal((Read, ""), Ask(Read, "data/t\0"));
        Assert.Equal((Read, "v"), Ask(Read, "data/t/u\0"));
        Assert.Equal((Read, "z"), Ask(Read, "attr/z\0"));
    }

    [Fact]
    public void Transaction_DependsOnNoMoreNodesThanXenstoredAllows()
    {
        Ask(TransactionStart, "\0");
        (uint Type, string Text) last = default;
        for (int i = 0; i < 1025; i++)
        {
            last = Ask(Read, $"data/{i}\0", 1);
        }

        Assert.Equal((Error, "ENOSPC\0"), last);
    }

    [Fact]
    public void Limits_AreXenstoreds()
    {
        for (int i = 0; i < 10; i++)
        {
            Ask(TransactionStart, "\0");
        }

        Assert.Equal((Error, "ENOSPC\0"), Ask(TransactionStart, "\0"));
        (uint Type, string Text) last = default;
        for (int i = 0; i < 1100; i++)
        {
            last = Ask(Write, $"data/{i}\0x");
        }

        Assert.Equal((Error, "EQUOTA\0"), last);
        Assert.Equal((Error, "ENOSPC\0"), Ask(Write, "data/big\0" + new string('x', 2049)));
        for (int i = 0; i < 128; i++)
        {
            Send(Watch, $"data/{i}\0t\0");
            Receive();
            Receive();
        }

        Assert.Equal((Error, "E2BIG\0"), Ask(Watch, "data/more\0t\0"));
    }

    [Fact]
    public void WildBytes_NeverEscape()
    {
        Random random = new(5);
        for (int i = 0; i < 20_000; i++)
        {
            byte[] payload = new byte[random.Next(40)];
            random.NextBytes(payload);
            string text = random.Next(2) == 0 ? Encoding.Latin1.GetString(payload) : $"data/{(char)random.Next(128)}\0{i}\0";
            Ask((uint)random.Next(24), text, (uint)random.Next(3));
            while (TryReceive(out _))
            {
            }
        }
    }

    private static GuestPhysical At(uint offset) => new(Ring + offset);

    private (uint Type, string Text) Ask(uint type, string payload, uint transaction = 0)
    {
        Send(type, payload, transaction);
        return Receive();
    }

    private void Send(uint type, string payload, uint transaction = 0)
    {
        byte[] bytes = Encoding.Latin1.GetBytes(payload);
        List<byte> message = [];
        foreach (uint word in (ReadOnlySpan<uint>)[type, 0, transaction, (uint)bytes.Length])
        {
            message.AddRange(BitConverter.GetBytes(word));
        }

        message.AddRange(bytes);
        foreach (byte value in message)
        {
            uint producer = _domain.Memory.Read<uint>(At(2052));
            _domain.Memory.Write(At(producer % 1024), value);
            _domain.Memory.Write(At(2052), producer + 1);
            if (producer % 512 == 511)
            {
                Kick();
            }
        }

        Kick();
    }

    // The store's port is the first.
    private void Kick() => Assert.Equal(0, _domain.CallWith(32, 4, 1));

    private (uint Type, string Text) Receive()
    {
        Assert.True(TryReceive(out (uint Type, string Text) message), "the store said nothing");
        return message;
    }

    private bool TryReceive(out (uint Type, string Text) message)
    {
        message = default;
        if (!TryTake(16, out byte[] head))
        {
            return false;
        }

        Assert.True(TryTake(BitConverter.ToInt32(head, 12), out byte[] payload));
        message = (BitConverter.ToUInt32(head), Encoding.Latin1.GetString(payload));
        return true;
    }

    private bool TryTake(int count, out byte[] bytes)
    {
        bytes = new byte[count];
        for (int i = 0; i < count; i++)
        {
            uint consumer = _domain.Memory.Read<uint>(At(2056));
            if (consumer == _domain.Memory.Read<uint>(At(2060)))
            {
                return false;
            }

            bytes[i] = _domain.Memory.Read<byte>(At(1024 + (consumer % 1024)));
            _domain.Memory.Write(At(2056), consumer + 1);
            Kick();
        }

        return true;
    }
}
