using System.Text;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Xen;

public sealed class ConsoleRingTests
{
    private const ulong Ring = 0xFEFF_F000;

    [Fact]
    public void GuestsBytes_ComeOut_AndItsCursorIsBelievedOnlySoFar()
    {
        using TestDomain domain = new();
        domain.Memory.TryWrite(new GuestPhysical(Ring + 1024), "hello"u8);
        domain.Memory.Write(new GuestPhysical(Ring + 3084), 5u);

        Assert.Equal(0, domain.CallWith(32, 4, 2));
        Assert.Equal("hello", Encoding.ASCII.GetString([.. domain.Console]));
        Assert.Equal(5u, domain.Memory.Read<uint>(new GuestPhysical(Ring + 3080)));

        domain.Memory.Write(new GuestPhysical(Ring + 3084), 0x8000_0000u);
        Assert.Equal(0, domain.CallWith(32, 4, 2));
        Assert.Equal(5 + 2048, domain.Console.Count);
    }

    [Fact]
    public void Input_GoesInAsFarAsThereIsRoom()
    {
        using TestDomain domain = new();

        Assert.Equal(1024, domain.Domain.Console.Offer(new byte[2000]));
        Assert.Equal(0, domain.Domain.Console.Offer(new byte[1]));
        domain.Memory.Write(new GuestPhysical(Ring + 3072), 10u);
        Assert.Equal(10, domain.Domain.Console.Offer(new byte[20]));
    }
}
