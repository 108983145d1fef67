using System;
using System.Collections.Generic;
using Hull.Bus;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>String instructions against a plain model, and where they fault, wrap and stop.</summary>
public sealed unsafe class StringTests : IDisposable
{
    private readonly AssistGuest _guest = new();

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose() => _guest.Dispose();

    [Theory]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(4, false)]
    [InlineData(8, false)]
    [InlineData(1, true)]
    [InlineData(2, true)]
    [InlineData(4, true)]
    [InlineData(8, true)]
    public void RepMovs_IsElementwise_WhateverOverlaps(int size, bool backward)
    {
        _guest.Long();
        Random random = new(size);
        byte[] code = size switch
        {
            1 => [0xF3, 0xA4],
            2 => [0x66, 0xF3, 0xA5],
            4 => [0xF3, 0xA5],
            _ => [0xF3, 0x48, 0xA5],
        };
        byte[] model = new byte[0x6000];
        for (int round = 0; round < 60; round++)
        {
            random.NextBytes(model);
            _guest.Memory.TryWrite(new GuestPhysical(0x10_0000), model);
            int count = random.Next(1, 1200);
            int source = 0x3000 + random.Next(-64, 64);
            int distance = round % 3 == 0 ? random.Next(-9, 10) : random.Next(-4000, 4000);
            int target = source + distance;
            if (backward)
            {
                (source, target) = (source + 200, target + 200);
            }

            count = Math.Min(count, 0xF00 / size);
            Cpu->DirectionFlag = backward ? (byte)1 : (byte)0;
            Cpu->Gpr[Gpr.Rsi] = 0x10_0000 + (ulong)source;
            Cpu->Gpr[Gpr.Rdi] = 0x10_0000 + (ulong)target;
            Cpu->Gpr[Gpr.Rcx] = (ulong)count;
            int step = backward ? -size : size;
            for (int index = 0; index < count; index++)
            {
                model.AsSpan(source, size).ToArray().CopyTo(model, target);
                source += step;
                target += step;
            }

            Assert.Equal(AssistResult.Next, _guest.Execute(code));
            byte[] actual = new byte[model.Length];
            _guest.Memory.TryRead(new GuestPhysical(0x10_0000), actual);
            Assert.True(model.AsSpan().SequenceEqual(actual), $"round {round}");
            Assert.Equal(0UL, Cpu->Gpr[Gpr.Rcx]);
            Assert.Equal(0x10_0000 + (ulong)source, Cpu->Gpr[Gpr.Rsi]);
            Assert.Equal(0x10_0000 + (ulong)target, Cpu->Gpr[Gpr.Rdi]);
        }
    }

    [Fact]
    public void RepStos_FillsAcrossPages()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rdi] = 0x10_0FFD;
        Cpu->Gpr[Gpr.Rax] = 0x1122_3344_5566_7788;
        Cpu->Gpr[Gpr.Rcx] = 1500;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xF3, 0x48, 0xAB));
        for (uint index = 0; index < 1500; index++)
        {
            Assert.Equal(0x1122_3344_5566_7788UL, _guest.Read<ulong>(0x10_0FFD + (index * 8)));
        }

        Assert.Equal(0, _guest.Read<byte>(0x10_0FFC));
        Assert.Equal(0, _guest.Read<byte>(0x10_0FFD + 12000));
    }

    [Fact]
    public void RepStos_StopsAtTheFaultingElement()
    {
        _guest.Long();
        _guest.Write<ulong>(0x3000 + (1 * 8), 0); // 2-4 MiB not mapped
        Cpu->Gpr[Gpr.Rdi] = 0x1F_FFE0;
        Cpu->Gpr[Gpr.Rcx] = 100;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xF3, 0x48, 0xAB));
        Assert.Equal(((byte)14, 2u), _guest.Fault);
        Assert.Equal(0x20_0000UL, Cpu->Cr2);
        Assert.Equal(0x20_0000UL, Cpu->Gpr[Gpr.Rdi]);
        Assert.Equal(96UL, Cpu->Gpr[Gpr.Rcx]);
        Assert.Equal(AssistGuest.CodeAt, Cpu->Rip);
    }

    [Fact]
    public void Attention_StopsBetweenPages_AndGoesOn()
    {
        _guest.Long();
        Cpu->AttentionBits = 1;
        Cpu->Gpr[Gpr.Rdi] = 0x10_0000;
        Cpu->Gpr[Gpr.Rcx] = 0x2000;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xF3, 0xAA));
        Assert.Equal(0x1000UL, Cpu->Gpr[Gpr.Rcx]);
        Assert.Equal(AssistGuest.CodeAt, Cpu->Rip);
        Assert.Equal(AssistResult.Next, _guest.Execute(0xF3, 0xAA));
        Assert.Equal(0UL, Cpu->Gpr[Gpr.Rcx]);
    }

    [Fact]
    public void TrapFlag_DoesOneElement()
    {
        _guest.Long();
        Cpu->Rflags |= Rflags.Tf;
        Cpu->Gpr[Gpr.Rdi] = 0x10_0000;
        Cpu->Gpr[Gpr.Rcx] = 2;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0xF3, 0xAA));
        Assert.Equal(1UL, Cpu->Gpr[Gpr.Rcx]);
        Assert.Equal(AssistResult.Next, _guest.Execute(0xF3, 0xAA));
    }

    [Fact]
    public void CountZero_DoesNothing()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rcx] = 0;
        Cpu->Gpr[Gpr.Rdi] = 0xDEAD_0000_0000;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xF3, 0xAA));
        Assert.Equal(0xDEAD_0000_0000UL, Cpu->Gpr[Gpr.Rdi]);
    }

    [Fact]
    public void RepneScasb_FindsTheByte()
    {
        _guest.Long();
        _guest.Write<byte>(0x10_1234, 7);
        Cpu->Gpr[Gpr.Rdi] = 0x10_0000;
        Cpu->Gpr[Gpr.Rcx] = ulong.MaxValue;
        Cpu->Gpr[Gpr.Rax] = 7;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xF2, 0xAE));
        Assert.Equal(0x10_1235UL, Cpu->Gpr[Gpr.Rdi]);
        Assert.Equal(ulong.MaxValue - 0x1235, Cpu->Gpr[Gpr.Rcx]);
        Assert.Equal(Rflags.Zf | Rflags.Pf, Cpu->ArithmeticFlags);
    }

    [Fact]
    public void RepeCmps_StopsAtTheDifference()
    {
        _guest.Long();
        _guest.Write(0x10_0010, 5u);
        _guest.Write(0x11_0010, 6u);
        Cpu->Gpr[Gpr.Rsi] = 0x10_0000;
        Cpu->Gpr[Gpr.Rdi] = 0x11_0000;
        Cpu->Gpr[Gpr.Rcx] = 100;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xF3, 0xA7));
        Assert.Equal(95UL, Cpu->Gpr[Gpr.Rcx]);
        Assert.Equal(0x10_0014UL, Cpu->Gpr[Gpr.Rsi]);
        Assert.Equal(Rflags.Cf | Rflags.Sf | Rflags.Pf | Rflags.Af, Cpu->ArithmeticFlags);
    }

    [Fact]
    public void Cmps_WithoutRep_DoesOne()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rsi] = 0x10_0000;
        Cpu->Gpr[Gpr.Rdi] = 0x11_0000;
        Cpu->Gpr[Gpr.Rcx] = 5;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xA6));
        Assert.Equal(5UL, Cpu->Gpr[Gpr.Rcx]);
        Assert.Equal(Rflags.Zf | Rflags.Pf, Cpu->ArithmeticFlags);
    }

    [Fact]
    public void AddressSize16_WrapsInsideTheSegment()
    {
        _guest.Real();
        Cpu->Gpr[Gpr.Rdi] = 0xFFFF_FFFE;
        Cpu->Gpr[Gpr.Rcx] = 0xABCD_0004;
        Cpu->Gpr[Gpr.Rax] = 0x55;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xF3, 0xAA));
        Assert.Equal(0xFFFF_0002UL, Cpu->Gpr[Gpr.Rdi]);
        Assert.Equal(0xABCD_0000UL, Cpu->Gpr[Gpr.Rcx]);
        Assert.Equal(0x5555, _guest.Read<ushort>(AssistGuest.DataAt + 0xFFFE));
        Assert.Equal(0x5555, _guest.Read<ushort>(AssistGuest.DataAt));
    }

    [Fact]
    public void AddressSize32_In64BitMode_ZeroExtends()
    {
        _guest.Long();
        Cpu->Gpr[Gpr.Rdi] = 0xFFFF_FFFF_0010_0000;
        Cpu->Gpr[Gpr.Rcx] = 0xFFFF_FFFF_0000_0003;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x67, 0xF3, 0xAA));
        Assert.Equal(0x10_0003UL, Cpu->Gpr[Gpr.Rdi]);
        Assert.Equal(0UL, Cpu->Gpr[Gpr.Rcx]);
    }

    [Fact]
    public void SegmentLimit_FaultsAtTheRightElement()
    {
        _guest.Protected();
        Cpu->Segments[Seg.Es] = new CpuSegment { Base = 0x10_0000, Limit = 0xFFF, Attributes = 0x4093 };
        Cpu->Gpr[Gpr.Rdi] = 0xFF0;
        Cpu->Gpr[Gpr.Rcx] = 32;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0xF3, 0xAA));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Assert.Equal(0x1000UL, Cpu->Gpr[Gpr.Rdi]);
        Assert.Equal(16UL, Cpu->Gpr[Gpr.Rcx]);
    }

    [Fact]
    public void SourceSegment_CanBeOverridden()
    {
        _guest.Long();
        Cpu->Segments[Seg.Gs].Base = 0x10_0000;
        _guest.Write(0x10_0040, 0x1234_5678u);
        Cpu->Gpr[Gpr.Rsi] = 0x40;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x65, 0xAD));
        Assert.Equal(0x1234_5678UL, Cpu->Gpr[Gpr.Rax]);
        Assert.Equal(0x44UL, Cpu->Gpr[Gpr.Rsi]);
    }

    [Fact]
    public void RepOuts_AndIns_ReachThePort()
    {
        _guest.Long();
        Port port = new();
        _guest.Bus.MapPorts(0x300, 8, port);
        Cpu->Gpr[Gpr.Rdx] = 0x300;
        _guest.Memory.TryWrite(new GuestPhysical(0x10_0000), "hello"u8);
        Cpu->Gpr[Gpr.Rsi] = 0x10_0000;
        Cpu->Gpr[Gpr.Rcx] = 5;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xF3, 0x6E));
        Assert.Equal("hello"u8.ToArray(), port.Bytes);
        Cpu->Gpr[Gpr.Rdi] = 0x11_0000;
        Cpu->Gpr[Gpr.Rcx] = 2;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xF3, 0x6D));
        Assert.Equal(0x0000_0001_0000_0000UL, _guest.Read<ulong>(0x11_0000));
    }

    [Fact]
    public void Ins_ChecksTheDestinationBeforeThePort()
    {
        _guest.Long();
        Port port = new();
        _guest.Bus.MapPorts(0x300, 8, port);
        Cpu->Gpr[Gpr.Rdx] = 0x300;
        Cpu->Gpr[Gpr.Rdi] = 0x4000_0000;
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x6C));
        Assert.Equal(0, port.Reads);
    }

    [Fact]
    public void IoMap_DecidesPortByPort()
    {
        _guest.Long(3);
        Cpu->Tr.Limit = 0x67 + 0x2001;
        _guest.Write<ushort>(AssistGuest.TssAt + 102, 0x68);
        _guest.Write<byte>(AssistGuest.TssAt + 0x68 + (0x60 / 8), 0x02); // 0x61 closed
        Cpu->Gpr[Gpr.Rdx] = 0x60;
        Assert.Equal(AssistResult.Next, _guest.Execute(0xEC));
        Assert.Equal(0xFFUL, Cpu->Gpr[Gpr.Rax] & 0xFF);
        Assert.Equal(AssistResult.Fault, _guest.Execute(0x66, 0xED));
        Assert.Equal(((byte)13, 0u), _guest.Fault);
        Cpu->Rflags = Rflags.Iopl;
        Assert.Equal(AssistResult.Next, _guest.Execute(0x66, 0xED));
    }

    private sealed class Port : IPortDevice
    {
        internal List<byte> Bytes { get; } = [];

        internal int Reads { get; private set; }

        public uint ReadPort(ushort offset, int size) => (uint)Reads++;

        public void WritePort(ushort offset, int size, uint value) => Bytes.Add((byte)value);
    }
}
