using System;
using System.Buffers.Binary;
using System.Text;
using Hull.Engine;
using Hull.Memory;
using Hull.Timeline;
using Xunit;

namespace Hull.Tests.Engine;

public sealed class KvmClockPersonalityTests : IDisposable
{
    private readonly GuestMemory _memory = new(1 << 20);
    private readonly FixedClock _clock = new();
    private readonly KvmClockPersonality _personality;

    public KvmClockPersonalityTests() => _personality = new KvmClockPersonality(_memory, _clock, 2, 1_000_000_000);

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void SignatureLeaf_SaysKvm()
    {
        Assert.True(_personality.TryCpuid(0, 0x40000000, 0, out CpuidResult result));

        byte[] text = new byte[12];
        BinaryPrimitives.WriteUInt32LittleEndian(text, result.Ebx);
        BinaryPrimitives.WriteUInt32LittleEndian(text.AsSpan(4), result.Ecx);
        BinaryPrimitives.WriteUInt32LittleEndian(text.AsSpan(8), result.Edx);
        Assert.Equal("KVMKVMKVM\0\0\0", Encoding.ASCII.GetString(text));
        Assert.Equal(0x40000010u, result.Eax);
    }

    [Fact]
    public void FrequencyLeaf_GivesTscAndApicInKhz()
    {
        Assert.True(_personality.TryCpuid(0, 0x40000010, 0, out CpuidResult result));

        Assert.Equal((2_400_000u, 1_000_000u), (result.Eax, result.Ebx));
    }

    [Theory]
    [InlineData(0x40000011u)]
    [InlineData(1u)]
    [InlineData(0x40000100u)]
    public void OtherLeaves_AreNotOurs(uint leaf) => Assert.False(_personality.TryCpuid(0, leaf, 0, out _));

    [Theory]
    [InlineData(999_999_999ul)]
    [InlineData(1_000_000_000ul)]
    [InlineData(2_400_000_000ul)]
    [InlineData(6_000_000_000ul)]
    [InlineData(33_000_000ul)]
    public void Scale_TurnsOneHourOfTicksIntoOneHour(ulong hz)
    {
        (uint multiplier, sbyte shift) = KvmClockPersonality.ScaleOf(hz);

        UInt128 ticks = (UInt128)hz * 3600;
        long ns = (long)(((ticks << shift) * multiplier) >> 32);
        Assert.InRange(ns, 3_600_000_000_000 - 20_000, 3_600_000_000_000);
    }

    [Fact]
    public void EnablingSystemTime_FillsTheVcpusPage_WithAnEvenVersion()
    {
        Assert.True(_personality.TryWriteMsr(1, 0x4b564d01, 0x8001));

        Assert.Equal(2u, _memory.Read<uint>(new GuestPhysical(0x8000)));
        Assert.Equal(_clock.Tsc, _memory.Read<ulong>(new GuestPhysical(0x8008)));
        Assert.Equal(_clock.NowNs, _memory.Read<long>(new GuestPhysical(0x8010)));
        Assert.Equal(1, _memory.Read<byte>(new GuestPhysical(0x801D)));
        Assert.True(_personality.TryReadMsr(1, 0x4b564d01, out ulong value));
        Assert.Equal(0x8001ul, value);
        Assert.True(_personality.TryReadMsr(0, 0x4b564d01, out value));
        Assert.Equal(0ul, value);
    }

    [Fact]
    public void SystemTimeWithoutTheEnableBit_TouchesNoMemory()
    {
        Assert.True(_personality.TryWriteMsr(0, 0x4b564d01, 0x8000));

        Assert.Equal(0u, _memory.Read<uint>(new GuestPhysical(0x8000)));
    }

    [Fact]
    public void WallClock_IsTheTimeAtMachineStart()
    {
        Assert.True(_personality.TryWriteMsr(0, 0x4b564d00, 0x9000));

        Assert.Equal(1_800_000_000u - 5, _memory.Read<uint>(new GuestPhysical(0x9004)));
        Assert.Equal(0u, _memory.Read<uint>(new GuestPhysical(0x9008)));
    }

    [Fact]
    public void OldNumbers_LeadToTheSameClock_WithoutFlags()
    {
        Assert.True(_personality.TryCpuid(0, 0x40000001, 0, out CpuidResult features));
        Assert.Equal(9u, features.Eax & 9);

        Assert.True(_personality.TryWriteMsr(1, 0x12, 0x8001));
        Assert.True(_personality.TryWriteMsr(0, 0x11, 0x9000));

        Assert.Equal(_clock.Tsc, _memory.Read<ulong>(new GuestPhysical(0x8008)));
        Assert.Equal(_clock.NowNs, _memory.Read<long>(new GuestPhysical(0x8010)));
        Assert.Equal(0, _memory.Read<byte>(new GuestPhysical(0x801D)));
        Assert.Equal(1_800_000_000u - 5, _memory.Read<uint>(new GuestPhysical(0x9004)));
        foreach ((uint index, int vcpu, ulong expected) in new[]
            { (0x12u, 1, 0x8001ul), (0x4b564d01u, 1, 0x8001ul), (0x12u, 0, 0ul), (0x11u, 0, 0x9000ul), (0x4b564d00u, 0, 0x9000ul) })
        {
            Assert.True(_personality.TryReadMsr(vcpu, index, out ulong value));
            Assert.Equal(expected, value);
        }
    }

    [Theory]
    [InlineData(0xFFFF_FFFF_FFFF_F001ul)]
    [InlineData(0xF_FFF1ul)]
    public void PageOutsideRam_IsIgnored(ulong value) => Assert.True(_personality.TryWriteMsr(0, 0x4b564d01, value));

    [Fact]
    public void UnknownMsr_IsRefused()
    {
        Assert.False(_personality.TryReadMsr(0, 0x4b564d02, out _));
        Assert.False(_personality.TryWriteMsr(0, 0x4b564d02, 0));
    }

    private sealed class FixedClock : IMachineClock
    {
        public long NowNs => 5_000_000_000;

        public ulong Tsc => 12_345_678_901;

        public ulong TscHz => 2_400_000_000;

        public ulong TscOffset => 0;

        public DateTimeOffset UtcNow => DateTimeOffset.FromUnixTimeSeconds(1_800_000_000);
    }
}
