using System;
using Hull.Boot;
using Xunit;

namespace Hull.Tests.Boot;

public sealed class BzImageLoaderTests : BootFixture
{
    [Theory]
    [InlineData("None")]
    [InlineData("Gzip")]
    [InlineData("Xz")]
    [InlineData("Zstd")]
    [InlineData("Lz4")]
    public void PackedKernel_IsUnpackedToItsLinkAddress(string packing)
    {
        LoadedKernel kernel = Load(Image(Enum.Parse<PackingMethod>(packing)));

        Assert.Equal("Linux 64-bit", kernel.Protocol);
        Assert.Equal(TestImages.LinkAddress, kernel.Entry);
        Assert.Equal(TestImages.Text(), Read(TestImages.LinkAddress, TestImages.TextSize));
        Assert.Equal(0xDA, Read<byte>(TestImages.DataAddress + TestImages.DataSize - 1));
        Assert.Equal(TestImages.DataAddress + TestImages.DataMemory, kernel.KernelEnd);
    }

    [Fact]
    public void PackingThatHostLacks_EntersTheGuestsOwnDecompressor()
    {
        byte[] image = Image(PackingMethod.Unknown);

        LoadedKernel kernel = Load(image);

        Assert.Equal("Linux 64-bit, unpacked by the guest", kernel.Protocol);
        Assert.Equal(0x20_0200UL, kernel.Entry);
        Assert.Equal(image[2048..2148], Read(0x20_0000, 100));
    }

    [Fact]
    public void UsedMemory_HasUninitialisedDataCleared()
    {
        FillMemory();

        Load(Image(PackingMethod.Gzip));

        Assert.Equal(0, Read<byte>(TestImages.DataAddress + TestImages.DataSize));
        Assert.Equal(0, Read<byte>(TestImages.DataAddress + TestImages.DataMemory - 1));
        Assert.Equal(0xEE, Read<byte>(TestImages.DataAddress + TestImages.DataMemory));
        Assert.Equal(TestImages.Text(), Read(TestImages.LinkAddress, TestImages.TextSize));
    }

    [Fact]
    public void FreshMemory_GivesTheSameKernel()
    {
        BootLoader.Load(Memory, Request(Image(PackingMethod.Xz)) with { MemoryIsFresh = true });

        Assert.Equal(TestImages.Text(), Read(TestImages.LinkAddress, TestImages.TextSize));
    }

    [Fact]
    public void ZeroPage_TellsHeaderMapTablesAndCommandLine()
    {
        Load(Image(PackingMethod.Gzip));

        Assert.Equal(0x5372_6448u, Read<uint>(BootLayout.ZeroPage + 0x202));
        Assert.Equal(0xFF, Read<byte>(BootLayout.ZeroPage + 0x210));
        Assert.Equal(0xE_0000UL, Read<ulong>(BootLayout.ZeroPage + 0x70));
        Assert.Equal(0, Read<byte>(BootLayout.ZeroPage + 0x1EF));
        Assert.Equal("console=ttyS0 quiet", ReadText(Read<uint>(BootLayout.ZeroPage + 0x228)));
        int entries = Read<byte>(BootLayout.ZeroPage + 0x1E8);
        Assert.Equal(E820.Build(Memory).Count, entries);
        Assert.Equal(0UL, Read<ulong>(BootLayout.ZeroPage + 0x2D0));
        Assert.Equal(BootLayout.ConventionalEnd, Read<ulong>(BootLayout.ZeroPage + 0x2D8));
        Assert.Equal(1u, Read<uint>(BootLayout.ZeroPage + 0x2E0));
    }

    [Fact]
    public void InitrdInParts_LiesTogetherAtTheTopOfMemory_EachPartAligned()
    {
        BootRequest request = Request(Image(PackingMethod.Gzip)) with
        {
            Initrd =
            [
                BootBlob.FromBytes("one", new byte[] { 1, 2, 3 }),
                BootBlob.FromBytes("two", new byte[] { 4 }),
            ],
        };

        LoadedKernel kernel = BootLoader.Load(Memory, request);

        Assert.Equal(Memory.Size - 4096, kernel.InitrdStart);
        Assert.Equal(5UL, kernel.InitrdSize);
        Assert.Equal([1, 2, 3, 0, 4], Read(kernel.InitrdStart, 5));
        Assert.Equal((uint)kernel.InitrdStart, Read<uint>(BootLayout.ZeroPage + 0x218));
        Assert.Equal(5u, Read<uint>(BootLayout.ZeroPage + 0x21C));
    }

    [Fact]
    public void InitrdLargerThanMemory_IsRefusedWithAdvice()
    {
        BootRequest request = Request(Image(PackingMethod.Gzip)) with
        {
            Initrd = [BootBlob.FromBytes("big.cpio", new byte[16 << 20])],
        };

        Assert.Contains("no room for initrd big.cpio", Refusal(request), StringComparison.Ordinal);
    }

    [Fact]
    public void CommandLineLongerThanKernelTakes_IsRefused()
    {
        BootRequest request = Request(Image(PackingMethod.Gzip)) with { CommandLine = new string('x', 2048) };

        Assert.Contains("takes 2047", Refusal(request), StringComparison.Ordinal);
    }

    [Fact]
    public void OldProtocol_IsRefusedWithItsNumber()
    {
        byte[] image = Image(PackingMethod.Gzip);
        TestImages.Put16(image, 0x206, 0x201);

        Assert.Contains("protocol 2.01", Refusal(image), StringComparison.Ordinal);
    }

    // bzip2, which the host does not unpack; and a header that says nothing of where the packed kernel is, as memtest86+'s.
    [Theory]
    [InlineData(0x20F, true)]
    [InlineData(0x20C, false)]
    public void KernelOf32Bits_IsEnteredInFlatProtectedMode(int version, bool tellsPayload)
    {
        byte[] image = TestImages.BzImage(TestImages.Pack(PackingMethod.Unknown, TestImages.Elf()));
        TestImages.Put16(image, 0x206, version);
        TestImages.Put16(image, 0x236, 0);
        TestImages.Put32(image, 0x24C, tellsPayload ? 0x100u : 0);

        LoadedKernel kernel = Load(image);

        Assert.Equal("Linux 32-bit, unpacked by the guest", kernel.Protocol);
        Assert.Equal((0x20_0000UL, 0x20_0000UL), (kernel.Entry, kernel.InitialState.Rip));
        Assert.Equal((BootLayout.ZeroPage, 0UL, 0UL, 0UL),
            (kernel.InitialState.Gpr[6], kernel.InitialState.Gpr[3], kernel.InitialState.Gpr[5], kernel.InitialState.Gpr[7]));
        Assert.Equal((0x11UL, 0UL, 2UL), (kernel.InitialState.Cr0, kernel.InitialState.Efer, kernel.InitialState.Rflags));
        Assert.Equal((0x10, 0xC09Bu), (kernel.InitialState.Segments[1].Selector, kernel.InitialState.Segments[1].Attributes));
        Assert.Equal((0x18, 0xC093u), (kernel.InitialState.Segments[3].Selector, kernel.InitialState.Segments[3].Attributes));
        Assert.Equal(0x00CF_9B00_0000_FFFFUL, Read<ulong>(BootLayout.Gdt + 0x10));
        Assert.Equal("console=ttyS0 quiet", ReadText(Read<uint>(BootLayout.ZeroPage + 0x228)));
        Assert.Equal(image[2048..2148], Read(0x20_0000, 100));
    }

    [Fact]
    public void KernelOf32BitsThatTheHostUnpacks_IsEnteredAtItsLinkAddress()
    {
        byte[] image = TestImages.BzImage(TestImages.Pack(PackingMethod.Gzip, MultibootImages.Elf32(MultibootImages.Header1(0))));
        TestImages.Put16(image, 0x236, 0);

        LoadedKernel kernel = Load(image);

        Assert.Equal("Linux 32-bit", kernel.Protocol);
        Assert.Equal((ulong)MultibootImages.Entry, kernel.InitialState.Rip);
        Assert.Equal(0x11UL, kernel.InitialState.Cr0);
    }

    // Linux before 3.8: its header knows of no 64-bit entry.
    [Fact]
    public void Old64BitKernelThatTheHostUnpacks_IsEnteredInLongMode()
    {
        byte[] image = Image(PackingMethod.Gzip);
        TestImages.Put16(image, 0x206, 0x20A);

        LoadedKernel kernel = Load(image);

        Assert.Equal("Linux 64-bit", kernel.Protocol);
        Assert.Equal((TestImages.LinkAddress, 0x500UL), (kernel.Entry, kernel.InitialState.Efer));
    }

    // Protocol 2.02: the bytes behind the command line's address are code.
    [Fact]
    public void KernelOfLinux24_TakesNothingFromFieldsThatItsHeaderLacks()
    {
        byte[] image = Image(PackingMethod.Gzip);
        TestImages.Put16(image, 0x206, 0x202);
        image.AsSpan(0x22C, 0x60).Fill(0xCC);

        LoadedKernel kernel = Load(image);

        Assert.Equal("Linux 32-bit, unpacked by the guest", kernel.Protocol);
        Assert.Equal(0x10_0000UL, kernel.Entry);
        Assert.Equal(image[2048..2148], Read(0x10_0000, 100));
    }

    [Theory]
    [InlineData(0, 0x10_0000u)] // a zImage, loaded low
    [InlineData(1, 0u)] // ipxe.lkrn
    public void ImageThatOnlyABiosStarts_IsRefused(byte loadFlags, uint entry)
    {
        byte[] image = Image(PackingMethod.Gzip);
        TestImages.Put16(image, 0x236, 0);
        image[0x211] = loadFlags;
        TestImages.Put32(image, 0x214, entry);

        Assert.Contains("starts in real mode only", Refusal(image), StringComparison.Ordinal);
    }

    [Fact]
    public void Only32BitKernelsThatSaySo_AreToldAsSuch()
    {
        byte[] image = Image(PackingMethod.Gzip);
        Assert.False(KernelFile.Is32BitLinux(BootBlob.FromBytes("k", image)));

        TestImages.Put16(image, 0x236, 0);
        Assert.True(KernelFile.Is32BitLinux(BootBlob.FromBytes("k", image)));

        TestImages.Put16(image, 0x206, 0x20A);
        Assert.False(KernelFile.Is32BitLinux(BootBlob.FromBytes("k", image)));
        Assert.False(KernelFile.Is32BitLinux(BootBlob.FromBytes("k", TestImages.Elf())));
    }

    [Fact]
    public void DamagedPayload_IsNamedAsSuch()
    {
        byte[] image = Image(PackingMethod.Xz);
        image[2048 + 0x300 + 40] ^= 0x40;

        Assert.Contains("cannot be unpacked", Refusal(image), StringComparison.Ordinal);
    }

    [Fact]
    public void DamagedGzip_IsNamedInHullsWords()
    {
        byte[] image = Image(PackingMethod.Gzip);
        image[2048 + 0x300 + 2] = 0x77;

        Assert.Contains("the gzip data are damaged", Refusal(image), StringComparison.Ordinal);
    }

    [Fact]
    public void TruncatedImage_TellsBothSizes()
    {
        byte[] image = Image(PackingMethod.Gzip);

        Assert.Contains("is truncated", Refusal(image[..^200]), StringComparison.Ordinal);
    }

    [Fact]
    public void KernelLinkedAboveMemory_AsksForMoreMemory()
    {
        byte[] elf = TestImages.Elf();
        TestImages.Put64(elf, TestImages.HeaderField(1, 24), 64 << 20);

        string message = Refusal(TestImages.BzImage(TestImages.Pack(PackingMethod.Gzip, elf)));

        Assert.Contains("the guest has 16: give it more (-m ", message, StringComparison.Ordinal);
    }

    private static byte[] Image(PackingMethod packing) =>
        TestImages.BzImage(TestImages.Pack(packing, TestImages.Elf()));
}
