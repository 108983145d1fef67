using System;
using System.Linq;
using Hull.Engine;
using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>
/// Code that changes, on one vCPU: in its own block and others, under another linear address, in pages that are mapped
/// elsewhere, given back and used again, and by a device. At random, in every kind of segment:
/// <see cref="Hull.Tests.Steps.BlocksAgainstStepsTests"/>.
/// </summary>
public sealed class CodeChangeTests
{
    private const ulong PageTable = 0x4000;
    private const ulong Window = 0x20_0000 * 9;
    private const ulong FrameA = 0x60_0000;
    private const ulong FrameB = 0x60_1000;

    // mov eax, imm32; ret
    private static byte[] Function(byte value) => [0xB8, value, 0, 0, 0, 0xC3];

    [Fact]
    public void StoreThroughAnAlias_ChangesTheCode()
    {
        using FlatGuest guest = WindowGuest();
        Place(guest, FrameA, Function(1));
        Map(guest, 0, FrameA);
        Map(guest, 1, FrameA);
        guest.Run(a =>
        {
            a.mov(rdi, Window);
            a.call(rdi);
            a.mov(ebx, eax);
            a.mov(__byte_ptr[rdi + 0x1001], 2);
            a.call(rdi);
            a.add(ebx, eax);
            a.hlt();
        });
        Assert.Equal(3UL, guest.State.Gpr[3]);
    }

    [Fact]
    public void CodeRunAtTwoAddresses_ChangesAtBoth()
    {
        using FlatGuest guest = WindowGuest();
        Place(guest, FrameA, Function(1));
        Map(guest, 0, FrameA);
        Map(guest, 1, FrameA);
        guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(rdi, Window);
            a.lea(rsi, __[rdi + 0x1000]);
            a.xor(ebx, ebx);
            a.mov(ecx, 50);
            a.Label(ref again);
            a.call(rdi);
            a.add(ebx, eax);
            a.call(rsi);
            a.add(ebx, eax);
            a.inc(__byte_ptr[rsi + 1]);
            a.dec(ecx);
            a.jne(again);
            a.hlt();
        });
        Assert.Equal(50UL * 51, guest.State.Gpr[3]);
    }

    [Fact]
    public void InstructionAcrossAFrameThatIsMappedTwiceInARow_ChangesAtItsFirstByte()
    {
        using FlatGuest guest = WindowGuest();
        Place(guest, FrameA + 0xFFD, [0xB8, 1, 0]);
        Place(guest, FrameA, [0, 0, 0xC3]);
        Map(guest, 0, FrameA);
        Map(guest, 1, FrameA);
        guest.Run(a =>
        {
            a.mov(edi, (int)Window + 0xFFD);
            a.call(rdi);
            a.mov(ebx, eax);
            a.mov(esi, (int)FrameA);
            a.mov(__byte_ptr[rsi + 0xFFE], 2);
            a.call(rdi);
            a.add(ebx, eax);
            a.hlt();
        });
        Assert.Equal(3UL, guest.State.Gpr[3]);
    }

    [Fact]
    public void RoutineThatIsPatchedBeforeEachCall_NeedsNoCarefulAccess()
    {
        using FlatGuest guest = WindowGuest();
        Place(guest, FrameA, Function(0));
        guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(edi, (int)FrameA);
            a.xor(ebx, ebx);
            a.mov(ecx, 50);
            a.Label(ref again);
            a.mov(__dword_ptr[rdi + 1], ecx);
            a.inc(__byte_ptr[rdi + 7]);     // beside the code
            a.call(rdi);
            a.add(ebx, eax);
            a.dec(ecx);
            a.jne(again);
            a.hlt();
        });
        Assert.Equal(50UL * 51 / 2, guest.State.Gpr[3]);
        Assert.Equal(50, guest.Memory.Read<byte>(new GuestPhysical(FrameA + 7)));
        Assert.Equal(0UL, guest.Engine.ReadCounters().First(static c => c.Name == "exits-careful").Value);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void RemappedPage_RunsTheNewPagesCode(bool global)
    {
        using FlatGuest guest = WindowGuest();
        Place(guest, FrameA, Function(1));
        Place(guest, FrameB, Function(20));
        ulong bits = global ? 0x103UL : 3;
        Map(guest, 0, FrameA, bits);
        guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(rdi, Window);
            a.mov(rsi, PageTable);
            a.mov(r8, FrameA ^ FrameB);
            a.xor(ebx, ebx);
            a.mov(ecx, 40);
            a.Label(ref again);
            a.call(rdi);
            a.add(ebx, eax);
            a.xor(__qword_ptr[rsi], r8);
            a.invlpg(__[rdi]);
            a.dec(ecx);
            a.jne(again);
            a.hlt();
        });
        Assert.Equal(20UL * 21, guest.State.Gpr[3]);
    }

    [Fact]
    public void PageGivenBackAndUsedForOtherCode_RunsThat()
    {
        using FlatGuest guest = WindowGuest();
        Place(guest, FrameA, Function(1));
        Map(guest, 0, FrameA);
        guest.Run(a =>
        {
            a.mov(rdi, Window);
            a.call(rdi);
            a.mov(ebx, eax);

            // Unmapped; the frame is filled at its own address with data, then other code, and mapped again.
            a.mov(rsi, PageTable);
            a.mov(__qword_ptr[rsi], 0);
            a.invlpg(__[rdi]);
            a.mov(edi, (int)FrameA);
            a.mov(ecx, 4096 / 8);
            a.mov(rax, -1);
            a.rep.stosq();
            a.mov(rax, 0x00C3_0000_0007_B890);                 // nop; mov eax, 7; ret
            a.mov(rdi, FrameA);
            a.mov(__[rdi], rax);
            a.mov(__qword_ptr[rsi], (int)(FrameA | 3));
            a.mov(rdi, Window);
            a.call(rdi);
            a.add(ebx, eax);
            a.hlt();
        });
        Assert.Equal(8UL, guest.State.Gpr[3]);
    }

    // Port 0x70 is a device that writes into code through GuestMemory, as DMA does.
    [Fact]
    public void DeviceWrite_ChangesCodeThatIsLinkedAndCached()
    {
        using FlatGuest guest = WindowGuest();
        Place(guest, FrameA, Function(0));
        Map(guest, 0, FrameA);
        byte value = 0;
        guest.Bus.MapPorts(0x70, 1, new DmaPort(() =>
            guest.Memory.TryWrite(new GuestPhysical(FrameA + 1), [++value])));
        guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(rdi, Window);
            a.xor(ebx, ebx);
            a.mov(ecx, 30);
            a.Label(ref again);
            a.@out(0x70, al);
            a.call(rdi);
            a.add(ebx, eax);
            a.dec(ecx);
            a.jne(again);
            a.hlt();
        });
        Assert.Equal(30UL * 31 / 2, guest.State.Gpr[3]);
    }

    // The device changes the instruction behind the OUT, in the same block.
    [Fact]
    public void DeviceWriteIntoTheRunningBlock_TakesEffectAtTheNextInstruction()
    {
        using FlatGuest guest = new();
        guest.Bus.MapPorts(0x70, 1, new DmaPort(() =>
            guest.Memory.TryWrite(new GuestPhysical(FlatGuest.CodeAt + 3), [42])));
        guest.Run([0xE6, 0x70, 0xB0, 0x01, 0xF4]);             // out 0x70, al; mov al, 1; hlt
        Assert.Equal(42UL, guest.State.Gpr[0] & 0xFF);
    }

    [Fact]
    public void InstructionAcrossTwoPages_ChangesWithEitherPage()
    {
        using FlatGuest guest = WindowGuest();
        Map(guest, 0, FrameA);
        Map(guest, 1, FrameB);
        Place(guest, FrameA + 0xFFD, [0xB8, 1, 0]);
        Place(guest, FrameB, [0, 0, 0xC3]);
        guest.Run(a =>
        {
            a.mov(rdi, Window + 0xFFD);
            a.call(rdi);
            a.mov(ebx, eax);
            a.mov(__byte_ptr[rdi + 1], 2);
            a.call(rdi);
            a.add(ebx, eax);
            a.mov(__byte_ptr[rdi + 3], 1);
            a.call(rdi);
            a.add(ebx, eax);

            // The second page becomes another frame: the block must not be found again.
            a.mov(rsi, PageTable);
            a.mov(__qword_ptr[rsi + 8], (int)((FrameB + 0x1000) | 3));
            a.invlpg(__[rdi + 3]);
            a.call(rdi);
            a.add(ebx, eax);
            a.hlt();
        });
        Assert.Equal(1UL + 2 + 0x1_0002 + 0x0A00_0002, guest.State.Gpr[3]);
    }

    [Fact]
    public void PushIntoTheNextInstruction_TakesEffect()
    {
        using FlatGuest guest = new();
        guest.Run(static a =>
        {
            Label patched = a.CreateLabel();
            a.lea(rsp, __[patched]);
            a.add(rsp, 9);
            a.mov(rax, 0x9090_9090_9090_902A);
            a.push(rax);
            a.Label(ref patched);
            a.db(0xB0, 0x01);                                  // mov al, 1: its immediate becomes 42
            a.db(0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90);
            a.hlt();
        });
        Assert.Equal(0x2AUL, guest.State.Gpr[0] & 0xFF);
    }

    // Segments that are not flat: the store goes through C# in the middle of what would be one block.
    [Fact]
    public void StoreIntoTheRunningBlock_InRealMode_TakesEffectAtTheNextInstruction()
    {
        using FlatGuest guest = new();
        guest.State.Cr0 = 0x10;
        guest.State.Cr4 = 0;
        guest.State.Efer = 0;
        guest.State.Rip = 0;
        for (int i = 0; i < 6; i++)
        {
            guest.State.Segments[i] = new SegmentRegister { Base = FlatGuest.CodeAt, Limit = 0xFFFF, Attributes = 0x93 };
        }

        // mov byte [8], 42; mov bx, ax (filler); mov al, 1; hlt
        guest.Run([0xC6, 0x06, 0x08, 0x00, 0x2A, 0x89, 0xC3, 0xB0, 0x01, 0xF4]);
        Assert.Equal(42UL, guest.State.Gpr[0] & 0xFF);
    }

    private static FlatGuest WindowGuest()
    {
        FlatGuest guest = new();
        guest.State.Cr4 |= 0x80;
        guest.Memory.Write(new GuestPhysical(0x3000 + (8 * (Window >> 21))), PageTable | 3);
        Place(guest, FrameB + 0x1000, [0, 0x0A, 0xC3]);
        return guest;
    }

    private static void Map(FlatGuest guest, ulong index, ulong frame, ulong bits = 3) =>
        guest.Memory.Write(new GuestPhysical(PageTable + (8 * index)), frame | bits);

    private static void Place(FlatGuest guest, ulong at, byte[] code) =>
        guest.Memory.TryWrite(new GuestPhysical(at), code);

    private sealed class DmaPort(Action written) : Hull.Bus.IPortDevice
    {
        public uint ReadPort(ushort offset, int size) => 0;

        public void WritePort(ushort offset, int size, uint value) => written();
    }
}
