using System;
using Hull.Bus;
using Hull.Engine;
using Hull.Memory;
using Hull.Tests.Cpu.Translate;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Kvm;

/// <summary>A guest that goes from engine to engine: state and RAM of one are those of the other.</summary>
public sealed class KvmMoveTests
{
    private const int Rounds = 12;
    private const uint LStar = 0xC000_0082;

    [KvmFact]
    public void GuestThatMovesAfterEachRound_ComputesWhatItDoesOnOneEngine()
    {
        using KvmGuest kvm = new();
        using FlatGuest soft = new();
        soft.Bus.MapPorts(KvmGuest.EndPort, 1, new EndDevice(soft.Vcpu));
        ArchState start = kvm.Long(WriteRounds);
        start.Segments[4] = start.Segments[4] with { Base = KvmGuest.DataAt + 0x1000 };
        start.Msrs[LStar] = 0xFFFF_8000_1234_5678;
        new Random(1).NextBytes(start.Fxsave.AsSpan(160, 256));

        ArchState alone = start;
        Copy(kvm.Memory, soft.Memory);
        for (int round = 0; round < Rounds; round++)
        {
            alone = Run(soft.Vcpu, alone);
        }

        byte[] expected = Data(soft.Memory);
        ArchState moved = start;
        for (int round = 0; round < Rounds; round++)
        {
            if (round % 2 == 0)
            {
                moved = Run(kvm.Vcpus[0], moved);
                Copy(kvm.Memory, soft.Memory);
            }
            else
            {
                moved = Run(soft.Vcpu, moved);
                Copy(soft.Memory, kvm.Memory);
            }
        }

        Assert.Equal((ulong)Rounds, moved.Gpr[1]);
        Assert.Equal(alone.Gpr, moved.Gpr);
        Assert.Equal(alone.Rip, moved.Rip);
        Assert.Equal(alone.Rflags, moved.Rflags);
        Assert.Equal(alone.Segments[4].Base, moved.Segments[4].Base);
        Assert.Equal(alone.Fxsave.AsSpan(160, 256), moved.Fxsave.AsSpan(160, 256));
        Assert.Equal(0xFFFF_8000_1234_5678, moved.Msrs[LStar]);
        Assert.Equal(expected, Data(kvm.Memory));
        Assert.Equal(expected, Data(soft.Memory));
    }

    // Each round mixes, pushes, writes through FS, shifts an XMM register through memory, and ends the run.
    private static void WriteRounds(Assembler c)
    {
        Label again = c.CreateLabel();
        c.mov(rax, 0x9E37_79B9_7F4A_7C15UL);
        c.xor(ecx, ecx);
        c.Label(ref again);
        c.rol(rax, 7);
        c.add(rax, rcx);
        c.adc(rbx, rax);
        c.push(rax);
        c.mov(__qword_ptr.fs[rcx * 8], rbx);
        c.movaps(__xmmword_ptr[KvmGuest.DataAt], xmm5);
        c.xor(__qword_ptr[KvmGuest.DataAt], rax);
        c.movaps(xmm5, __xmmword_ptr[KvmGuest.DataAt]);
        c.inc(rcx);
        KvmGuest.End(c);
        c.jmp(again);
    }

    private static ArchState Run(IVcpu vcpu, ArchState state)
    {
        vcpu.SetState(state);
        VcpuExit exit = vcpu.Run();
        return exit == VcpuExit.Kicked ? vcpu.GetState() : throw new InvalidOperationException($"{exit}: {vcpu.FailureMessage}");
    }

    private static void Copy(GuestMemory from, GuestMemory to)
    {
        byte[] block = new byte[1 << 20];
        for (ulong at = 0; at < from.Size; at += (ulong)block.Length)
        {
            from.TryRead(new GuestPhysical(at), block);
            to.TryWrite(new GuestPhysical(at), block);
        }
    }

    private static byte[] Data(GuestMemory memory)
    {
        byte[] data = new byte[0x2000];
        memory.TryRead(new GuestPhysical(KvmGuest.DataAt), data);
        return data;
    }

    private sealed class EndDevice(IVcpu vcpu) : IPortDevice
    {
        public uint ReadPort(ushort offset, int size) => 0;

        public void WritePort(ushort offset, int size, uint value) => vcpu.Kick();
    }
}
