using System;
using System.Collections.Generic;
using System.IO;
using Hull.Bus;
using Hull.Cpu;
using Hull.Engine;
using Hull.Memory;
using Hull.Tests.Cpu;
using Hull.Tests.Oracle;
using Hull.Timeline;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Steps;

/// <summary>
/// A machine in virtual time that runs a <see cref="RandomProgram"/> at CPL 3. Exceptions go to the next chunk, a timer
/// interrupts at odd counts, a "device" writes into the code through <see cref="GuestMemory"/>, and the code has two
/// linear addresses. All of it depends on the seed and the instruction count only.
/// </summary>
internal sealed class StepMachine : IDisposable
{
    internal const int CodeSize = 0x4000;
    private const ulong CodeAt = 0x20_0000;
    private const ulong AliasAt = 0x28_0000;
    private const ulong DataAt = 0x30_0000;
    private const ulong StackAt = 0x38_0000;
    private const ulong Base32 = 0x10_0000;
    private const ulong CodePhysical = 0x30_0000;
    private const ulong DataPhysical = 0x40_0000;
    private const ulong StackPhysical = 0x50_0000;
    private const ulong GdtAt = 0x5000;
    private const ulong IdtAt = 0x6000;
    private const ulong TssAt = 0x7000;
    private const ulong TableAt = 0x8000;
    private const ulong SaveAt = 0xA000;
    private const ulong HandlerAt = 0xB000;
    private const ulong HandlerStack = 0x1_0000;
    private const int TimerVector = 40;
    private const int Targets = 256;

    private readonly GuestMemory _memory = new(8 << 20);
    private readonly VirtualTimerQueue _timers = new(new VirtualClock());
    private readonly SoftEngine _engine;
    private readonly SoftVcpu _vcpu;
    private readonly LineApic _apic = new();
    private readonly OracleRandom _random;
    private readonly RandomProgram _program;

    internal StepMachine(RandomProgram program, ulong seed, int blockLimit)
    {
        _program = program;
        _random = new OracleRandom(seed + 1);
        CpuidPolicy cpuid = CpuidPolicy.HostSafe(_timers.Clock.TscHz, 1_000_000_000, 1);
        _engine = new SoftEngine(_memory, new IoBus(), _timers.Clock, null, cpuid)
        {
            VirtualTimers = _timers,
            BlockLimit = blockLimit,
        };
        _vcpu = (SoftVcpu)_engine.CreateVcpu(0, _apic);
        BuildPageTables();
        BuildDescriptors();
        BuildHandlers();
        _memory.TryWrite(new GuestPhysical(CodePhysical), program.Code);
        byte[] data = new byte[0x1_0000];
        for (int i = 0; i < data.Length; i++)
        {
            data[i] = (byte)_random.Next();
        }

        _memory.TryWrite(new GuestPhysical(DataPhysical), data);
        _vcpu.SetState(NewState());
        Every(() => 20 + _random.Below(700), Interrupt);
        Every(() => 200 + _random.Below(3000), WriteCode);
    }

    internal static ulong CodeOffset(ProgramMode mode) => mode switch
    {
        ProgramMode.Based32 => CodeAt - Base32,
        ProgramMode.Code16 => 0,
        _ => CodeAt,
    };

    internal static ulong DataOffset(ProgramMode mode) => mode switch
    {
        ProgramMode.Based32 => DataAt - Base32,
        ProgramMode.Code16 => 0,
        _ => DataAt,
    };

    internal static ulong StackOffset(ProgramMode mode) => mode switch
    {
        ProgramMode.Based32 => StackAt - Base32,
        ProgramMode.Code16 => 0,
        _ => StackAt,
    };

    /// <summary>Runs, looking at the state every <paramref name="period"/> instructions.</summary>
    internal List<Checkpoint> Run(long from, long period, long until)
    {
        List<Checkpoint> points = [];
        IMachineTimer? timer = null;
        long next = from;
        timer = _timers.CreateTimer(() =>
        {
            (long executed, ulong rip, ulong registers) = _engine.Observe();
            points.Add(new Checkpoint(executed, _timers.Clock.NowNs, rip, registers, _memory.Hash()));
            if (executed >= until)
            {
                _timers.Freeze();
                _vcpu.Kick();
                return;
            }

            next += period;
            timer!.Arm(next);
        });
        timer.Arm(next);
        VcpuExit exit = _vcpu.Run();
        return exit == VcpuExit.Kicked ? points : throw new InvalidOperationException($"{exit}: {_vcpu.FailureMessage}");
    }

    /// <summary>The instruction at RIP and the registers, for a report.</summary>
    internal string Describe()
    {
        ArchState state = _vcpu.GetState();
        byte[] bytes = new byte[15];
        ulong linear = state.Segments[1].Base + state.Rip;
        ulong physical = linear < CodeAt ? linear : CodePhysical + (linear & 0x7_FFFF);
        _memory.TryRead(new GuestPhysical(physical), bytes);
        bool wide = (state.Segments[1].Attributes & 0x2000) != 0;
        int bits = wide ? 64 : (state.Segments[1].Attributes & 0x4000) != 0 ? 32 : 16;
        Instruction instruction = Decoder.Create(bits, bytes, state.Rip).Decode();
        return $"rip {state.Rip:x} flags {state.Rflags:x} cr2 {state.Cr2:x} gpr {string.Join(' ', Array.ConvertAll(state.Gpr, static r => r.ToString("x")))}\n"
            + $"  next: {instruction}  ({Convert.ToHexString(bytes)})\n"
            + $"  fxsave {Convert.ToHexString(state.Fxsave.AsSpan(0, 160))}\n"
            + $"  xmm {Convert.ToHexString(state.Fxsave.AsSpan(160, 256))}\n"
            + $"  ymm {Convert.ToHexString(state.YmmHigh)}";
    }

    public void Dispose()
    {
        _engine.Dispose();
        _memory.Dispose();
    }

    private void Every(Func<long> period, Action action)
    {
        IMachineTimer? timer = null;
        timer = _timers.CreateTimer(() =>
        {
            action();
            timer!.Arm(_timers.Clock.NowNs + period());
        });
        timer.Arm(period());
    }

    private void Interrupt()
    {
        _apic.HasInterrupt = true;
        _vcpu.InterruptChanged();
    }

    // What DMA does: bytes of the code change under the running program.
    private void WriteCode()
    {
        byte[] bytes = new byte[_random.Between(1, 12)];
        for (int i = 0; i < bytes.Length; i++)
        {
            bytes[i] = (byte)_random.Next();
        }

        _memory.TryWrite(new GuestPhysical(CodePhysical + (ulong)_random.Below(CodeSize - 16)), bytes);
    }

    private void BuildPageTables()
    {
        const ulong User = 7;
        _memory.Write(new GuestPhysical(0x1000), 0x2000 | User);
        _memory.Write(new GuestPhysical(0x2000), 0x3000 | User);
        _memory.Write<ulong>(new GuestPhysical(0x3000), 0x83);
        _memory.Write(new GuestPhysical(0x3008), 0x4000 | User);
        Map(CodeAt, CodePhysical, CodeSize);
        Map(AliasAt, CodePhysical, CodeSize);
        Map(DataAt, DataPhysical, 0x1_0000);
        Map(StackAt, StackPhysical, 0x1000);

        void Map(ulong linear, ulong physical, ulong size)
        {
            for (ulong at = 0; at < size; at += 0x1000)
            {
                ulong entry = 0x4000 + ((linear - CodeAt + at) >> 12 << 3);
                _memory.Write(new GuestPhysical(entry), (physical + at) | User);
            }
        }
    }

    private void BuildDescriptors()
    {
        (ulong code, ulong data, ulong extra, ulong stack) = _program.Mode switch
        {
            ProgramMode.Based32 => (Base32, Base32, Base32, Base32),
            ProgramMode.Code16 => (CodeAt, DataAt, CodeAt, StackAt),
            _ => (0UL, 0UL, 0UL, 0UL),
        };
        ulong codeFlags = _program.Mode switch
        {
            ProgramMode.Long => 0x00AF_FB00_0000_FFFF,
            ProgramMode.Code16 => 0x000F_FB00_0000_FFFF,
            _ => 0x00CF_FB00_0000_FFFF,
        };
        ulong dataFlags = _program.Mode == ProgramMode.Code16 ? 0x000F_F300_0000_FFFFUL : 0x00CF_F300_0000_FFFFUL;
        Write(0x10, 0x00AF_9B00_0000_FFFF, 0);
        Write(0x18, 0x00CF_9300_0000_FFFF, 0);
        Write(0x20, codeFlags, code);
        Write(0x28, dataFlags, data);
        Write(0x30, dataFlags, extra);
        Write(0x38, dataFlags, stack);
        Write(0x40, 0x0000_8900_0000_0067, TssAt);
        _memory.Write(new GuestPhysical(TssAt + 0x24), HandlerStack);   // IST1
        for (uint vector = 0; vector < 256; vector++)
        {
            ulong handler = HandlerAt + (vector == TimerVector ? 0x800UL : 0);
            GuestPhysical gate = new(IdtAt + (16 * vector));
            _memory.Write(gate, (handler & 0xFFFF) | (0x10UL << 16) | (1UL << 32) | (0x8EUL << 40) | ((handler >> 16) << 48));
            _memory.Write(gate + 8, handler >> 32);
        }

        void Write(ulong selector, ulong flags, ulong at) => _memory.Write(
            new GuestPhysical(GdtAt + selector), flags | ((at & 0xFF_FFFF) << 16) | (at >> 24 << 56));
    }

    private void BuildHandlers()
    {
        Assemble(HandlerAt, a =>
        {
            a.mov(__[SaveAt], rax);
            a.inc(__qword_ptr[SaveAt + 8]);
            Dispatch(a);
        });
        Assemble(HandlerAt + 0x800, a =>
        {
            Label back = a.CreateLabel();
            a.mov(__[SaveAt], rax);
            a.inc(__qword_ptr[SaveAt + 8]);
            a.test(__byte_ptr[SaveAt + 8], 15);
            a.jne(back);
            Dispatch(a);
            a.Label(ref back);
            a.mov(rax, __[SaveAt]);
            a.iretq();
        });
        for (int i = 0; i < Targets; i++)
        {
            ulong target = CodeOffset(_program.Mode) + (ulong)_program.Chunks[_random.Below(_program.Chunks.Count)];
            bool alias = _random.OneIn(4) && _program.Mode != ProgramMode.Code16;
            _memory.Write(new GuestPhysical(TableAt + (4 * (ulong)i)), (uint)(target + (alias ? AliasAt - CodeAt : 0)));
        }
    }

    // On to the next chunk, with fresh flags and stack.
    private void Dispatch(Assembler a)
    {
        a.mov(eax, __dword_ptr[SaveAt + 8]);
        a.imul(eax, eax, unchecked((int)0x9E37_79B1));
        a.shr(eax, 24);
        a.mov(eax, __dword_ptr[(rax * 4) + (long)TableAt]);
        a.push(0x38 | 3);
        a.push((int)(StackOffset(_program.Mode) + 0xE00));
        a.push(0x202);
        a.push(0x20 | 3);
        a.push(rax);
        a.mov(rax, __[SaveAt]);
        a.iretq();
    }

    private void Assemble(ulong at, Action<Assembler> write)
    {
        Assembler assembler = new(64);
        write(assembler);
        using MemoryStream stream = new();
        assembler.Assemble(new StreamCodeWriter(stream), at);
        _memory.TryWrite(new GuestPhysical(at), stream.ToArray());
    }

    private ArchState NewState()
    {
        ArchState state = new()
        {
            Rip = CodeOffset(_program.Mode),
            Rflags = 0x202,
            Cr0 = 0x8005_0033,
            Cr3 = 0x1000,
            Cr4 = 0x4_06A0,
            Efer = 0xD00,
            Xcr0 = 7,
            Gdtr = new DescriptorTableRegister(GdtAt, 0xFF),
            Idtr = new DescriptorTableRegister(IdtAt, 0xFFF),
            Tr = new SegmentRegister { Selector = 0x40, Attributes = 0x8B, Limit = 0x67, Base = TssAt },
        };
        ReadOnlySpan<ushort> selectors = [0x30, 0x20, 0x38, 0x28, 0x28, 0x28];
        for (int i = 0; i < 6; i++)
        {
            ulong descriptor = _memory.Read<ulong>(new GuestPhysical(GdtAt + selectors[i]));
            state.Segments[i] = new SegmentRegister
            {
                Selector = (ushort)(selectors[i] | 3),
                Attributes = (uint)(descriptor >> 40) & 0xF0FF,
                Limit = (descriptor & (1UL << 55)) != 0 ? uint.MaxValue : 0xF_FFFF,
                Base = ((descriptor >> 16) & 0xFF_FFFF) | (descriptor >> 56 << 24),
            };
        }

        for (int i = 0; i < 16; i++)
        {
            state.Gpr[i] = _random.Integer();
        }

        state.Gpr[4] = StackOffset(_program.Mode) + 0xF00;
        state.Fxsave[0] = 0x7F;
        state.Fxsave[1] = 0x03;
        state.Fxsave[24] = 0x80;
        state.Fxsave[25] = 0x1F;
        return state;
    }

    /// <summary>One interrupt line.</summary>
    private sealed class LineApic : SilentApic
    {
        public override int Acknowledge()
        {
            HasInterrupt = false;
            return TimerVector;
        }
    }
}
