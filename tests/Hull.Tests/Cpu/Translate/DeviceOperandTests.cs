using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Numerics;
using System.Runtime.InteropServices;
using Hull.Bus;
using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>
/// An operand in a device is what it is in RAM: each snippet runs once with RDI in RAM and once with RDI in a device that is
/// plain memory, over the end of a page and within one, and registers, flags, exception and memory must agree.
/// </summary>
public sealed class DeviceOperandTests
{
    private const ulong DeviceAt = 0xC000_0000;
    private const ulong Large = 1UL << 21;
    private const int LinearPage = 32;
    private const ulong Linear = (LinearPage * Large) + (FlatGuest.DataAt % Large);
    private const int Bytes = 0x3000;
    private const int Operand = 0x1000;

    private static readonly Dictionary<string, Action<Assembler>> Snippets = new()
    {
        ["mov"] = static a =>
        {
            a.mov(rax, __qword_ptr[rdi]);
            a.mov(__dword_ptr[rdi + 9], eax);
            a.mov(bx, __word_ptr[rdi + 3]);
            a.mov(__byte_ptr[rdi], bh);
        },
        ["movzx"] = static a =>
        {
            a.movzx(eax, __word_ptr[rdi + 1]);
            a.movsx(rbx, __byte_ptr[rdi + 7]);
            a.movsxd(rcx, __dword_ptr[rdi + 5]);
            a.movbe(rdx, __qword_ptr[rdi]);
        },
        ["arithmetic"] = static a =>
        {
            a.add(__qword_ptr[rdi], rbx);
            a.adc(__dword_ptr[rdi + 5], 9);
            a.sbb(ecx, __dword_ptr[rdi + 2]);
            a.not(__word_ptr[rdi + 11]);
            a.neg(__byte_ptr[rdi]);
        },
        ["compare"] = static a =>
        {
            a.cmp(__qword_ptr[rdi], rbx);
            a.setb(al);
            a.test(__dword_ptr[rdi + 1], 0x1234567);
            a.setne(bl);
        },
        ["locked"] = static a =>
        {
            a.@lock.xadd(__qword_ptr[rdi], rbx);
            a.@lock.inc(__dword_ptr[rdi + 3]);
            a.xchg(__word_ptr[rdi + 7], cx);
            a.@lock.bts(__dword_ptr[rdi], 5);
        },
        ["cmpxchg"] = static a =>
        {
            a.mov(rax, __qword_ptr[rdi]);
            a.@lock.cmpxchg(__qword_ptr[rdi], rbx);
            a.setz(cl);
            a.@lock.cmpxchg8b(__qword_ptr[rdi + 3]);
            a.setz(ch);
        },
        ["cmpxchg16b"] = static a =>
        {
            a.and(rdi, -16);
            a.mov(rax, __qword_ptr[rdi]);
            a.mov(rdx, __qword_ptr[rdi + 8]);
            a.@lock.cmpxchg16b(__xmmword_ptr[rdi]);
        },
        ["cmpxchg16b misaligned"] = static a => { a.lea(rdi, __[rdi + 1]); a.or(rdi, 1); a.cmpxchg16b(__xmmword_ptr[rdi]); },
        ["bits"] = static a =>
        {
            a.bts(__qword_ptr[rdi], rcx);
            a.btc(__dword_ptr[rdi], 17);
            a.bsf(rax, __qword_ptr[rdi]);
            a.bsr(bx, __word_ptr[rdi + 1]);
            a.popcnt(rdx, __qword_ptr[rdi + 2]);
        },
        ["shifts"] = static a =>
        {
            a.mov(cl, 5);
            a.shl(__qword_ptr[rdi], cl);
            a.rcr(__dword_ptr[rdi + 3], 3);
            a.shld(__qword_ptr[rdi + 1], rbx, cl);
            a.shrd(__word_ptr[rdi], bx, 3);
        },
        ["multiply"] = static a =>
        {
            a.mul(__qword_ptr[rdi]);
            a.imul(rbx, __qword_ptr[rdi + 1]);
            a.imul(ecx, __dword_ptr[rdi + 3], 311);
        },
        ["divide"] = static a =>
        {
            a.xor(edx, edx);
            a.div(__qword_ptr[rdi]);
            a.xor(ecx, ecx);
            a.mov(__dword_ptr[rdi], ecx);
            a.div(__dword_ptr[rdi]);
        },
        ["stack"] = static a =>
        {
            a.mov(rbx, rsp);
            a.mov(rsp, rdi);
            a.push(rax);
            a.push(-7);
            a.push(__qword_ptr[rdi]);
            a.push(bx);
            a.pop(cx);
            a.pop(__qword_ptr[rdi + 8]);
            a.pushfq();
            a.xchg(rbx, rsp);
        },
        ["enter"] = static a =>
        {
            a.mov(rbx, rsp);
            a.lea(rsp, __[rdi + 20]);
            a.mov(rbp, rdi);
            a.enter(0x18, 3);
            a.leave();
            a.mov(rcx, rsp);
            a.mov(rsp, rbx);
        },
        ["strings"] = static a =>
        {
            a.mov(rsi, rdi);
            a.lea(rdi, __[rdi + 64]);
            a.mov(ecx, 27);
            a.rep.movsb();
            a.mov(ecx, 3);
            a.rep.stosq();
            a.lodsd();
            a.mov(ecx, 5);
            a.rep.movsw();
        },
        ["strings down"] = static a =>
        {
            a.std();
            a.lea(rsi, __[rdi + 8]);
            a.lea(rdi, __[rdi + 1]);
            a.mov(ecx, 6);
            a.rep.movsd();
            a.stosw();
            a.cld();
        },
        ["compare strings"] = static a =>
        {
            a.lea(rsi, __[rdi + 256]);
            a.mov(r12, rdi);
            foreach (int size in (int[])[1, 2, 4, 8])
            {
                a.mov(rdi, r12);
                a.mov(ecx, 20);
                Sized(size, () => a.repe.cmpsb(), () => a.repe.cmpsw(), () => a.repe.cmpsd(), () => a.repe.cmpsq());
                a.lea(rbx, __[rbx + (rcx * 8)]);
                Sized(size, () => a.scasb(), () => a.scasw(), () => a.scasd(), () => a.scasq());
                a.setz(bl);
            }
        },
        ["ports"] = static a =>
        {
            a.mov(dx, 0xE0);
            a.mov(ecx, 37);
            a.rep.insb();
            a.mov(rsi, rdi);
            a.sub(rsi, 11);
            a.mov(ecx, 3);
            a.rep.outsd();
            a.insw();
        },
        ["sse"] = static a =>
        {
            a.movups(xmm0, __xmmword_ptr[rdi]);
            a.movupd(__xmmword_ptr[rdi + 5], xmm0);
            a.movdqu(xmm1, __xmmword_ptr[rdi + 1]);
            a.movq(__qword_ptr[rdi + 2], xmm1);
            a.movq(rax, xmm0);
            a.pextrw(ebx, xmm1, 6);
        },
        ["sse aligned"] = static a =>
        {
            a.and(rdi, -16);
            a.movaps(xmm0, __xmmword_ptr[rdi]);
            a.paddb(xmm0, __xmmword_ptr[rdi + 16]);
            a.movapd(__xmmword_ptr[rdi + 32], xmm0);
            a.movntdq(__xmmword_ptr[rdi], xmm0);
        },
        ["sse misaligned"] = static a => { a.or(rdi, 8); a.movaps(xmm0, __xmmword_ptr[rdi]); },
        ["sse misaligned store"] = static a => { a.or(rdi, 8); a.movaps(__xmmword_ptr[rdi], xmm0); },
        ["avx"] = static a =>
        {
            a.vmovups(ymm0, __ymmword_ptr[rdi]);
            a.vpaddd(ymm1, ymm0, __ymmword_ptr[rdi + 3]);
            a.vmovdqu(__ymmword_ptr[rdi + 32], ymm1);
            a.vbroadcastsd(ymm2, __qword_ptr[rdi + 1]);
            a.vmovq(rax, xmm2);
        },
        ["avx masks"] = static a =>
        {
            a.vpcmpeqd(ymm0, ymm0, ymm0);
            a.vpsrldq(ymm0, ymm0, 4);
            a.vmaskmovps(ymm1, ymm0, __ymmword_ptr[rdi]);
            a.vpmaskmovd(__ymmword_ptr[rdi + 3], ymm0, ymm1);
            a.vmovq(rax, xmm1);
        },
        ["gather"] = static a =>
        {
            a.vpcmpeqd(ymm0, ymm0, ymm0);
            a.vpxor(ymm1, ymm1, ymm1);
            a.vpgatherdd(ymm2, __dword_ptr[rdi + ymm1], ymm0);
            a.vmovq(rax, xmm2);
        },
        ["mmx"] = static a =>
        {
            a.movq(mm0, __qword_ptr[rdi]);
            a.paddb(mm0, __qword_ptr[rdi + 3]);
            a.movq(__qword_ptr[rdi + 1], mm0);
            a.movd(eax, mm0);
            a.emms();
        },
        ["x87"] = static a =>
        {
            a.fld(__qword_ptr[rdi]);
            a.fild(__dword_ptr[rdi + 3]);
            a.faddp(st1, st0);
            a.fstp(__tword_ptr[rdi + 1]);
            a.fld1();
            a.fbstp(__tword_ptr[rdi]);
            a.fnstcw(__word_ptr[rdi + 9]);
        },
        ["x87 state"] = static a =>
        {
            a.fninit();
            a.fld1();
            a.fnsave(__[rdi + 1]);
            a.frstor(__[rdi + 1]);
            a.fstp(__qword_ptr[rdi]);
        },
        ["fxsave"] = static a =>
        {
            a.and(rdi, -16);
            a.fninit();
            a.fxsave(__[rdi]);
            a.fxrstor(__[rdi]);
            a.mov(eax, __dword_ptr[rdi + 24]);
        },
        ["jumps"] = static a =>
        {
            Label there = a.CreateLabel();
            a.lea(rax, __[there]);
            a.mov(__qword_ptr[rdi], rax);
            a.jmp(__qword_ptr[rdi]);
            a.ud2();
            a.Label(ref there);
            a.nop();
            a.xor(eax, eax);
            a.mov(__qword_ptr[rdi], rax);
        },
        ["far jump"] = static a =>
        {
            Label there = a.CreateLabel();
            a.lea(rax, __[there]);
            a.mov(__dword_ptr[rdi], eax);
            a.mov(__word_ptr[rdi + 4], cs);
            a.jmp(__fword_ptr[rdi]);
            a.ud2();
            a.Label(ref there);
            a.xor(eax, eax);
            a.mov(__dword_ptr[rdi], eax);
        },
        ["jump nowhere"] = static a =>
        {
            a.mov(rax, 0x1111_1111_1111_1111);
            a.mov(__qword_ptr[rdi], rax);
            a.jmp(__qword_ptr[rdi]);
        },
        ["system"] = static a =>
        {
            a.smsw(__word_ptr[rdi]);
            a.sgdt(__[rdi + 2]);
            a.sidt(__[rdi + 12]);
            a.sldt(__word_ptr[rdi + 22]);
            a.str(__word_ptr[rdi + 24]);
            a.lgdt(__[rdi + 2]);
            a.lidt(__[rdi + 12]);
            a.lmsw(__word_ptr[rdi]);
        },
        ["segments"] = static a =>
        {
            a.mov(__word_ptr[rdi], ds);
            a.mov(es, __word_ptr[rdi]);
            a.lar(eax, __word_ptr[rdi]);
            a.lsl(ebx, __word_ptr[rdi]);
            a.verr(__word_ptr[rdi]);
            a.setz(cl);
            a.mov(__word_ptr[rdi], 3);
            a.mov(ss, __word_ptr[rdi]);
        },
        ["lea of a register"] = static a => a.db(0x8D, 0xC0),
        ["movbe of a register"] = static a => a.db(0x0F, 0x38, 0xF0, 0xC0),
        ["rdpru"] = static a => a.db(0x0F, 0x01, 0xFD),
        ["conditional"] = static a =>
        {
            a.cmp(eax, eax);
            a.cmovne(eax, __dword_ptr[rdi]);
            a.cmove(rbx, __qword_ptr[rdi + 1]);
            a.setl(__byte_ptr[rdi]);
        },
        ["bmi"] = static a =>
        {
            a.andn(rax, rbx, __qword_ptr[rdi]);
            a.mulx(rcx, rdx, __qword_ptr[rdi + 1]);
            a.pdep(rbx, rbx, __qword_ptr[rdi + 2]);
            a.rorx(rsi, __qword_ptr[rdi + 3], 7);
            a.crc32(eax, __dword_ptr[rdi]);
        },
    };

    public static TheoryData<string, int> Rows
    {
        get
        {
            TheoryData<string, int> rows = [];
            foreach (string name in Snippets.Keys)
            {
                foreach (int offset in (int[])[0, -1, -3, -8, 0x123])
                {
                    rows.Add(name, offset);
                }
            }

            return rows;
        }
    }

    [Theory]
    [MemberData(nameof(Rows))]
    public void Operand_IsWhatItIsInRam(string name, int offset)
    {
        (string Text, byte[] Memory) ram = Run(Snippets[name], FlatGuest.DataAt & ~(Large - 1), offset);
        (string Text, byte[] Memory) device = Run(Snippets[name], DeviceAt, offset);
        Assert.StartsWith($"vector {ExpectedVector(name)}\n", ram.Text);
        Assert.Equal(ram.Text, device.Text);
        Assert.Equal(ram.Memory, device.Memory);
    }

    private static void Sized(int size, params Action[] instructions) => instructions[BitOperations.Log2((uint)size)]();

    private static int ExpectedVector(string name) => name switch
    {
        "cmpxchg16b misaligned" or "sse misaligned" or "sse misaligned store" or "jump nowhere" or "segments" => 13,
        "lea of a register" or "movbe of a register" or "rdpru" => 6,
        "divide" => 0,
        _ => -1,
    };

    // The large page of the operand leads to RAM or to the device.
    private static (string Text, byte[] Memory) Run(Action<Assembler> snippet, ulong page, int offset)
    {
        using FlatGuest guest = new(avx: true);
        Plain device = new();
        guest.Bus.MapMmio(new GuestPhysical(DeviceAt + (Linear % Large)), Bytes, device);
        guest.Bus.MapPorts(0xE0, 4, new Ports());
        guest.Memory.Write(new GuestPhysical(0x3000 + (8 * LinearPage)), page | 0x83);
        byte[] start = new byte[Bytes];
        new Random(7).NextBytes(start);
        start.AsSpan(256, 128).CopyTo(start.AsSpan(0, 128));
        start.CopyTo(device.Bytes, 0);
        guest.Memory.TryWrite(new GuestPhysical(FlatGuest.DataAt), start);
        for (int i = 0; i < 16; i++)
        {
            guest.State.Gpr[i] = i == 4 ? guest.State.Gpr[i] : 0x0123_4567_89AB_CDEFUL * (ulong)(i + 1);
        }

        guest.State.Gpr[1] = 77;
        guest.State.Gpr[7] = Linear + (ulong)(Operand + offset);
        guest.State.Cr4 |= 1 << 18;
        guest.State.Xcr0 = 7;
        guest.Run(a =>
        {
            snippet(a);
            a.hlt();
        });
        byte[] memory = new byte[Bytes];
        guest.Memory.TryRead(new GuestPhysical(FlatGuest.DataAt), memory);
        List<string> text = [$"vector {guest.Vector}", $"flags {guest.State.Rflags:x}"];
        for (int i = 0; i < 16; i++)
        {
            text.Add($"{i}: {guest.State.Gpr[i]:x}");
        }

        return (string.Join('\n', text), page == DeviceAt ? device.Bytes : memory);
    }

    private sealed class Plain : IMmioDevice
    {
        internal byte[] Bytes { get; } = new byte[DeviceOperandTests.Bytes];

        public ulong ReadMmio(ulong offset, int size)
        {
            Span<byte> wide = stackalloc byte[8];
            Bytes.AsSpan((int)offset, size).CopyTo(wide);
            return BinaryPrimitives.ReadUInt64LittleEndian(wide);
        }

        public void WriteMmio(ulong offset, int size, ulong value) =>
            MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in value))[..size].CopyTo(Bytes.AsSpan((int)offset));
    }

    // Counts, so that each element differs.
    private sealed class Ports : IPortDevice
    {
        private uint _count;

        public uint ReadPort(ushort offset, int size) => _count++;

        public void WritePort(ushort offset, int size, uint value) => _count ^= value;
    }
}
