using System;
using Hull.Boot;
using Xunit;

namespace Hull.Tests.Boot;

public sealed class PvhLoaderTests : BootFixture
{
    [Fact]
    public void Vmlinux_StartsInFlatProtectedMode_WithStartInfoInEbx()
    {
        LoadedKernel kernel = Load(TestImages.Elf());

        Assert.Equal("PVH", kernel.Protocol);
        Assert.Equal(TestImages.PvhEntry, kernel.InitialState.Rip);
        Assert.Equal(BootLayout.StartInfo, kernel.InitialState.Gpr[3]);
        Assert.Equal(0x11UL, kernel.InitialState.Cr0);
        Assert.Equal(0UL, kernel.InitialState.Efer);
        Assert.Equal(TestImages.Text(), Read(TestImages.LinkAddress, TestImages.TextSize));
    }

    [Fact]
    public void StartInfo_LeadsToModuleMapTablesAndCommandLine()
    {
        BootRequest request = Request(TestImages.Elf()) with
        {
            Initrd = [BootBlob.FromBytes("initrd", new byte[] { 7, 8, 9 })],
        };

        BootLoader.Load(Memory, request);

        const ulong info = BootLayout.StartInfo;
        Assert.Equal(0x336E_C578u, Read<uint>(info));
        Assert.Equal(1u, Read<uint>(info + 4));
        Assert.Equal(1u, Read<uint>(info + 12));
        ulong module = Read<ulong>(info + 16);
        Assert.Equal([7, 8, 9], Read(Read<ulong>(module), (int)Read<ulong>(module + 8)));
        Assert.Equal("console=ttyS0 quiet", ReadText(Read<ulong>(info + 24)));
        Assert.Equal(0xE_0000UL, Read<ulong>(info + 32));
        ulong map = Read<ulong>(info + 40);
        Assert.Equal((uint)E820.Build(Memory).Count, Read<uint>(info + 48));
        Assert.Equal((0UL, BootLayout.ConventionalEnd, 1u), (Read<ulong>(map), Read<ulong>(map + 8), Read<uint>(map + 16)));
    }

    [Fact]
    public void PackedVmlinux_IsUnpacked() =>
        Assert.Equal("PVH", Load(TestImages.Pack(PackingMethod.Gzip, TestImages.Elf())).Protocol);

    [Fact]
    public void LinuxOf32Bits_StartsByItsPvhEntry_WithTheRamDiskWhereItReachesIt()
    {
        const uint reach = 0x80_0000;
        byte[] image = TestImages.BzImage(TestImages.Pack(PackingMethod.Gzip, TestImages.Elf()));
        TestImages.Put16(image, 0x236, 0);
        TestImages.Put32(image, 0x22C, reach - 1);

        LoadedKernel kernel = BootLoader.Load(Memory, Request(image) with
        {
            StartAsPvh = true,
            Initrd = [BootBlob.FromBytes("initrd", new byte[] { 7, 8, 9 })],
        });

        Assert.Equal(("PVH", TestImages.PvhEntry), (kernel.Protocol, kernel.InitialState.Rip));
        Assert.InRange(kernel.InitrdStart + kernel.InitrdSize, 1UL, reach);
    }

    [Fact]
    public void ElfWithoutNote_NamesTheOptionThatIsMissing() =>
        Assert.Contains("without a PVH note: build it with CONFIG_PVH=y", Refusal(TestImages.Elf(note: false)), StringComparison.Ordinal);

    [Theory]
    [InlineData(1, 24, 0x10_0000UL, "segments overlap at 0x100000")]
    [InlineData(1, 40, 1UL << 63, "above what a guest has")]
    [InlineData(1, 40, ulong.MaxValue, "impossible sizes")]
    [InlineData(0, 8, ulong.MaxValue - 8, "of the file: the file is damaged")]
    [InlineData(0, 8, 1UL << 29, "is truncated")]
    [InlineData(0, 24, 0x1000UL, "kernels go above 1 MiB")]
    [InlineData(1, 40, 64UL << 20, "give it more (-m ")]
    public void ImpossibleSegment_IsRefused(int header, int field, ulong value, string words)
    {
        byte[] elf = TestImages.Elf();
        TestImages.Put64(elf, TestImages.HeaderField(header, field), value);

        Assert.Contains(words, Refusal(elf), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(32, 0xFFFF_FFFF_FFFF_FFC0UL)]
    [InlineData(32, 0x10_0000UL)]
    [InlineData(32, 0UL)]
    public void WildProgramHeaderOffset_IsRefused(int at, ulong value)
    {
        byte[] elf = TestImages.Elf();
        TestImages.Put64(elf, at, value);

        Refusal(elf);
    }

    [Fact]
    public void EntryOutsideEverySegment_IsRefused()
    {
        byte[] elf = TestImages.Elf();
        TestImages.Put32(elf, 0x200 + 24 + 16, 0x70_0000);

        Assert.Contains("entry 0x700000 lies in no loaded segment", Refusal(elf), StringComparison.Ordinal);
    }

    [Fact]
    public void ForeignMachine_IsRefused()
    {
        byte[] elf = TestImages.Elf();
        TestImages.Put16(elf, 18, 183);

        Assert.Contains("machine 183", Refusal(elf), StringComparison.Ordinal);
    }

    [Fact]
    public void NoKernel_IsSaid() => Assert.Contains("no kernel to boot", Refusal(new BootRequest()), StringComparison.Ordinal);

    [Fact]
    public void EmptyFile_IsSaid() => Assert.Contains("is empty", Refusal([]), StringComparison.Ordinal);

    [Fact]
    public void TextFile_IsNoKernel() =>
        Assert.Contains("not a kernel that Hull knows", Refusal("#!/bin/sh\n"u8.ToArray()), StringComparison.Ordinal);

    [Fact]
    public void MissingFile_IsNamed() => Assert.Contains(
        "cannot open kernel /nowhere/bzImage",
        Refusal(new BootRequest { Kernel = BootBlob.FromFile("/nowhere/bzImage") }),
        StringComparison.Ordinal);

    [Fact]
    public void Directory_IsNoKernel() =>
        Assert.Contains("cannot open kernel /tmp", Refusal(new BootRequest { Kernel = BootBlob.FromFile("/tmp") }), StringComparison.Ordinal);
}
