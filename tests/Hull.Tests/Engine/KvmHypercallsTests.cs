using System;
using System.Collections.Generic;
using Hull.Bus;
using Hull.Engine;
using Xunit;

namespace Hull.Tests.Engine;

/// <summary>KVM's hypercall that sends an interrupt to many, on forty processors.</summary>
public sealed class KvmHypercallsTests : IMsiSink
{
    private const int Vcpus = 40;

    private readonly List<MsiMessage> _sent = [];

    void IMsiSink.Send(MsiMessage message) => _sent.Add(message);

    [Fact]
    public void SendIpi_ReachesEachBitsApic_AndCountsThem()
    {
        Assert.Equal(2UL, Call(10, 0b1001, 0, 2, 0x4051));
        Assert.Equal(1UL, Call(10, 1UL << 39, 0, 0, 0x400));

        Assert.Equal([0xFEE0_2000UL, 0xFEE0_5000UL, 0xFEE2_7000UL], _sent.ConvertAll(static message => message.Address));
        Assert.Equal([0x51u, 0x51u, 0x400u], _sent.ConvertAll(static message => message.Data));
    }

    [Fact]
    public void SendIpi_ToApicsThatAreNotThere_SendsNothing()
    {
        Assert.Equal(0UL, Call(10, 0xFFFF_FFFF, 0, 0xFFFF_FFFF, 0)); // what kvm-unit-tests' apic asks for
        Assert.Equal(0UL, Call(10, ulong.MaxValue, ulong.MaxValue, Vcpus, 0x51));
        Assert.Equal(1UL, Call(10, ulong.MaxValue, ulong.MaxValue, Vcpus - 1, 0x51));
    }

    [Fact]
    public void SendIpi_In32BitMode_TakesHalvesOf32Bits()
    {
        Assert.Equal(0xFFFF_FFFFUL & unchecked((ulong)-22L), Call(10, 1, 0, 0, 0x4_0000, is64Bit: false));
        Assert.Equal(2UL, Call(0x5_0000_000A, 0xFF_0000_0001, 0b100, 1, 0x51, is64Bit: false));
        Assert.Equal([0xFEE0_1000UL, 0xFEE2_3000UL], _sent.ConvertAll(static message => message.Address));
    }

    [Theory]
    [InlineData(10UL, 0x851UL, 0, -22L)] // logical
    [InlineData(10UL, 0xC_0051UL, 0, -22L)] // all but self
    [InlineData(10UL, 0x51UL, 3, -1L)]
    [InlineData(99UL, 0x51UL, 0, -1000L)]
    [InlineData(99UL, 0x51UL, 3, -1L)]
    public void WrongCall_IsAnswered_AndSendsNothing(ulong number, ulong command, int cpl, long result)
    {
        Assert.Equal(result, (long)Call(number, 1, 0, 0, command, cpl: cpl));
        Assert.Empty(_sent);
    }

    private ulong Call(ulong number, ulong low, ulong high, ulong first, ulong command, bool is64Bit = true, int cpl = 0)
    {
        Registers registers = new(is64Bit, cpl);
        (registers[0], registers[3], registers[1], registers[2], registers[6]) = (number, low, high, first, command);
        KvmHypercalls.Call(registers, this, Vcpus);
        return registers[0];
    }

    private sealed class Registers(bool is64Bit, int cpl) : IHypercallRegisters
    {
        private readonly ulong[] _values = new ulong[16];

        public ulong this[int index]
        {
            get => _values[index];
            set => _values[index] = value;
        }

        public bool Is64Bit => is64Bit;

        public int Cpl => cpl;

        public bool TryLoad(ulong linear, Span<byte> destination) => false;

        public bool TryStore(ulong linear, ReadOnlySpan<byte> source) => false;
    }
}
