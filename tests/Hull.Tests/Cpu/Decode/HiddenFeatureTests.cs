using System;
using Hull.Engine;
using Hull.Tests.Cpu.Translate;
using Xunit;

namespace Hull.Tests.Cpu.Decode;

/// <summary>What CPUID hides does not run: the bytes do what they do on a CPU without the feature.</summary>
public sealed class HiddenFeatureTests
{
    private const int InvalidOpcode = 6;

    [Theory]
    [InlineData("pni", "F20F7CC1")] // haddps xmm0, xmm1
    [InlineData("ssse3", "660F3800C1")] // pshufb
    [InlineData("sse4_1", "660F3840C1")] // pmulld
    [InlineData("sse4_2", "F20F38F1C1")] // crc32 eax, ecx
    [InlineData("popcnt", "F30FB8C1")]
    [InlineData("pclmulqdq", "660F3A44C100")]
    [InlineData("aes", "660F38DCC1")]
    [InlineData("sha_ni", "0F38C8C1")] // sha1nexte
    [InlineData("movbe", "0F38F00424")] // movbe eax, [rsp]
    [InlineData("cx16", "480FC70C24")] // cmpxchg16b [rsp]
    [InlineData("adx", "660F38F6C1")] // adcx
    [InlineData("rdrand", "0FC7F0")]
    [InlineData("rdseed", "0FC7F8")]
    [InlineData("rdpid", "F30FC7F8")]
    [InlineData("rdtscp", "0F01F9")]
    [InlineData("clflushopt", "660FAE3C24")]
    [InlineData("clwb", "660FAE3424")]
    [InlineData("smap", "0F01CB")] // stac
    [InlineData("invpcid", "31C0660F38820424")] // xor eax, eax; invpcid rax, [rsp]
    [InlineData("bmi1", "C4E270F2C1")] // andn eax, ecx, ecx
    [InlineData("bmi2", "C4E37BF0C108")] // rorx eax, ecx, 8
    [InlineData("lahf_lm", "9F")]
    [InlineData("avx", "C5F058C1")] // vaddps xmm0, xmm1, xmm1
    [InlineData("avx2", "C5F5FEC1")] // vpaddd ymm0, ymm1, ymm1
    [InlineData("fma", "C4E27198C1")] // vfmadd132ps
    [InlineData("f16c", "C4E27913C1")] // vcvtph2ps
    [InlineData("xsave", "31C931C031D20F01D0")] // xgetbv
    [InlineData("xsavec", "31C031D2488D742440 83E6C0 0FC726")]
    [InlineData("xsaveopt", "31C031D2488D742440 83E6C0 0FAE36")]
    [InlineData("xsaves", "31C031D2488D742440 83E6C0 0FC72E")]
    [InlineData("fsgsbase", "F30FAEC0")] // rdfsbase eax
    public void Instruction_IsUndefined_WhenHidden(string feature, string hex)
    {
        byte[] code = [.. Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal)), 0xF4, 0xF4];
        using FlatGuest without = new(CpuModel.Parse("-" + feature));
        Enable(without, feature is not ("xsave" or "fsgsbase"));
        Assert.Equal(InvalidOpcode, without.Run(code).Vector);

        try
        {
            CpuidPolicy.Check(CpuModel.Parse("+" + feature));
        }
        catch (Hull.Host.HullException)
        {
            return; // not on this host
        }

        using FlatGuest with = new(CpuModel.HostSafe);
        Enable(with, true);
        Assert.Equal(-1, with.Run(code).Vector);
    }

    [Fact]
    public void TzcntAndLzcnt_RunAsBsfAndBsr_OnAnOlderCpu()
    {
        using FlatGuest guest = new(CpuModel.Parse("v2"));
        guest.State.Gpr[1] = 0x0010_0100;
        guest.State.Gpr[9] = 0x0010_0100;
        guest.Run([0xF3, 0x0F, 0xBC, 0xC1, 0xF3, 0x0F, 0xBD, 0xD1, 0xF3, 0x49, 0x0F, 0xBD, 0xD9, 0xF4]);
        Assert.Equal(8UL, guest.State.Gpr[0]);
        Assert.Equal(20UL, guest.State.Gpr[2]); // LZCNT would give 11
        Assert.Equal(20UL, guest.State.Gpr[3]);
    }

    [Theory]
    [InlineData("0F0D10")] // prefetchwt1
    [InlineData("0F1C00")] // cldemote
    [InlineData("0F1800")]
    [InlineData("0F1830")]
    [InlineData("0F1838")]
    [InlineData("0F1900")]
    [InlineData("0F1A00")] // bndldx
    [InlineData("F30F1A00")] // bndcl
    [InlineData("660F1B00")] // bndmov
    [InlineData("0F1D00")]
    [InlineData("F30F1EC8")] // rdsspd
    [InlineData("F30F1EFA")] // endbr64
    [InlineData("0F1EC1")]
    [InlineData("0F1F00")]
    [InlineData("F30F09")] // wbnoinvd runs as wbinvd
    public void HintSpace_IsNop(string hex)
    {
        using FlatGuest guest = new(CpuModel.HostSafe);
        guest.State.Gpr[0] = 0x5555_0000_0000_0000; // not canonical: a hint must not look
        guest.Run([.. Convert.FromHexString(hex), 0xF4]);
        Assert.Equal(-1, guest.Vector);
        Assert.Equal(0x5555_0000_0000_0000UL, guest.State.Gpr[0]);
    }

    [Fact]
    public void SixteenBytes_AreProtectionFault()
    {
        using FlatGuest guest = new(CpuModel.HostSafe);
        byte[] code = new byte[18];
        code.AsSpan(0, 15).Fill(0x66);
        code[15] = 0x90;
        Assert.Equal(13, guest.Run([.. code, 0xF4]).Vector);
        using FlatGuest fifteen = new(CpuModel.HostSafe);
        Assert.Equal(-1, fifteen.Run([.. code[1..16], 0xF4]).Vector);
    }

    [Theory]
    [InlineData(0x3Bu, "tsc_adjust")]
    [InlineData(0x6E0u, "tsc_deadline_timer")]
    [InlineData(0xDA0u, "xsaves")]
    public void Msr_IsAbsent_WhenHidden(uint index, string feature)
    {
        using FlatGuest guest = new(CpuModel.Parse("-" + feature));
        guest.State.Gpr[1] = index;
        guest.Run([0x0F, 0x32, 0xF4]);
        Assert.Equal(13, guest.Vector);
    }

    [Theory]
    [InlineData("smep", 20)]
    [InlineData("smap", 21)]
    [InlineData("umip", 11)]
    [InlineData("pcid", 17)]
    [InlineData("fsgsbase", 16)]
    [InlineData("xsave", 18)]
    [InlineData("vme", 0)]
    public void ControlBit_IsReserved_WhenHidden(string feature, int bit)
    {
        byte[] code = [0x0F, 0x22, 0xE0, 0xF4]; // mov cr4, rax
        using FlatGuest without = new(CpuModel.Parse("-" + feature));
        without.State.Gpr[0] = without.State.Cr4 | (1UL << bit);
        Assert.Equal(13, without.Run(code).Vector);
        using FlatGuest with = new(CpuModel.HostSafe);
        with.State.Gpr[0] = with.State.Cr4 | (1UL << bit);
        Assert.Equal(-1, with.Run(code).Vector);
    }

    private static void Enable(FlatGuest guest, bool all)
    {
        if (all)
        {
            guest.State.Cr4 |= (1 << 16) | (1 << 18);
            guest.State.Xcr0 = 7;
        }
    }
}
