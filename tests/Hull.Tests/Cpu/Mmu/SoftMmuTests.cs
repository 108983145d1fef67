using System;
using System.Collections.Generic;
using Hull.Bus;
using Hull.Cpu.Assist;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Cpu.Mmu;

/// <summary>Whole accesses: page crossings, devices, faults that change nothing.</summary>
public sealed unsafe class SoftMmuTests : IDisposable
{
    private const ulong Keep = 1UL << 63;
    private readonly AssistGuest _guest = new();

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void Store_AcrossPages_IsSeenByLoad()
    {
        _guest.Long();
        Assert.True(_guest.Vcpu.Mmu.Store(0x3_0FFD, 0x1122_3344_5566_7788UL));
        Assert.True(_guest.Vcpu.Mmu.Load(0x3_0FFD, out ulong value));
        Assert.Equal(0x1122_3344_5566_7788UL, value);
        Assert.Equal(0x3344_5566_7788UL >> 24, (ulong)_guest.Read<byte>(0x3_1000) | ((ulong)_guest.Read<ushort>(0x3_1001) << 8));
    }

    [Fact]
    public void Store_WhoseSecondPageFaults_WritesNothing()
    {
        _guest.Long();
        MapDataByPages();
        _guest.Write<ulong>(0x4000 + (0x31 * 8), 0);
        Assert.False(_guest.Vcpu.Mmu.Store(0x3_0FFD, ulong.MaxValue));
        Assert.Equal(((byte)14, 2u), _guest.Fault);
        Assert.Equal(0x3_1000UL, _guest.Cpu->Cr2);
        Assert.Equal(0, _guest.Read<byte>(0x3_0FFD));
    }

    [Theory]
    [InlineData(false, 13)]
    [InlineData(true, 12)]
    public void NotCanonical_RaisesByUse(bool stack, byte vector)
    {
        _guest.Long();
        Access access = stack ? Access.Load | Access.Stack : Access.Load;
        Assert.False(_guest.Vcpu.Mmu.Load(0x8000_0000_0000, out byte _, access));
        Assert.Equal((vector, 0u), _guest.Fault);
    }

    [Fact]
    public void LegacyAddresses_WrapAt4GiB()
    {
        _guest.Protected();
        Assert.True(_guest.Vcpu.Mmu.Load(0x1_0003_0000, out uint _));
        _guest.Write<ushort>(0, 0xBEEF);
        Assert.True(_guest.Vcpu.Mmu.Load(0xFFFF_FFFE, out uint value));
        Assert.Equal(0xBEEF_FFFFu, value);
    }

    [Fact]
    public void Devices_SeeAlignedPieces()
    {
        _guest.Protected();
        RecordingDevice device = new();
        _guest.Bus.MapMmio(new GuestPhysical(0xD000_0000), 0x1000, device);
        Assert.True(_guest.Vcpu.Mmu.Store(0xD000_0003, 0x8877_6655_4433_2211UL));
        Assert.Equal([(3UL, 1, 0x11UL), (4UL, 4, 0x5544_3322UL), (8UL, 2, 0x7766UL), (10UL, 1, 0x88UL)], device.Writes);
        Assert.True(_guest.Vcpu.Mmu.Load(0xD000_0010, out ulong value));
        Assert.Equal(0x10UL, value);
    }

    [Fact]
    public void LocalApic_TakesWholeRegisters()
    {
        _guest.Protected();
        Assert.True(_guest.Vcpu.Mmu.Store(0xFEE0_0080, 0x20u));
        Assert.Equal(0x20u, _guest.Apic.Registers[0x80]);
        Assert.True(_guest.Vcpu.Mmu.Load(0xFEE0_0080, out uint value));
        Assert.Equal(0x20u, value);
        Assert.True(_guest.Vcpu.Mmu.Store(0xFEE0_0080, (byte)0x30));
        Assert.Equal(0x20u, _guest.Apic.Registers[0x80]);
        Assert.True(_guest.Vcpu.Mmu.Load(0xFEE0_0084, out value));
        Assert.Equal(0u, value);
    }

    [Fact]
    public void Nowhere_ReadsAsOnes_AndSwallowsStores()
    {
        _guest.Protected();
        Assert.True(_guest.Vcpu.Mmu.Store(0xE000_0000, 5u));
        Assert.True(_guest.Vcpu.Mmu.Load(0xE000_0000, out uint value));
        Assert.Equal(uint.MaxValue, value);
    }

    [Fact]
    public void Store_TellsWhoWatchesCode()
    {
        _guest.Protected();
        Watcher watcher = new();
        _guest.Memory.Pages.Watch(watcher);
        _guest.Memory.Pages.CodeGrains(0x30) = 1;
        Assert.True(_guest.Vcpu.Mmu.Store(0x3_0010, 1u));
        Assert.Equal((0x3_0010UL, 4UL), watcher.Last);
    }

    [Fact]
    public void FlushOfALargePage_ForgetsAllItsPieces()
    {
        _guest.Long();
        _guest.Write<ulong>(0x3_2000, 2);
        Assert.True(_guest.Vcpu.Mmu.Load(0x3_0000, out ulong _));
        Assert.True(_guest.Vcpu.Mmu.Load(0x3_1000, out ulong _));
        MapDataByPages();
        _guest.Write<ulong>(0x4000 + (0x31 * 8), 0x3_2007);
        _guest.Vcpu.Mmu.FlushPage(0x3_0000);
        Assert.True(_guest.Vcpu.Mmu.Load(0x3_1000, out ulong value));
        Assert.Equal(2UL, value);
    }

    [Theory]
    [InlineData(-1, 0)] // MOV CR3 without bit 63
    [InlineData(0, Keep)] // INVPCID of the page, the space, all spaces
    [InlineData(1, Keep)]
    [InlineData(2, Keep)]
    [InlineData(3, Keep)]
    public void PageOfAnotherSpace_IsWalkedAgain_AfterAFlush(int type, ulong keep)
    {
        _guest.Long();
        MapDataByPages();
        _guest.Cpu->Cr4 |= Cr4.Pge | Cr4.Pcide;
        _guest.Write<ulong>(0x3_2000, 2);
        _guest.Write<ulong>(0x3_3000, 5);
        _guest.Write<ulong>(0x3_3008, 0x3_1000);
        LoadCr3(0x1005);
        Assert.True(_guest.Vcpu.Mmu.Load(0x3_1000, out ulong _));
        LoadCr3(0x1006);
        _guest.Write<ulong>(0x4000 + (0x31 * 8), 0x3_2007);
        if (type >= 0)
        {
            _guest.Cpu->Gpr[Gpr.Rax] = (ulong)type;
            _guest.Cpu->Gpr[Gpr.Rbx] = 0x3_3000;
            if (type > 1)
            {
                _guest.Write<ulong>(0x3_3000, 0);
            }

            _guest.Execute(0x66, 0x0F, 0x38, 0x82, 0x03); // invpcid rax, [rbx]
        }

        LoadCr3(0x1005 | keep);
        Assert.True(_guest.Vcpu.Mmu.Load(0x3_1000, out ulong value));
        Assert.Equal(2UL, value);
    }

    private void LoadCr3(ulong value)
    {
        _guest.Cpu->Gpr[Gpr.Rax] = value;
        Assert.Equal(AssistResult.Jump, _guest.Execute(0x0F, 0x22, 0xD8));
    }

    private void MapDataByPages()
    {
        _guest.Write<ulong>(0x3000, 0x4007);
        for (uint index = 0; index < 512; index++)
        {
            _guest.Write(0x4000 + (index * 8), ((ulong)index << 12) | 7);
        }
    }

    private sealed class RecordingDevice : IMmioDevice
    {
        internal List<(ulong Offset, int Size, ulong Value)> Writes { get; } = [];

        public ulong ReadMmio(ulong offset, int size) => offset;

        public void WriteMmio(ulong offset, int size, ulong value) => Writes.Add((offset, size, value));
    }

    private sealed class Watcher : ICodeWatcher
    {
        internal (ulong Offset, ulong Length) Last { get; private set; }

        public void CodeWritten(ulong offset, ulong length) => Last = (offset, length);
    }
}
