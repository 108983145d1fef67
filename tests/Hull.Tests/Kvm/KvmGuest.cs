using System;
using System.Collections.Generic;
using System.Threading;
using Hull.Bus;
using Hull.Engine;
using Hull.Kvm;
using Hull.Memory;
using Hull.Xen;
using Hull.Tests.Cpu.Smp;
using Hull.Tests.Cpu.Translate;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Kvm;

/// <summary>
/// A tiny guest on this host's /dev/kvm: 64 MiB of RAM, vCPUs, no board. A write to port 0xF4 ends a vCPU's run.
/// Kernel code here is only of the kinds that a KVM without VMX or SVM emulates too: no INT n, no XSAVE, no SSE.
/// </summary>
internal sealed class KvmGuest : IDisposable
{
    internal const byte EndPort = 0xF4;
    internal const ulong CodeAt = 0x10_0000;
    internal const ulong DataAt = 0x30_0000;

    // Only a hang is that slow.
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    internal KvmGuest(
        int vcpus = 1,
        int dirtyRingEntries = 0,
        Func<KvmGuest, IPersonality>? personality = null,
        ulong tscOffset = 0,
        IPersonality? leaves = null)
    {
        Memory = new GuestMemory(64 << 20, sparePages: personality is null ? 0 : SpecialPages.SpareCount);
        try
        {
            Engine = KvmHost.CreateEngine(Memory, Bus, vcpus, dirtyRingEntries, leaves);
            if (personality is not null)
            {
                Engine.TakeHypercalls(personality(this), tscOffset);
            }
        }
        catch
        {
            Engine?.Dispose();
            Memory.Dispose();
            throw;
        }

        Engine.Connect(Pic, vector => Ends.Add(vector));
        Vcpus = new KvmVcpu[vcpus];
        for (int i = 0; i < vcpus; i++)
        {
            Vcpus[i] = (KvmVcpu)Engine.CreateVcpu(i, null);
        }

        Bus.MapPorts(EndPort, 1, new EndDevice(this));
    }

    internal GuestMemory Memory { get; }

    internal IoBus Bus { get; } = new();

    internal KvmEngine Engine { get; }

    internal KvmVcpu[] Vcpus { get; }

    /// <summary>The 8259s' output, as a test drives it.</summary>
    internal FakePic Pic { get; } = new();

    /// <summary>Vectors of level-triggered interrupts that the guest has ended.</summary>
    internal List<byte> Ends { get; } = [];

    internal ulong this[ulong at]
    {
        get => Memory.Read<ulong>(new GuestPhysical(at));
        set => Memory.Write(new GuestPhysical(at), value);
    }

    /// <summary>The state of 64-bit code at level 0 with all RAM mapped one to one; writes the tables.</summary>
    internal ArchState Long(Action<Assembler> write)
    {
        FlatGuest.WriteTables(Memory);
        Put(CodeAt, 64, write);
        ArchState state = FlatGuest.NewState();
        state.Rip = CodeAt;
        state.Gpr[4] = 0x20_0000;
        return state;
    }

    /// <summary>The state of 32-bit code in protected mode without paging.</summary>
    internal ArchState Protected(Action<Assembler> write)
    {
        ArchState state = Long(static _ => { });
        Put(CodeAt, 32, write);
        state.Cr0 = 0x11;
        state.Cr4 = 0;
        state.Efer = 0;
        state.Segments[1] = state.Segments[1] with { Attributes = 0xC09B };
        return state;
    }

    /// <summary>The state of 16-bit code in real mode, at 0:0x8000 with a stack below.</summary>
    internal ArchState Real(Action<Assembler> write)
    {
        Put(0x8000, 16, write);
        ArchState state = new() { Rip = 0x8000, Cr0 = 0x10, Idtr = new DescriptorTableRegister(0, 0x3FF) };
        state.Segments.AsSpan().Fill(new SegmentRegister { Attributes = 0x93, Limit = 0xFFFF });
        state.Segments[1] = state.Segments[1] with { Attributes = 0x9B };
        state.Ldtr = new SegmentRegister { Attributes = 0x82, Limit = 0xFFFF };
        state.Tr = new SegmentRegister { Attributes = 0x8B, Limit = 0xFFFF };
        state.Gpr[4] = 0x8000;
        state.Fxsave[0] = 0x40;
        state.Fxsave[25] = 0x1F;
        state.Fxsave[24] = 0x80;
        return state;
    }

    /// <summary>Writes code for an address.</summary>
    internal void Put(ulong at, int bits, Action<Assembler> write) =>
        Memory.TryWrite(new GuestPhysical(at), SmpGuest.Assemble(at, write, bits));

    /// <summary>Ends the run of all vCPUs.</summary>
    internal static void End(Assembler c) => c.@out(EndPort, al);

    /// <summary>Runs the first vCPU from a state to its end.</summary>
    internal ArchState Run(ArchState state)
    {
        Vcpus[0].SetState(state);
        Assert(Go());
        return Vcpus[0].GetState();
    }

    /// <summary>Runs the first vCPU on; a hang is kicked.</summary>
    internal VcpuExit Go()
    {
        bool late = false;
        using Timer limit = new(
            _ =>
            {
                late = true;
                Vcpus[0].Kick();
            },
            null,
            Limit,
            Timeout.InfiniteTimeSpan);
        VcpuExit exit = Vcpus[0].Run();
        return late
            ? throw new InvalidOperationException(
                $"hangs at 0x{Vcpus[0].GetState().Rip:x}, {string.Join(", ", Engine.ReadCounters())}")
            : exit;
    }

    public void Dispose()
    {
        Engine.Dispose();
        Memory.Dispose();
    }

    private void Assert(VcpuExit exit)
    {
        if (exit != VcpuExit.Kicked)
        {
            throw new InvalidOperationException($"{exit}: {Vcpus[0].FailureMessage}");
        }
    }

    /// <summary>A line that a test drives, with the vector that the cycle brings.</summary>
    internal sealed class FakePic : IExtIntSource
    {
        private volatile bool _output;

        public bool Output => _output;

        internal byte Vector { get; set; }

        internal void Raise(byte vector)
        {
            Vector = vector;
            _output = true;
        }

        public int AcknowledgeInterrupt()
        {
            _output = false;
            return Vector;
        }
    }

    private sealed class EndDevice(KvmGuest guest) : IPortDevice
    {
        public uint ReadPort(ushort offset, int size) => 0;

        public void WritePort(ushort offset, int size, uint value)
        {
            foreach (KvmVcpu vcpu in guest.Vcpus)
            {
                vcpu.Kick();
            }
        }
    }
}
