using Hull.Memory;
using Xunit;

namespace Hull.Tests.Xen;

/// <summary>The queues of events as a guest reads them.</summary>
public sealed class FifoEventsTests
{
    private const int EventChannelOp = 32;
    private const ulong Control = 0x20_0000;
    private const ulong Words = 0x20_1000;
    private const uint Pending = 1u << 31;
    private const uint Masked = 1u << 30;
    private const uint Linked = 1u << 29;

    [Fact]
    public void Events_AreLinkedInOrder_BehindTheHead()
    {
        using TestDomain domain = Make(out uint first, out uint second);

        domain.CallWith(EventChannelOp, 4, first);
        domain.CallWith(EventChannelOp, 4, second);

        Assert.Equal(first, Head(domain, 7));
        Assert.Equal(Pending | Linked | second, Word(domain, first));
        Assert.Equal(Pending | Linked, Word(domain, second));
        Assert.Equal(1u << 7, domain.Memory.Read<uint>(new GuestPhysical(Control)));
    }

    [Fact]
    public void MaskedEvent_IsLinkedWhenItIsUnmasked()
    {
        using TestDomain domain = Make(out uint first, out _);
        domain.Memory.Write(WordAt(first), Masked);

        domain.CallWith(EventChannelOp, 4, first);
        Assert.Equal(Pending | Masked, Word(domain, first));
        domain.CallWith(EventChannelOp, 9, first);
        Assert.Equal(Pending | Linked, Word(domain, first));
        Assert.Equal(first, Head(domain, 7));
    }

    [Fact]
    public void Priority_ChoosesTheQueue()
    {
        using TestDomain domain = Make(out uint first, out uint second);
        Assert.Equal(0, domain.CallWith(EventChannelOp, 13, second, 0));

        domain.CallWith(EventChannelOp, 4, first);
        domain.CallWith(EventChannelOp, 4, second);

        Assert.Equal((first, second), (Head(domain, 7), Head(domain, 0)));
        Assert.Equal((1u << 7) | 1, domain.Memory.Read<uint>(new GuestPhysical(Control)));
    }

    [Fact]
    public void EventAfterTheQueueWasEmptied_IsANewHead()
    {
        using TestDomain domain = Make(out uint first, out uint second);
        domain.CallWith(EventChannelOp, 4, first);

        // The guest takes it: unlinks, clears pending, and clears ready.
        domain.Memory.Write(WordAt(first), 0u);
        domain.Memory.Write(new GuestPhysical(Control), 0u);
        domain.CallWith(EventChannelOp, 4, second);

        Assert.Equal(second, Head(domain, 7));
        Assert.Equal(0u, Word(domain, first));
    }

    private static TestDomain Make(out uint first, out uint second)
    {
        TestDomain domain = new();
        Assert.Equal(0, domain.CallWith(EventChannelOp, 11, (uint)(Control >> 12), 0, 0, 0, 0, 0));
        Assert.Equal(0, domain.CallWith(EventChannelOp, 12, (uint)(Words >> 12), 0));
        domain.CallWith(EventChannelOp, 7, 0, 0);
        first = domain.Word(1);
        domain.CallWith(EventChannelOp, 7, 0, 0);
        second = domain.Word(1);
        return domain;
    }

    private static GuestPhysical WordAt(uint port) => new(Words + (port * 4));

    private static uint Word(TestDomain domain, uint port) => domain.Memory.Read<uint>(WordAt(port));

    private static uint Head(TestDomain domain, int priority) =>
        domain.Memory.Read<uint>(new GuestPhysical(Control + 8 + (ulong)(priority * 4)));
}
