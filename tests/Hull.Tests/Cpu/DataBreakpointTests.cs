using System;
using Hull.Memory;
using Hull.Tests.Cpu.Translate;
using Xunit;

namespace Hull.Tests.Cpu;

/// <summary>
/// Data breakpoints against every kind of access that the engine makes in its own way: copied, lowered, assist, string, stack. A
/// breakpoint on writes must see stores and nothing else, one on reads and writes both. SDM vol. 3B, "Data Memory and I/O
/// Breakpoint Exception Conditions".
/// </summary>
public sealed class DataBreakpointTests : IDisposable
{
    private const ulong StatusDefault = 0xFFFF_0FF0;
    private const ulong Data = FlatGuest.DataAt;
    private readonly FlatGuest _guest = new();

    public void Dispose() => _guest.Dispose();

    // RCX, RBX, RSI, RDI and RSP point at the data; AL is 0.
    [Theory]
    [InlineData("8B01", Kind.Load)] // mov eax, [rcx]
    [InlineData("8901", Kind.Store)]
    [InlineData("C60100", Kind.Store)] // mov byte [rcx], 0
    [InlineData("0101", Kind.Both)] // add [rcx], eax
    [InlineData("3901", Kind.Load)] // cmp [rcx], eax
    [InlineData("F00101", Kind.Both)] // lock add
    [InlineData("8701", Kind.Both)] // xchg
    [InlineData("F0480FC709", Kind.Both)] // lock cmpxchg16b
    [InlineData("0FAB01", Kind.Both)] // bts [rcx], eax
    [InlineData("0FC301", Kind.Store)] // movnti
    [InlineData("0F38F101", Kind.Store)] // movbe [rcx], eax
    [InlineData("F20F38F101", Kind.Load)] // crc32 eax, [rcx]
    [InlineData("0F9401", Kind.Store)] // sete
    [InlineData("0F2801", Kind.Load)] // movaps xmm0, [rcx]
    [InlineData("0F1101", Kind.Store)] // movups [rcx], xmm0
    [InlineData("660F5801", Kind.Load)] // addpd
    [InlineData("0FFC01", Kind.Load)] // paddb mm0, [rcx]
    [InlineData("DD01", Kind.Load)] // fld qword
    [InlineData("DB39", Kind.Store)] // fstp tbyte, after FLD1
    [InlineData("D929", Kind.Load)] // fldcw
    [InlineData("D931", Kind.Store)] // fnstenv
    [InlineData("DD31", Kind.Store)] // fnsave
    [InlineData("0FAE01", Kind.Store)] // fxsave
    [InlineData("0FAE09", Kind.Load)] // fxrstor
    [InlineData("0FAE11", Kind.Load)] // ldmxcsr
    [InlineData("0FAE19", Kind.Store)] // stmxcsr
    [InlineData("0F0101", Kind.Store)] // sgdt
    [InlineData("0F0109", Kind.Store)] // sidt
    [InlineData("0F0121", Kind.Store)] // smsw
    [InlineData("0F0009", Kind.Store)] // str
    [InlineData("8C19", Kind.Store)] // mov [rcx], ds
    [InlineData("A4", Kind.Both)] // movsb, onto itself
    [InlineData("AA", Kind.Store)] // stosb
    [InlineData("AC", Kind.Load)] // lodsb
    [InlineData("AE", Kind.Load)] // scasb
    [InlineData("A6", Kind.Load)] // cmpsb
    [InlineData("6C", Kind.Store)] // insb
    [InlineData("6E", Kind.Load)] // outsb
    [InlineData("D7", Kind.Load)] // xlat
    [InlineData("58", Kind.Load)] // pop rax
    [InlineData("9D", Kind.Load)] // popfq
    [InlineData("FF31", Kind.Load)] // push [rcx]
    [InlineData("660FF7C1", Kind.Store)] // maskmovdqu xmm0, xmm1, with a mask of ones
    [InlineData("8D01", Kind.None)] // lea
    [InlineData("0F1F01", Kind.None)] // nop [rcx]
    [InlineData("0F1809", Kind.None)] // prefetcht0
    [InlineData("0F0139", Kind.None)] // invlpg
    public void Access_IsSeen_AsWhatItIs(string hex, Kind kind)
    {
        byte[] code = Convert.FromHexString(hex);
        AssertSeen(code, writes: true, kind is Kind.Store or Kind.Both);
        AssertSeen(code, writes: false, kind != Kind.None);
    }

    /// <summary>What an instruction does with its operand.</summary>
    public enum Kind
    {
        /// <summary>Nothing.</summary>
        None,

        /// <summary>It reads.</summary>
        Load,

        /// <summary>It writes.</summary>
        Store,

        /// <summary>It reads and writes.</summary>
        Both,
    }

    // The same guest twice: its code is a block already when the second breakpoint is armed.
    private void AssertSeen(byte[] code, bool writes, bool seen)
    {
        byte[] start = [0xD9, 0xE8]; // fld1
        for (int number = 0; number < 8; number++)
        {
            _guest.State.Gpr[number] = number is 0 or 2 or 5 ? 0 : Data;
        }

        _guest.Memory.TryWrite(new GuestPhysical(Data - 16), new byte[544]);
        _guest.Memory.Write<ushort>(new GuestPhysical(Data), 0x202); // flags, a selector's image, a control word
        _guest.State.Fxsave[160 + 16] = 0x80;
        _guest.State.Rip = FlatGuest.CodeAt;
        _guest.State.Halted = false;
        _guest.State.DebugRegisters[0] = Data;
        _guest.State.DebugRegisters[6] = StatusDefault;
        _guest.State.DebugRegisters[7] = 0x402 | (writes ? 1UL << 16 : 3UL << 16);
        _guest.Gate(1, ist: 1).WithTss().Run([.. start, .. code, 0x90, 0xF4]);
        if (seen)
        {
            Assert.Equal(1, _guest.Vector);
            Assert.Equal(FlatGuest.CodeAt + (ulong)(start.Length + code.Length), _guest.Stack(0));
            Assert.Equal(StatusDefault | 1, _guest.State.DebugRegisters[6]);
        }
        else
        {
            Assert.Equal(-1, _guest.Vector);
            Assert.Equal(StatusDefault, _guest.State.DebugRegisters[6]);
        }
    }
}
