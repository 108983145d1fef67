using System;
using System.Collections.Generic;
using System.Linq;
using Hull.Boot;
using Xunit;

namespace Hull.Tests.Boot;

/// <summary>Multiboot 0.6.96 and Multiboot2 2.0: what a kernel finds when it starts.</summary>
public sealed class MultibootLoaderTests : BootFixture
{
    private const ulong PageSize = 4096;

    [Fact]
    public void Elf32_StartsInFlatProtectedMode_WithMagicAndInformation()
    {
        LoadedKernel kernel = Load(MultibootImages.Elf32(MultibootImages.Header1(3)));

        Assert.Equal("Multiboot 1", kernel.Protocol);
        Assert.Equal(MultibootImages.Entry, kernel.InitialState.Rip);
        Assert.Equal(0x2BAD_B002UL, kernel.InitialState.Gpr[0]);
        Assert.Equal(0x11UL, kernel.InitialState.Cr0);
        Assert.Equal((0UL, 0UL), (kernel.InitialState.Efer, kernel.InitialState.Cr4));
        Assert.All(kernel.InitialState.Segments, static s => Assert.Equal((0UL, 0xFFFF_FFFFu), (s.Base, s.Limit)));
        Assert.Equal(MultibootImages.Image(MultibootImages.Header1(3)), Read(MultibootImages.LinkAddress, MultibootImages.ImageSize));
        Assert.InRange(kernel.InitialState.Gpr[3], 1UL, BootLayout.ConventionalEnd);
        Assert.Equal(kernel.InitialState.Gpr[3] - ArchStates.GdtRoom, kernel.InitialState.Gdtr.Base);
        Assert.Equal(0x00CF_9B00_0000_FFFFUL, Read<ulong>(kernel.InitialState.Gdtr.Base + BootLayout.CodeSelector));
        Assert.Equal((0UL, 0x3FF), (kernel.InitialState.Idtr.Base, kernel.InitialState.Idtr.Limit));
        Assert.Null(kernel.Notice);
    }

    [Fact]
    public void Information_HasSizesLineMapAndName()
    {
        ulong info = Load(MultibootImages.Elf32(MultibootImages.Header1(3))).InitialState.Gpr[3];

        Assert.Equal(0x24Du, Read<uint>(info));
        Assert.Equal(639u, Read<uint>(info + 4));
        Assert.Equal(15u << 10, Read<uint>(info + 8));
        Assert.Equal("test-kernel console=ttyS0 quiet", ReadText(Read<uint>(info + 16)));
        Assert.Equal(0u, Read<uint>(info + 20));
        Assert.Equal("hull", ReadText(Read<uint>(info + 64)));
        List<E820Entry> map = [];
        ulong end = Read<uint>(info + 48) + Read<uint>(info + 44);
        for (ulong at = Read<uint>(info + 48); at < end; at += Read<uint>(at) + 4)
        {
            map.Add(new(Read<ulong>(at + 4), Read<ulong>(at + 12), (E820Type)Read<uint>(at + 20)));
        }

        Assert.Equal(E820.Build(Memory), map);
    }

    [Fact]
    public void Modules_FollowTheKernelByPages_TheRamDiskFirst()
    {
        BootRequest request = Request(MultibootImages.Elf32(MultibootImages.Header1(1))) with
        {
            CommandLine = "",
            Initrd = [BootBlob.FromBytes("disk", new byte[] { 7, 8, 9 })],
            Modules = [new(BootBlob.FromBytes("m", new byte[5000]), "m two words"), new(BootBlob.FromBytes("e", default), "e")],
        };

        ulong info = BootLoader.Load(Memory, request).InitialState.Gpr[3];

        Assert.Equal("test-kernel", ReadText(Read<uint>(info + 16)));
        Assert.Equal(3u, Read<uint>(info + 20));
        ulong list = Read<uint>(info + 24);
        (uint Start, uint End, string Words)[] modules = [.. Enumerable.Range(0, 3).Select(i => (
            Read<uint>(list + (16 * (ulong)i)), Read<uint>(list + (16 * (ulong)i) + 4), ReadText(Read<uint>(list + (16 * (ulong)i) + 8))))];
        Assert.Equal(["disk", "m two words", "e"], modules.Select(static m => m.Words));
        Assert.Equal([3u, 5000u, 0u], modules.Select(static m => m.End - m.Start));
        Assert.All(modules, static m => Assert.Equal(0UL, m.Start % PageSize));
        Assert.True(modules[0].Start >= MultibootImages.BssEnd);
        Assert.True(modules[1].Start >= modules[0].End);
        Assert.Equal([7, 8, 9], Read(modules[0].Start, 3));
    }

    [Fact]
    public void ModuleInParts_IsOne_WithEachPartAligned()
    {
        BootModule module = new(BootBlob.FromBytes("a", new byte[] { 1, 2, 3, 4, 5 }), "m")
        {
            More = [BootBlob.FromBytes("b", new byte[] { 6 }), BootBlob.FromBytes("c", new byte[] { 7 })],
        };

        LoadedKernel kernel = BootLoader.Load(Memory, Request(MultibootImages.Elf32(MultibootImages.Header1(0))) with { Modules = [module] });

        Assert.Equal(13u, kernel.InitrdSize);
        Assert.Equal([1, 2, 3, 4, 5, 0, 0, 0, 6, 0, 0, 0, 7], Read(kernel.InitrdStart, 13));
    }

    [Fact]
    public void AddressFields_LoadAnyFormat_AndClearTheBss()
    {
        FillMemory();

        LoadedKernel kernel = Load(MultibootImages.Flat());

        Assert.Equal(MultibootImages.Entry, kernel.Entry);
        Assert.Equal(MultibootImages.Flat()[8..], Read(MultibootImages.LinkAddress, MultibootImages.ImageSize));
        const int size = MultibootImages.ImageSize;
        Assert.All(Read(MultibootImages.LinkAddress + size, 0x3000 - size), static b => Assert.Equal(0, b));
        Assert.Equal(0xEE, Read<byte>(MultibootImages.BssEnd));
    }

    [Fact]
    public void AddressFields_WithoutEnds_TakeTheWholeFile()
    {
        LoadedKernel kernel = Load(MultibootImages.Flat(loadEnd: 0, bssEnd: 0));

        Assert.Equal((ulong)MultibootImages.LinkAddress + MultibootImages.ImageSize, kernel.KernelEnd);
    }

    [Fact]
    public void PackedKernel_IsUnpacked() => Assert.Equal(
        "Multiboot 1",
        Load(TestImages.Pack(PackingMethod.Gzip, MultibootImages.Elf32(MultibootImages.Header1(0)))).Protocol);

    [Fact]
    public void KernelInConventionalMemory_KeepsItsPlace()
    {
        LoadedKernel kernel = Load(MultibootImages.Elf32(MultibootImages.Header1(0), 0x4000));

        Assert.Equal((0x4000UL, 0x7000UL), (kernel.KernelStart, kernel.KernelEnd));
        Assert.True(kernel.InitialState.Gpr[3] >= 0x7000);
    }

    [Fact]
    public void KernelAtTheTopOfConventionalMemory_MovesTheInformation()
    {
        LoadedKernel kernel = Load(MultibootImages.Elf32(MultibootImages.Header1(0), 0x9_CC00));

        Assert.True(kernel.InitialState.Gpr[3] >= 0x10_0000);
        Assert.Equal("hull", ReadText(Read<uint>(kernel.InitialState.Gpr[3] + 64)));
    }

    [Fact]
    public void LongCommandLine_MovesTheInformationBehindTheKernel()
    {
        string line = new('x', 600_000);

        ulong info = BootLoader.Load(Memory, Request(MultibootImages.Elf32(MultibootImages.Header1(0))) with { CommandLine = line })
            .InitialState.Gpr[3];

        Assert.True(info >= MultibootImages.BssEnd);
        Assert.Equal((byte)'x', Read<byte>(Read<uint>(info + 16) + 600_000));
    }

    [Theory]
    [InlineData(0x06, new byte[] { 0xCF })]
    [InlineData(0x08, new byte[] { 0x1E, 0x50, 0x31, 0xC0 })]
    [InlineData(0x0F, new byte[] { 0x50, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF })]
    [InlineData(0x70, new byte[] { 0x50, 0xB0, 0x20, 0xE6, 0xA0, 0xE6, 0x20, 0x58, 0xCF })]
    [InlineData(0x10, new byte[] { 0x55, 0x89, 0xE5 })]
    [InlineData(0x12, new byte[] { 0xB8, 0x7F, 0x02, 0xCF })]
    [InlineData(0x15, new byte[] { 0xB4, 0x86, 0x55 })]
    public void RealModeVectors_LeadToCodeThatAnswers(int vector, byte[] code)
    {
        Load(MultibootImages.Elf32(MultibootImages.Header1(0)));

        uint pointer = Read<uint>((ulong)vector * 4);
        Assert.Equal(code, Read(((pointer >> 16) << 4) + (pointer & 0xFFFF), code.Length));
    }

    [Fact]
    public void BiosDataArea_SaysWhereConventionalMemoryEnds()
    {
        Load(MultibootImages.Elf32(MultibootImages.Header1(0)));

        Assert.Equal((0x3F8, 0x9FC0, 639), (Read<ushort>(0x400), Read<ushort>(0x40E), Read<ushort>(0x413)));
    }

    [Fact]
    public void VideoMode_IsIgnoredWithANotice() => Assert.Contains(
        "video mode", Load(MultibootImages.Elf32(MultibootImages.Header1(4))).Notice, StringComparison.Ordinal);

    [Fact]
    public void Multiboot2_GetsTags()
    {
        BootRequest request = Request(MultibootImages.Elf32(MultibootImages.Header2([6, 8], [1, 12, 6]))) with
        {
            Modules = [new(BootBlob.FromBytes("m", new byte[] { 1, 2 }), "m words")],
        };

        LoadedKernel kernel = BootLoader.Load(Memory, request);

        Assert.Equal("Multiboot 2", kernel.Protocol);
        Assert.Equal(0x36D7_6289UL, kernel.InitialState.Gpr[0]);
        Dictionary<uint, ulong> tags = Tags(kernel.InitialState.Gpr[3]);
        Assert.Equal("test-kernel console=ttyS0 quiet", ReadText(tags[1] + 8));
        Assert.Equal("hull", ReadText(tags[2] + 8));
        Assert.Equal([1, 2], Read(Read<uint>(tags[3] + 8), 2));
        Assert.Equal("m words", ReadText(tags[3] + 16));
        Assert.Equal((639u, 15u << 10), (Read<uint>(tags[4] + 8), Read<uint>(tags[4] + 12)));
        Assert.Equal(24u, Read<uint>(tags[6] + 8));
        Assert.Equal(16 + (24 * (uint)E820.Build(Memory).Count), Read<uint>(tags[6] + 4));
        Assert.Equal("RSD PTR "u8.ToArray(), Read(tags[15] + 8, 8));
    }

    [Fact]
    public void Multiboot2_AddressAndEntryTags_Load()
    {
        const uint at = MultibootImages.LinkAddress;
        byte[] header = MultibootImages.Header2(
            [2, 24, at + MultibootImages.HeaderAt, at, 0, MultibootImages.BssEnd], [3, 12, MultibootImages.Entry + 4]);

        LoadedKernel kernel = Load(MultibootImages.Image(header));

        Assert.Equal((MultibootImages.Entry + 4UL, (ulong)MultibootImages.BssEnd), (kernel.Entry, kernel.KernelEnd));
    }

    [Fact]
    public void HeaderBeyondTheSearch_IsNoHeader()
    {
        byte[] late = [.. new byte[8192 - 8], .. MultibootImages.Flat()];

        Assert.Contains("not a kernel that Hull knows", Refusal(late), StringComparison.Ordinal);
    }

    [Fact]
    public void WrongChecksum_IsNoHeader()
    {
        byte[] file = MultibootImages.Flat();
        file[8 + MultibootImages.HeaderAt + 8] ^= 1;

        Assert.Contains("not a kernel that Hull knows", Refusal(file), StringComparison.Ordinal);
    }

    [Fact]
    public void UnknownDemand_IsRefused() => Assert.Contains(
        "demands what is not known (flags 0x10)", Refusal(MultibootImages.Elf32(MultibootImages.Header1(0x10))), StringComparison.Ordinal);

    [Fact]
    public void UnknownTag_IsRefused_UnlessOptional()
    {
        Assert.Contains("(tag 99)", Refusal(MultibootImages.Elf32(MultibootImages.Header2([99, 8]))), StringComparison.Ordinal);
        Assert.Equal("Multiboot 2", Load(MultibootImages.Elf32(MultibootImages.Header2([99 | (1 << 16), 8]))).Protocol);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Elf64_StartsIn32BitCode_AsGrubDoesIt(bool pvhNote)
    {
        byte[] elf = TestImages.Elf(pvhNote);
        MultibootImages.Header1(0).CopyTo(elf, 0x1000);

        LoadedKernel kernel = Load(elf);

        Assert.Equal("Multiboot 1", kernel.Protocol);
        Assert.Equal((TestImages.LinkAddress, 0x11UL, 0UL), (kernel.InitialState.Rip, kernel.InitialState.Cr0, kernel.InitialState.Efer));
        Assert.Equal(0x2BAD_B002UL, kernel.InitialState.Gpr[0]);
    }

    [Theory]
    [InlineData(0x10_0000u, 0u, 0x10_0080u, "contradict")] // ends before it begins
    [InlineData(0x10_0800u, 0x10_0400u, 0x10_0080u, "contradict")] // zeros before the data's end
    [InlineData(0x10_0800u, 0x4000_0000u, 0x10_0080u, "give it more (-m ")]
    [InlineData(0x10_0800u, 0u, 0x20_0000u, "lies outside")]
    [InlineData(0x10_0900u, 0u, 0x10_0080u, "is truncated")]
    public void ImpossibleAddresses_AreRefused(uint loadEnd, uint bssEnd, uint entry, string words)
    {
        loadEnd = loadEnd == MultibootImages.LinkAddress ? loadEnd - 1 : loadEnd;

        Assert.Contains(words, Refusal(MultibootImages.Flat(loadEnd, bssEnd, entry)), StringComparison.Ordinal);
    }

    [Fact]
    public void KernelOverTheFirmwaresTables_IsRefused() => Assert.Contains(
        "over the firmware's tables", Refusal(MultibootImages.Elf32(MultibootImages.Header1(0), 0x9_F000)), StringComparison.Ordinal);

    [Fact]
    public void ModuleWithoutRoom_IsRefused()
    {
        BootRequest request = Request(MultibootImages.Elf32(MultibootImages.Header1(0))) with
        {
            Modules = [new(BootBlob.FromBytes("big", new byte[15 << 20]), "big")],
        };

        Assert.Contains("no room for module big", Refusal(request), StringComparison.Ordinal);
    }

    [Fact]
    public void ModuleForAnotherKernel_IsRefused()
    {
        BootRequest request = Request(TestImages.Elf()) with { Modules = [new(BootBlob.FromBytes("m", default), "m")] };

        Assert.Contains("takes no modules", Refusal(request), StringComparison.Ordinal);
    }

    private Dictionary<uint, ulong> Tags(ulong info)
    {
        Dictionary<uint, ulong> tags = [];
        ulong end = info + Read<uint>(info);
        for (ulong at = info + 8; at < end; at += (Read<uint>(at + 4) + 7UL) & ~7UL)
        {
            tags[Read<uint>(at)] = at;
        }

        Assert.Equal(8u, Read<uint>(tags[0] + 4));
        Assert.Equal(end, tags[0] + 8);
        return tags;
    }
}
