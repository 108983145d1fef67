using System;
using System.Buffers.Binary;
using System.Linq;
using System.Text;
using System.Threading;
using Hull.Memory;
using Hull.Xen;
using Hull.Xen.Store;
using Xunit;

namespace Hull.Tests.Xen;

/// <summary>What one vCPU changes while another, or a back end, looks at it.</summary>
public sealed class HostileGuestTests
{
    private const int GrantTableOp = 20;
    private const int EventChannelOp = 32;
    private const ulong StoreRing = 0xFEFF_C000;

    [Fact]
    public void GrantVersion_ThatChangesWhileABackEndLooks_IsNoException()
    {
        using TestDomain domain = new();
        const uint last = (SpecialPages.MostGrantFrames * 512) - 1; // version 2 has half as many
        bool stop = false;
        Exception? failure = null;
        Thread backEnd = new(() => failure = Record.Exception(() =>
        {
            while (!Volatile.Read(ref stop))
            {
                domain.Domain.Grants.TryFind(last, isWrite: true, out _);
                domain.Domain.Grants.TryBegin(last, isWrite: true, out _);
                domain.Domain.Grants.End(last);
            }
        }));
        backEnd.Start();
        for (uint i = 0; i < 50_000; i++)
        {
            Assert.Equal(0, domain.CallWith(GrantTableOp, 8, 1 + (i & 1)));
            domain.Trace.Clear();
        }

        Volatile.Write(ref stop, true);
        backEnd.Join();
        Assert.Null(failure);
    }

    // One vCPU is in its call to the store; another has always written the next request before the last is done. The call ends when
    // enough replies wait to be read.
    [Fact]
    public void RequestsWithoutEnd_LetTheOthersHaveTheirTurn()
    {
        using TestDomain domain = new();
        byte[] request = new byte[16 + 8];
        BinaryPrimitives.WriteUInt32LittleEndian(request, 11); // XS_WRITE
        BinaryPrimitives.WriteUInt32LittleEndian(request.AsSpan(12), 8);
        Encoding.ASCII.GetBytes("data/a\0x").CopyTo(request.AsSpan(16));
        uint producer = 0;
        int served = 0;
        int servedAtTurn = 0;
        Thread other = new(() => domain.Domain.Act(() => servedAtTurn = served));
        domain.Domain.Store.Store.Listen(_ =>
        {
            PutRequest();
            if (++served == 10)
            {
                other.Start();
            }
            else if (served > 10 && servedAtTurn == 0)
            {
                Thread.Sleep(1); // a request that takes its time; the lock takes turns only with who waits for long
            }
        });
        PutRequest();

        Assert.Equal(0, domain.CallWith(EventChannelOp, 4, 1));
        other.Join();

        Assert.InRange(servedAtTurn, 10, served - 1);

        void PutRequest()
        {
            foreach (byte value in request)
            {
                domain.Memory.Write(new GuestPhysical(StoreRing + (producer++ % 1024)), value);
            }

            domain.Memory.Write(new GuestPhysical(StoreRing + 2056), Read(domain, 2060)); // replies are read
            domain.Memory.Write(new GuestPhysical(StoreRing + 2052), producer);
        }
    }

    [Fact]
    public void NodeBelow1500Others_IsAnAnswer()
    {
        using TestDomain domain = new();
        string path = "/local/domain/1/data" + string.Concat(Enumerable.Repeat("/a", 1500));
        domain.Domain.Act(() =>
        {
            StoreTree tree = domain.Domain.Store.Store.Tree;
            tree.Write(1, path, "deep"u8);
            Assert.Equal(StoreError.None, tree.Read(1, path, out _));
            Assert.Equal(StoreError.None, tree.Remove(1, "/local/domain/1/data/a"));
        });
    }

    private static uint Read(TestDomain domain, ulong offset) => domain.Memory.Read<uint>(new GuestPhysical(StoreRing + offset));
}
