using System;
using System.IO;
using Hull.Bus;
using Hull.Cpu;
using Hull.Cpu.Mmu;
using Hull.Cpu.Translate;
using Hull.Engine;
using Hull.Memory;
using Hull.Timeline;
using Iced.Intel;

namespace Hull.Tests.Cpu.Translate;

/// <summary>
/// A machine of RAM and one vCPU in 64-bit mode at CPL 0: 64 MiB mapped one to one by 2 MiB pages, code from 1 MiB,
/// stack below 2 MiB, an IDT whose every vector halts. Runs until HLT.
/// </summary>
internal sealed class FlatGuest : IDisposable
{
    internal const ulong CodeAt = 0x10_0000;
    internal const ulong StackAt = 0x20_0000;
    internal const ulong DataAt = 0x30_0000;
    private const ulong HandlersAt = 0x8000;
    private const ulong IdtAt = 0x6000;
    private const ulong OwnHandlersAt = 0x1_0000;
    private const ulong TssAt = 0x7000;
    private const ulong InnerStackAt = 0x4_0000;

    internal FlatGuest(bool avx = false, nuint codeBytes = 128 << 20)
        : this(avx ? CpuModel.HostSafe : CpuModel.Parse("-avx"), codeBytes)
    {
    }

    internal FlatGuest(
        CpuModel model,
        nuint codeBytes = 128 << 20,
        int blockLimit = Translator.MaximumInstructions,
        WindowUse? windows = null)
    {
        Memory = new GuestMemory(64 << 20);
        Bus = new IoBus();
        MachineClock clock = new();
        CpuidPolicy cpuid = CpuidPolicy.For(model, clock.TscHz, 1_000_000_000, 1);
        Engine = windows is { } use
            ? new SoftEngine(Memory, Bus, clock, null, cpuid, codeBytes) { BlockLimit = blockLimit, Windows = use }
            : new SoftEngine(Memory, Bus, clock, null, cpuid, codeBytes) { BlockLimit = blockLimit };
        Vcpu = (SoftVcpu)Engine.CreateVcpu(0, new SilentApic());
        WriteTables(Memory);
        State = NewState();
    }

    internal GuestMemory Memory { get; }

    internal IoBus Bus { get; }

    internal SoftEngine Engine { get; }

    internal SoftVcpu Vcpu { get; }

    /// <summary>The state to start from; after <see cref="Run(byte[])"/> the state at the end.</summary>
    internal ArchState State { get; private set; }

    /// <summary>The vector whose handler halted, or -1 when the code's own HLT did.</summary>
    internal int Vector => State.Rip > HandlersAt && State.Rip <= HandlersAt + 0x1000
        ? (int)((State.Rip - HandlersAt - 1) / 16)
        : -1;

    /// <summary>A quadword of the stack at the end: the exception frame.</summary>
    internal ulong Stack(int index) => Memory.Read<ulong>(new GuestPhysical(State.Gpr[4] + (8 * (ulong)index)));

    /// <summary>Gives a vector a handler of its own, at level 0, with interrupts off.</summary>
    internal FlatGuest Handle(byte vector, Action<Assembler> write, byte access = 0x8E)
    {
        ulong handler = OwnHandlersAt + (256u * vector);
        Memory.TryWrite(new GuestPhysical(handler), Assemble(write, handler));
        WriteGate(Memory, vector, handler, access: access);
        return this;
    }

    /// <summary>Changes the gate of a vector whose handler halts.</summary>
    internal FlatGuest Gate(byte vector, ushort selector = 0x10, byte access = 0x8E, int ist = 0)
    {
        WriteGate(Memory, vector, HandlersAt + (16u * vector), selector, access, ist);
        return this;
    }

    /// <summary>A TSS: a stack for level 0, and another one as IST1.</summary>
    internal FlatGuest WithTss()
    {
        Memory.Write(new GuestPhysical(TssAt + 4), InnerStackAt);
        Memory.Write(new GuestPhysical(TssAt + 0x24), InnerStackAt + 0x1000);
        State.Tr = new SegmentRegister { Selector = 0x40, Base = TssAt, Limit = 0x67, Attributes = 0x8B };
        return this;
    }

    /// <summary>Starts at level 3 instead: all pages are the user's, and the TSS has a stack for level 0.</summary>
    internal FlatGuest AsUser()
    {
        MakeUser(Memory, State);
        return WithTss();
    }

    /// <summary>Puts a state at level 3, in tables that give level 3 all the memory.</summary>
    internal static void MakeUser(GuestMemory memory, ArchState state)
    {
        memory.Write<ulong>(new GuestPhysical(0x1000), 0x2007);
        memory.Write<ulong>(new GuestPhysical(0x2000), 0x3007);
        for (uint i = 0; i < 32; i++)
        {
            memory.Write(new GuestPhysical(0x3000 + (8 * i)), ((ulong)i << 21) | 0x87);
        }

        for (int i = 0; i < 6; i++)
        {
            state.Segments[i] = state.Segments[i] with
            {
                Selector = (ushort)(i == 1 ? 0x23 : 0x2B),
                Attributes = state.Segments[i].Attributes | 0x60,
            };
        }

        memory.Write<ulong>(new GuestPhysical(0x5020), 0x00AF_FB00_0000_FFFF);
        memory.Write<ulong>(new GuestPhysical(0x5028), 0x00CF_F300_0000_FFFF);
    }

    /// <summary>Assembles code (which ends in HLT) and runs it.</summary>
    internal FlatGuest Run(Action<Assembler> write) => Run(Assemble(write, CodeAt));

    /// <summary>Assembles code and runs it with events from outside, until a kick.</summary>
    internal FlatGuest RunUntilKicked(Action<Assembler> write)
    {
        Memory.TryWrite(new GuestPhysical(CodeAt), Assemble(write, CodeAt));
        Vcpu.SetState(State);
        return Continue();
    }

    /// <summary>Goes on until the next kick.</summary>
    internal FlatGuest Continue()
    {
        VcpuExit exit = Vcpu.Run();
        State = Vcpu.GetState();
        return exit == VcpuExit.Kicked ? this : throw new InvalidOperationException($"{exit}: {Vcpu.FailureMessage}");
    }

    /// <summary>Runs bytes at <see cref="CodeAt"/> until HLT.</summary>
    internal FlatGuest Run(byte[] code)
    {
        Memory.TryWrite(new GuestPhysical(CodeAt), code);
        Vcpu.SetState(State);
        for (int i = 0; i < 1_000_000; i++)
        {
            if (!Vcpu.StepLinked())
            {
                throw new InvalidOperationException($"the vCPU shut down: {Vcpu.FailureMessage}");
            }

            if (Vcpu.GetState().Halted)
            {
                State = Vcpu.GetState();
                return this;
            }
        }

        throw new InvalidOperationException("no HLT in a million blocks");
    }

    public void Dispose()
    {
        Engine.Dispose();
        Memory.Dispose();
    }

    /// <summary>Page tables, an IDT and a GDT.</summary>
    internal static void WriteTables(GuestMemory memory)
    {
        memory.Write<ulong>(new GuestPhysical(0x1000), 0x2003);
        memory.Write<ulong>(new GuestPhysical(0x2000), 0x3003);
        for (uint i = 0; i < 32; i++)
        {
            memory.Write(new GuestPhysical(0x3000 + (8 * i)), ((ulong)i << 21) | 0x83);
        }

        for (uint vector = 0; vector < 256; vector++)
        {
            ulong handler = HandlersAt + (16 * vector);
            memory.TryWrite(new GuestPhysical(handler), [0xF4]);
            WriteGate(memory, vector, handler);
        }

        memory.Write<ulong>(new GuestPhysical(0x5010), 0x00AF_9B00_0000_FFFF);
        memory.Write<ulong>(new GuestPhysical(0x5018), 0x00CF_9300_0000_FFFF);
    }

    internal static ArchState NewState()
    {
        ArchState state = new()
        {
            Rip = CodeAt,
            Rflags = 2,
            Cr0 = 0x8005_0033,
            Cr3 = 0x1000,
            Cr4 = 0x6A0,
            Efer = 0xD01,
            Gdtr = new DescriptorTableRegister(0x5000, 0xFF),
            Idtr = new DescriptorTableRegister(IdtAt, 0xFFF),
        };
        for (int i = 0; i < 6; i++)
        {
            state.Segments[i] = i == 1
                ? new SegmentRegister { Selector = 0x10, Attributes = 0xA09B, Limit = uint.MaxValue }
                : new SegmentRegister { Selector = 0x18, Attributes = 0xC093, Limit = uint.MaxValue };
        }

        state.Gpr[4] = StackAt;
        state.Fxsave[0] = 0x7F;
        state.Fxsave[1] = 0x03;
        state.Fxsave[24] = 0x80;
        state.Fxsave[25] = 0x1F;
        return state;
    }

    private static void WriteGate(
        GuestMemory memory, uint vector, ulong handler, ushort selector = 0x10, byte access = 0x8E, int ist = 0)
    {
        GuestPhysical gate = new(IdtAt + (16 * vector));
        ulong type = ((ulong)access << 8) | (uint)ist;
        memory.Write(gate, (handler & 0xFFFF) | ((ulong)selector << 16) | (type << 32) | ((handler >> 16) << 48));
        memory.Write(gate + 8, handler >> 32);
    }

    private static byte[] Assemble(Action<Assembler> write, ulong at)
    {
        Assembler assembler = new(64);
        write(assembler);
        using MemoryStream stream = new();
        assembler.Assemble(new StreamCodeWriter(stream), at);
        return stream.ToArray();
    }
}
