using System;
using Hull.Cpu.Assist;
using Hull.Cpu.Exceptions;
using Hull.Cpu.State;
using Hull.Memory;
using Iced.Intel;
using Xunit;

namespace Hull.Tests.Cpu.Assist;

/// <summary>Whatever bytes a guest executes in whatever state: no exception of ours, and a fault changes nothing but memory.</summary>
public sealed unsafe class AssistFuzzTests : IDisposable
{
    private readonly AssistGuest _guest = new();

    private CpuState* Cpu => _guest.Cpu;

    public void Dispose()
    {
        // The x87 state is the test thread's own: leave it as it was.
        new Span<byte>(X87State.Image(Cpu), 160).Clear();
        *(ushort*)X87State.Image(Cpu) = 0x37F;
        X87State.Load(_guest.Vcpu);
        _guest.Dispose();
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(1, 2)]
    [InlineData(2, 3)]
    [InlineData(3, 4)]
    [InlineData(4, 5)]
    [InlineData(5, 6)]
    [InlineData(6, 7)]
    public void RandomAssists_InEveryMode_NeverThrow(int mode, int seed)
    {
        Random random = new(seed);
        byte[] code = new byte[15];
        int executed = 0;
        for (int round = 0; round < 30_000; round++)
        {
            Enter(mode, random);
            NewCode(random, code);
            Instruction instruction = _guest.Decode(code);
            if (!AssistTable.Handles(instruction.Code))
            {
                continue;
            }

            executed++;
            ulong rip = Cpu->Rip;
            ulong rsp = Cpu->Gpr[Gpr.Rsp];
            ulong task = Cpu->Tr.Selector;
            AssistResult result = SystemAssists.Execute(_guest.Vcpu, instruction);
            if (result == AssistResult.Fault)
            {
                Assert.True(Cpu->Tr.Selector != task || (Cpu->Rip == rip && Cpu->Gpr[Gpr.Rsp] == rsp), $"{instruction} seed {seed}");
                ExceptionDelivery.Deliver(_guest.Vcpu, _guest.Vcpu.Pending, EventKind.Exception);
            }
            else if (result == AssistResult.Next)
            {
                Assert.Equal(rip, Cpu->Rip);
            }
        }

        Assert.True(executed > 2500);
    }

    private static void NewCode(Random random, byte[] code)
    {
        random.NextBytes(code);
        int at = 0;
        if (random.Next(3) == 0)
        {
            byte[] prefixes = [0x66, 0x67, 0xF2, 0xF3, 0x64, 0x48, 0x36];
            code[at++] = prefixes[random.Next(prefixes.Length)];
        }

        switch (random.Next(4))
        {
            case 0:
                byte[] ones =
                [
                    0x06, 0x07, 0x0E, 0x16, 0x17, 0x1E, 0x1F, 0x27, 0x2F, 0x37, 0x3F, 0x60, 0x61, 0x62, 0x63, 0x6C, 0x6D, 0x6E,
                    0x6F, 0x8C, 0x8E, 0x9A, 0x9C, 0x9D, 0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF, 0xC4, 0xC5,
                    0xC8, 0xCA, 0xCB, 0xCC, 0xCD, 0xCE, 0xCF, 0xD4, 0xD5, 0xD6, 0xD7, 0xD9, 0xDD, 0xE4, 0xE5, 0xE6, 0xE7, 0xEA,
                    0xEC, 0xED, 0xEE, 0xEF, 0xF1, 0xF4, 0xFA, 0xFB, 0xFF,
                ];
                code[at] = ones[random.Next(ones.Length)];
                break;
            case 1:
                code[at] = 0x0F;
                break;
            case 2:
                byte[] groups = [0x00, 0x01, 0xAE, 0xC7, 0x20, 0x21, 0x22, 0x23, 0x02, 0x03, 0xA0, 0xA1, 0xB2, 0xB4];
                code[at] = 0x0F;
                code[at + 1] = groups[random.Next(groups.Length)];
                break;
            default:
                break;
        }
    }

    private void Enter(int mode, Random random)
    {
        Span<byte> junk = stackalloc byte[0x80];
        random.NextBytes(junk);
        _guest.Memory.TryWrite(new GuestPhysical(AssistGuest.GdtAt + AssistGuest.Free), junk);
        _guest.Memory.TryWrite(new GuestPhysical(AssistGuest.TssAt), junk[..0x60]);
        random.NextBytes(junk);
        _guest.Memory.TryWrite(new GuestPhysical(AssistGuest.DataAt), junk);
        _guest.Memory.TryWrite(new GuestPhysical(AssistGuest.StackAt), junk);
        _guest.Memory.TryWrite(new GuestPhysical(AssistGuest.IdtAt + (ulong)random.Next(0xF80)), junk);
        _ = mode switch
        {
            0 => _guest.Long(),
            1 => _guest.Long(3),
            2 => _guest.Compatibility(),
            3 => _guest.Protected(),
            4 => _guest.Protected(3),
            5 => _guest.Real(),
            _ => _guest.Virtual8086(random.Next(4)),
        };
        Cpu->Cr4 |= (ulong)random.Next() & (Cr4.Osxsave | Cr4.Fsgsbase | Cr4.Smap | Cr4.Vme | Cr4.Umip | Cr4.De | Cr4.Smep);
        Cpu->Xcr0 = 7 & _guest.Cpuid.SupportedXcr0;
        Cpu->SystemFlags |= (ulong)random.Next() & (Rflags.Nt | Rflags.Ac | Rflags.Vif | Rflags.Vip);
        Cpu->DirectionFlag = (byte)random.Next(2);
        for (int register = 0; register < 16; register++)
        {
            if (register != Gpr.Rsp)
            {
                Cpu->Gpr[register] = random.Next(4) switch
                {
                    0 => (ulong)random.Next(0x100),
                    1 => AssistGuest.DataAt + (ulong)random.Next(64),
                    2 => (ulong)random.NextInt64(),
                    _ => (ulong)random.Next(0x120_0000),
                };
            }
        }

        Cpu->Gpr[Gpr.Rcx] &= 0xFFFF_FFFF;
        if (random.Next(8) == 0)
        {
            Cpu->Gpr[Gpr.Rcx] = (uint)random.Next() % 4 + 0xC000_0080;
        }

        Cpu->AttentionBits = 1; // long repeats come back
        _guest.Vcpu.Mmu.FlushAll();
    }
}
