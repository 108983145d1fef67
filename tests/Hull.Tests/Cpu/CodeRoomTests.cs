using Hull.Cpu;
using Xunit;

namespace Hull.Tests.Cpu;

public sealed class CodeRoomTests
{
    [Theory]
    [InlineData(1UL << 20, 32)]
    [InlineData(64UL << 20, 32)]
    [InlineData(256UL << 20, 80)]
    [InlineData(448UL << 20, 128)]
    [InlineData(1UL << 40, 128)]
    public void RoomForCode_GoesByTheGuestsRam_WithinBounds(ulong memoryBytes, int megabytes) =>
        Assert.Equal((nuint)megabytes << 20, SoftEngine.CodeBytesFor(memoryBytes));
}
