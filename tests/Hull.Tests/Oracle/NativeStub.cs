using System;
using System.IO;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Oracle;

/// <summary>
/// The machine code around a native test: loads a state, jumps to the test, stores the state; and the signal handler
/// that turns a fault of the test into a return. No managed code runs between entry and exit.
/// </summary>
internal sealed class NativeStub
{
    /// <summary>Bytes of the code at a pad: it writes its own address to the final RIP and leaves.</summary>
    internal const int PadLength = FarJumpLength + LongPadLength;

    private const int FarJumpLength = 7;
    private const int LongPadLength = 17;

    internal const ulong Input = OracleLayout.StatePage;
    internal const ulong Output = OracleLayout.StatePage + 0x400;

    /// <summary>The general registers of the signal's ucontext, in its order: <see cref="ContextWords"/> words.</summary>
    internal const ulong Context = OracleLayout.StatePage + 0x800;

    internal const int ContextWords = 23;

    /// <summary>1 when the test ended with a signal.</summary>
    internal const ulong Faulted = OracleLayout.StatePage + 0x8E0;

    /// <summary>The signal's number.</summary>
    internal const ulong Signal = OracleLayout.StatePage + 0x8E8;

    /// <summary>Where the test starts; a far pointer, of which 64-bit tests use the offset.</summary>
    internal const ulong Target = OracleLayout.StatePage + 0x900;

    /// <summary>Where the handler goes on after a fault.</summary>
    internal const ulong Recovery = OracleLayout.StatePage + 0x910;

    /// <summary>The handlers that were there before, by signal number.</summary>
    internal const ulong OldHandlers = OracleLayout.StatePage + 0x940;

    /// <summary>A sigaction that says "default".</summary>
    internal const ulong DefaultAction = OracleLayout.StatePage + 0xA80;

    private const ulong HostStack = OracleLayout.StatePage + 0x918;
    private const ulong HostMxcsr = OracleLayout.StatePage + 0x920;
    private const ulong Running = OracleLayout.StatePage + 0x928;
    private const ulong HostFsBase = OracleLayout.StatePage + 0x930;
    private const ulong HostGsBase = OracleLayout.StatePage + 0x938;

    private static readonly AssemblerRegister64[] Registers =
        [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];

    private readonly bool _xsave;

    /// <summary>Assembles for <see cref="OracleLayout.StubPage"/>.</summary>
    /// <param name="xsave">Load and store the YMM registers too.</param>
    internal NativeStub(bool xsave)
    {
        _xsave = xsave;
        using MemoryStream code = new();
        for (int variant = 0; variant < Paths.Length; variant++)
        {
            Paths[variant] = new StubPaths(
                Emit(code, a => EmitEntry(a, (StubVariant)variant)),
                Emit(code, a => EmitExit(a, (StubVariant)variant)),
                Emit(code, a => EmitStore(a, (StubVariant)variant)));
        }

        Handler = Emit(code, EmitHandler);
        Restorer = Emit(code, static a =>
        {
            a.mov(eax, 15);
            a.syscall();
        });
        Bytes = code.ToArray();
    }

    /// <summary>The machine code.</summary>
    internal byte[] Bytes { get; }

    /// <summary>Entries and exits by variant.</summary>
    internal StubPaths[] Paths { get; } = new StubPaths[4];

    /// <summary>The signal handler.</summary>
    internal ulong Handler { get; }

    /// <summary>What the handler returns to: rt_sigreturn.</summary>
    internal ulong Restorer { get; }

    /// <summary>Writes a pad for <paramref name="address"/>.</summary>
    internal void WritePad(Span<byte> destination, ulong address, bool mode32)
    {
        if (mode32)
        {
            // jmp 0x33:next; next, in 64-bit mode, where DS has no limit:
            destination[0] = 0xEA;
            BitConverter.TryWriteBytes(destination[1..], (uint)address + FarJumpLength);
            BitConverter.TryWriteBytes(destination[5..], OracleLayout.UserCode64);
            WriteLongPad(destination[FarJumpLength..], address, address + FarJumpLength);
            return;
        }

        WriteLongPad(destination, address, address);
    }

    // mov qword [output], address; jmp exit
    private void WriteLongPad(Span<byte> destination, ulong address, ulong at)
    {
        uint output = (uint)(Output + CpuTestState.RipOffset);
        destination[0] = 0x48;
        destination[1] = 0xC7;
        destination[2] = 0x04;
        destination[3] = 0x25;
        BitConverter.TryWriteBytes(destination[4..], output);
        BitConverter.TryWriteBytes(destination[8..], (uint)address);
        destination[12] = 0xE9;
        ulong exit = Paths[(int)ExitVariant].Exit;
        BitConverter.TryWriteBytes(destination[13..], (int)(exit - (at + LongPadLength)));
    }

    /// <summary>Which exit the pads take.</summary>
    internal StubVariant ExitVariant { get; set; }

    private static ulong Emit(MemoryStream code, Action<Assembler> emit)
    {
        Assembler assembler = new(64);
        emit(assembler);
        while (code.Length % 16 != 0)
        {
            code.WriteByte(0xCC);
        }

        ulong at = OracleLayout.StubPage + (ulong)code.Length;
        assembler.Assemble(new StreamCodeWriter(code), at);
        return at;
    }

    private static AssemblerMemoryOperand Quad(ulong address) => __qword_ptr[address];

    private static AssemblerMemoryOperand Double(ulong address) => __dword_ptr[address];

    private void EmitEntry(Assembler a, StubVariant variant)
    {
        a.push(rbx);
        a.push(rbp);
        a.push(r12);
        a.push(r13);
        a.push(r14);
        a.push(r15);
        a.pushfq();
        a.mov(Quad(HostStack), rsp);
        a.stmxcsr(Double(HostMxcsr));
        if (SavesBases(variant))
        {
            a.rdfsbase(rax);
            a.mov(Quad(HostFsBase), rax);
            a.rdgsbase(rax);
            a.mov(Quad(HostGsBase), rax);
        }

        a.mov(Double(Running), 1);
        if (variant == StubVariant.SegmentBases)
        {
            a.mov(rax, Quad(Input + CpuTestState.FsBaseOffset));
            a.wrfsbase(rax);
            a.mov(rax, Quad(Input + CpuTestState.GsBaseOffset));
            a.wrgsbase(rax);
        }

        if (_xsave)
        {
            a.mov(eax, 7);
            a.xor(edx, edx);
            a.xrstor64(__[Input + CpuTestState.XsaveOffset]);
        }
        else
        {
            a.fxrstor64(__[Input + CpuTestState.XsaveOffset]);
        }

        if (Is32(variant))
        {
            AssemblerRegisterSegment[] segments = [es, cs, ss, ds];
            foreach (int number in (ReadOnlySpan<int>)[0, 2, 3])
            {
                a.mov(eax, Double(Input + CpuTestState.SelectorsOffset + (ulong)(number * 2)));
                a.mov(segments[number], eax);
            }
        }

        a.push(Quad(Input + CpuTestState.RflagsOffset));
        a.popfq();
        for (int i = 0; i < 16; i++)
        {
            if (i != 4)
            {
                a.mov(Registers[i], Quad(Input + (ulong)(i * 8)));
            }
        }

        a.mov(rsp, Quad(Input + 32));
        if (Is32(variant))
        {
            a.jmp(__fword_ptr[Target]);
        }
        else
        {
            a.jmp(Quad(Target));
        }
    }

    // The test ran to its end: the general registers and flags are still the test's.
    private void EmitExit(Assembler a, StubVariant variant)
    {
        for (int i = 0; i < 16; i++)
        {
            a.mov(Quad(Output + (ulong)(i * 8)), Registers[i]);
        }

        a.mov(rsp, Quad(HostStack));
        a.pushfq();
        a.pop(Quad(Output + CpuTestState.RflagsOffset));
        EmitStore(a, variant);
    }

    // After an exit, and where the handler goes on after a fault: everything but general registers and flags.
    private void EmitStore(Assembler a, StubVariant variant)
    {
        if (variant == StubVariant.Compat32)
        {
            a.xor(eax, eax);
            a.mov(ds, eax);
            a.mov(es, eax);
        }

        if (_xsave)
        {
            a.mov(eax, 7);
            a.xor(edx, edx);
            a.xsave64(__[Output + CpuTestState.XsaveOffset]);
            a.vzeroupper();
        }
        else
        {
            a.fxsave64(__[Output + CpuTestState.XsaveOffset]);
        }

        a.fninit();
        a.ldmxcsr(Double(HostMxcsr));
        if (SavesBases(variant))
        {
            a.rdfsbase(rax);
            a.mov(Quad(Output + CpuTestState.FsBaseOffset), rax);
            a.rdgsbase(rax);
            a.mov(Quad(Output + CpuTestState.GsBaseOffset), rax);
        }

        if (SavesBases(variant))
        {
            StoreSelectors(a);
            a.mov(rax, Quad(HostFsBase));
            a.wrfsbase(rax);
            a.mov(rax, Quad(HostGsBase));
            a.wrgsbase(rax);
        }

        if (Is32(variant) || SavesBases(variant))
        {
            a.mov(eax, OracleLayout.UserData);
            a.mov(ss, eax);
        }

        a.mov(Double(Running), 0);
        a.popfq();
        a.pop(r15);
        a.pop(r14);
        a.pop(r13);
        a.pop(r12);
        a.pop(rbp);
        a.pop(rbx);
        a.ret();
    }

    private static bool Is32(StubVariant variant) => variant is StubVariant.Compat32 or StubVariant.Compat32Segments;

    private static bool SavesBases(StubVariant variant) =>
        variant is StubVariant.SegmentBases or StubVariant.Compat32Segments;

    // What the test loaded into the segment registers; then the host's own: null, and SS as it was.
    private static void StoreSelectors(Assembler a)
    {
        AssemblerRegisterSegment[] segments = [es, cs, ss, ds, fs, gs];
        for (int i = 0; i < segments.Length; i++)
        {
            a.mov(__word_ptr[Output + CpuTestState.SelectorsOffset + (ulong)(i * 2)], segments[i]);
        }

        a.xor(eax, eax);
        a.mov(ds, eax);
        a.mov(es, eax);
        a.mov(fs, eax);
        a.mov(gs, eax);
    }

    // void handler(int rdi = signal, siginfo* rsi, ucontext* rdx), on the alternate stack.
    private static void EmitHandler(Assembler a)
    {
        const int GeneralRegisters = 40;
        const int Rsp = GeneralRegisters + (15 * 8);
        const int Rip = GeneralRegisters + (16 * 8);
        const int Eflags = GeneralRegisters + (17 * 8);
        const int Selectors = GeneralRegisters + (18 * 8);
        const int TrapAlignDirection = 0x40500;
        Label chain = a.CreateLabel();
        Label byDefault = a.CreateLabel();

        // Is this ours? Only the oracle's thread has this signal stack, and only a running test sets the word.
        a.mov(rax, rsp);
        a.sub(rax, (int)OracleLayout.SignalStack);
        a.cmp(rax, (int)OracleLayout.SignalStackSize);
        a.jae(chain);
        a.cmp(Double(Running), 0);
        a.je(chain);
        a.mov(Quad(Signal), rdi);
        a.mov(Double(Faulted), 1);
        a.lea(rsi, __[rdx + GeneralRegisters]);
        a.mov(edi, (uint)Context);
        a.mov(ecx, ContextWords);
        a.rep.movsq();
        a.mov(rax, Quad(Recovery));
        a.mov(__qword_ptr[rdx + Rip], rax);
        a.mov(rax, Quad(HostStack));
        a.mov(__qword_ptr[rdx + Rsp], rax);
        a.and(__qword_ptr[rdx + Eflags], ~TrapAlignDirection);
        a.mov(__word_ptr[rdx + Selectors], (short)OracleLayout.UserCode64);
        a.ret();

        a.Label(ref chain);
        a.mov(eax, edi);
        a.mov(rax, __qword_ptr[(rax * 8) + (long)OldHandlers]);
        a.cmp(rax, 1);
        a.jbe(byDefault);
        a.jmp(rax);

        // Nobody handled it before: put the default back and let it happen again.
        a.Label(ref byDefault);
        a.mov(esi, (uint)DefaultAction);
        a.xor(edx, edx);
        a.mov(r10d, 8);
        a.mov(eax, 13);
        a.syscall();
        a.ret();
    }
}

/// <summary>How the stub enters a test.</summary>
internal enum StubVariant
{
    /// <summary>64-bit code; FS and GS stay the host's.</summary>
    Plain,

    /// <summary>64-bit code with FS and GS bases of the test.</summary>
    SegmentBases,

    /// <summary>32-bit code in compatibility mode.</summary>
    Compat32,

    /// <summary>The same for a test that loads segment registers.</summary>
    Compat32Segments,
}

/// <summary>Addresses in the stub: the entry, the exit that pads jump to, and where a fault goes on.</summary>
internal readonly record struct StubPaths(ulong Entry, ulong Exit, ulong Recover);
