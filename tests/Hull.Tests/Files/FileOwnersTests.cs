using Hull.Files;
using Xunit;

namespace Hull.Tests.Files;

public sealed class FileOwnersTests
{
    [Theory]
    [InlineData(1000, 0)]
    [InlineData(0, 0)]
    [InlineData(5, 5)]
    public void FilesOfAnOrdinaryUser_AreTheGuestsRoots(uint host, uint guest)
    {
        FileOwners owners = new(1000, 1000);
        Assert.False(owners.PassThrough);
        Assert.Equal(guest, owners.GuestUser(host));
        Assert.Equal(guest, owners.GuestGroup(host));
    }

    [Fact]
    public void OfRoot_OwnersPassThrough()
    {
        FileOwners owners = new(0, 7);
        Assert.True(owners.PassThrough);
        Assert.Equal((5u, 7u), (owners.GuestUser(5), owners.GuestGroup(7)));
    }
}
