using System;
using System.IO;
using Hull.Boot;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Boot;

public sealed class UnpackedKernelTests
{
    [Theory]
    [InlineData(nameof(PackingMethod.None))]
    [InlineData(nameof(PackingMethod.Gzip))]
    [InlineData(nameof(PackingMethod.Xz))]
    [InlineData(nameof(PackingMethod.Zstd))]
    [InlineData(nameof(PackingMethod.Lz4))]
    public void File_IsWhatWasPacked(string packing)
    {
        byte[] elf = TestImages.Elf();
        using MemoryStream to = new();

        bool isUnpacked = UnpackedKernel.TryWrite(Image(TestImages.Pack(Enum.Parse<PackingMethod>(packing), elf)), to);

        Assert.True(isUnpacked);
        Assert.Equal(elf, to.ToArray());
    }

    [Fact]
    public void PackingThatHostLacks_IsLeftToTheGuest()
    {
        Assert.False(UnpackedKernel.TryWrite(Image("BZh91AY&SY and so on"u8.ToArray()), Stream.Null));
    }

    [Fact]
    public void DamagedKernel_IsNamedAsSuch()
    {
        byte[] packed = TestImages.Pack(PackingMethod.Xz, TestImages.Elf());
        packed[packed.Length / 2] ^= 1;

        HullException error = Assert.Throws<HullException>(() => UnpackedKernel.TryWrite(Image(packed), Stream.Null));

        Assert.StartsWith("the kernel inside test-kernel cannot be unpacked: ", error.Message, StringComparison.Ordinal);
    }

    private static BootBlob Image(byte[] payload) => BootBlob.FromBytes("test-kernel", TestImages.BzImage(payload));
}
