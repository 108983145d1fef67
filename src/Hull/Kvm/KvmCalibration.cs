using System;
using System.Threading;
using Hull.Bus;
using Hull.Engine;
using Hull.Host;
using Hull.Memory;

namespace Hull.Kvm;

/// <summary>What the calibration guest found.</summary>
/// <param name="MillionInstructions">Simple instructions at privilege level 0, in millions a second; 0: not measured.</param>
/// <param name="ExitMicroseconds">An exit to user space and back.</param>
/// <param name="Failure">What went wrong; null: nothing.</param>
/// <param name="IsSteady">It would be found again; false: something else may have been in the way.</param>
internal readonly record struct KvmMeasurement(
    double MillionInstructions, double ExitMicroseconds, string? Failure, bool IsSteady = true);

/// <summary>
/// A guest of a few milliseconds that says whether KVM runs kernels at a CPU's speed and right: empty loops at privilege
/// level 0 in 64-bit mode, exits, then some instructions that kernels use and emulators lack. There are hosts whose
/// /dev/kvm opens, but emulates all kernel code.
/// </summary>
internal static class KvmCalibration
{
    private const ulong PageTables = 0x1000;
    private const ulong IdtAt = 0x4000;
    private const ulong CodeAt = 0x5000;
    private const ulong BreakpointAt = 0x6000;
    private const ulong DataAt = 0x7000;
    private const ulong StackAt = 0x9000;
    private const ulong GdtAt = 0x9000;
    private const ushort CodeSelector = 8;
    private const ushort DataSelector = 16;
    private const int LimitMs = 1000;
    private const long BusyNs = LimitMs * 1_000_000L / 2;

    // 0: ask how often to loop, and loop; until the answer is all ones. The count of instructions is two an iteration.
    // Then POPCNT, CMPXCHG16B, scalar SSE and INT3 compute a number that is sent.
    private static ReadOnlySpan<byte> Code =>
    [
        0xE5, 0x12, // in eax, 12h
        0x89, 0xC1, // mov ecx, eax
        0x83, 0xF9, 0xFF, // cmp ecx, -1
        0x74, 0x0A, // je +10
        0x85, 0xC9, // test ecx, ecx
        0x74, 0xF3, // je -13
        0xFF, 0xC9, // dec ecx
        0x75, 0xFC, // jne -4
        0xEB, 0xED, // jmp -19
        0xB8, 0xF0, 0xF0, 0x00, 0x00, // mov eax, F0F0h
        0xF3, 0x0F, 0xB8, 0xD8, // popcnt ebx, eax
        0x31, 0xC0, 0x31, 0xD2, 0x31, 0xC9, // xor eax, eax; xor edx, edx; xor ecx, ecx
        0xF0, 0x48, 0x0F, 0xC7, 0x0F, // lock cmpxchg16b [rdi]
        0xF2, 0x48, 0x0F, 0x2A, 0x07, // cvtsi2sd xmm0, qword [rdi]
        0xF2, 0x0F, 0x58, 0xC0, // addsd xmm0, xmm0
        0xF2, 0x48, 0x0F, 0x2C, 0xC0, // cvttsd2si rax, xmm0
        0xCC, // int3
        0xE7, 0x10, // out 10h, eax
        0xF4, // hlt
    ];

    // inc eax; iretq
    private static ReadOnlySpan<byte> Breakpoint => [0xFF, 0xC0, 0x48, 0xCF];

    private const uint RightResult = 17; // eight bits, doubled, and one for the breakpoint

    /// <summary>Measures. Takes some milliseconds, and a second at the most.</summary>
    internal static KvmMeasurement Measure()
    {
        KvmSystem system;
        try
        {
            system = new KvmSystem();
        }
        catch (HullException e)
        {
            // What the kernel lacks it lacks tomorrow; a call that failed may have found a full table.
            return new KvmMeasurement(0, 0, e.Message, e.InnerException is null);
        }

        try
        {
            using GuestMemory memory = new(0x20_0000);
            Meter meter = new() { Done = static () => { } };
            IoBus bus = new();
            bus.MapPorts(Meter.FirstPort, 3, meter);
            using KvmEngine engine = CreateEngine(system, memory, bus);
            using IVcpu vcpu = engine.CreateVcpu(0, null);
            meter.Done = vcpu.Kick;
            WriteGuest(memory);
            vcpu.SetState(InitialState());
            using JoinedTimer limit = new(vcpu.Kick, LimitMs, Timeout.Infinite);
            VcpuExit exit = vcpu.Run();
            return meter.Result(exit switch
            {
                VcpuExit.Kicked => null,
                VcpuExit.Shutdown => "a plain guest shuts down on it",
                _ => vcpu.FailureMessage,
            });
        }
        catch (HullException e)
        {
            return new KvmMeasurement(0, 0, e.Message, IsSteady: false);
        }
        finally
        {
            system.Dispose();
        }
    }

    private static KvmEngine CreateEngine(KvmSystem system, GuestMemory memory, IoBus bus)
    {
        const ulong AnyHz = 1_000_000_000;
        CpuidPolicy cpuid = CpuidPolicy.ForKvm(CpuModel.HostSafe, system.Supported, AnyHz, AnyHz, 1);
        return new KvmEngine(system, memory, bus, new NoPersonality(), cpuid);
    }

    private static void WriteGuest(GuestMemory memory)
    {
        const ulong Present = 3;
        const ulong Large = 0x80;
        const ulong InterruptGate = 0x8E00UL << 32;
        memory.Write(new GuestPhysical(PageTables), (PageTables + 0x1000) | Present);
        memory.Write(new GuestPhysical(PageTables + 0x1000), (PageTables + 0x2000) | Present);
        memory.Write(new GuestPhysical(PageTables + 0x2000), Large | Present);
        memory.Write(new GuestPhysical(IdtAt + (3 * 16)), InterruptGate | ((ulong)CodeSelector << 16) | BreakpointAt);
        memory.Write(new GuestPhysical(GdtAt + CodeSelector), 0x00AF_9B00_0000_FFFFUL);
        memory.Write(new GuestPhysical(GdtAt + DataSelector), 0x00CF_9300_0000_FFFFUL);
        memory.TryWrite(new GuestPhysical(CodeAt), Code);
        memory.TryWrite(new GuestPhysical(BreakpointAt), Breakpoint);
    }

    private static ArchState InitialState()
    {
        ArchState state = new()
        {
            Rip = CodeAt,
            Cr0 = 0x8000_0033,
            Cr3 = PageTables,
            Cr4 = 0x620, // PAE, OSFXSR, OSXMMEXCPT
            Efer = 0x500,
            Gdtr = new DescriptorTableRegister(GdtAt, 0x17),
            Idtr = new DescriptorTableRegister(IdtAt, 0x3F),
            Ldtr = new SegmentRegister { Attributes = 0x1_0082 },
            Tr = new SegmentRegister { Attributes = 0x8B, Limit = 0x67 },
        };
        SegmentRegister data = new() { Selector = DataSelector, Attributes = 0xC093, Limit = uint.MaxValue };
        state.Segments.AsSpan().Fill(data);
        state.Segments[1] = data with { Selector = CodeSelector, Attributes = 0xA09B };
        state.Gpr[4] = StackAt;
        state.Gpr[7] = DataAt;
        state.Fxsave[0] = 0x7F;
        state.Fxsave[1] = 3;
        state.Fxsave[24] = 0x80;
        state.Fxsave[25] = 0x1F;
        return state;
    }

    /// <summary>The guest's port: says how often to loop, and takes the times between the questions.</summary>
    private sealed class Meter : IPortDevice
    {
        internal const ushort FirstPort = 0x10;

        private const long CoarseNs = 100_000;
        private const int Attempts = 3;

        private readonly int _clock = ChooseClock();
        private readonly long _threadStartNs = Read(LibcTime.ClockThreadCpu);
        private readonly CalibrationRounds _rounds = new();
        private long _startNs;
        private uint? _result;

        internal required Action Done { get; set; }

        public uint ReadPort(ushort offset, int size)
        {
            uint answer = _rounds.Next(Read(_clock) - _startNs);
            _startNs = Read(_clock);
            return answer;
        }

        public void WritePort(ushort offset, int size, uint value)
        {
            _result = value;
            Done();
        }

        /// <summary>What was found. On the thread that ran the guest.</summary>
        /// <param name="failure">What the engine says; null: it was stopped.</param>
        internal KvmMeasurement Result(string? failure)
        {
            bool isSteady = true; // a failure is none of the clock's
            if (failure is null && _result is null)
            {
                // A guest that did not get the CPU says nothing of KVM.
                failure = "its calibration guest did not end in a second";
                isSteady = Read(LibcTime.ClockThreadCpu) - _threadStartNs > BusyNs;
            }
            else if (failure is null && _result != RightResult)
            {
                failure = $"kernel code computes wrong on it ({_result} instead of {RightResult})";
            }
            else if (failure is null)
            {
                isSteady = _rounds.IsSteady;
            }

            return new KvmMeasurement(_rounds.MillionInstructions, _rounds.ExitMicroseconds, failure, isSteady);
        }

        // The thread's own time: a host that is busy with other things changes nothing. But where the kernel's scheduler
        // counts in ticks (in a guest whose TSC it does not trust), that clock stands still for milliseconds.
        private static int ChooseClock()
        {
            for (int attempt = 0; attempt < Attempts; attempt++)
            {
                long start = Read(LibcTime.ClockMonotonic);
                long first = Read(LibcTime.ClockThreadCpu);
                while (Read(LibcTime.ClockThreadCpu) == first && Read(LibcTime.ClockMonotonic) - start < CoarseNs)
                {
                }

                if (Read(LibcTime.ClockMonotonic) - start < CoarseNs)
                {
                    return LibcTime.ClockThreadCpu;
                }
            }

            return LibcTime.ClockMonotonic;
        }

        private static unsafe long Read(int clock)
        {
            TimeSpec now;
            _ = LibcTime.ClockGetTime(clock, &now);
            return (now.Seconds * 1_000_000_000) + now.Nanoseconds;
        }
    }

    /// <summary>A PC without a hypervisor's leaves.</summary>
    private sealed class NoPersonality : IPersonality
    {
        public bool TryCpuid(int vcpu, uint leaf, uint subleaf, out CpuidResult result)
        {
            result = default;
            return false;
        }

        public bool TryReadMsr(int vcpu, uint index, out ulong value)
        {
            value = 0;
            return false;
        }

        public bool TryWriteMsr(int vcpu, uint index, ulong value) => false;

        public bool TryHypercall(int vcpu, IHypercallRegisters registers) => false;

        public void HaltedWithInterruptsOff(int vcpu)
        {
        }
    }
}
