using System;
using System.Collections.Generic;
using Hull.Bus;
using Hull.Cpu;
using Hull.Cpu.Assist;
using Hull.Cpu.State;
using Hull.Engine;
using Hull.Memory;
using Hull.Timeline;
using Iced.Intel;

namespace Hull.Tests.Cpu;

/// <summary>
/// A vCPU whose assists are called one at a time: 16 MiB of RAM, a GDT, an IDT and a TSS at fixed places, and a method
/// for each mode. 64-bit modes run on page tables that map RAM one to one, as user pages.
/// </summary>
internal sealed unsafe class AssistGuest : IDisposable
{
    internal const ulong CodeAt = 0x1_0000;
    internal const ulong StackAt = 0x2_0000;
    internal const ulong DataAt = 0x3_0000;
    internal const ulong GdtAt = 0x5000;
    internal const ulong IdtAt = 0x6000;
    internal const ulong TssAt = 0x7000;
    internal const ulong LdtAt = 0x7800;
    internal const ulong InnerStackAt = 0x2_8000;
    internal const ulong InterruptStackAt = 0x2_A000;

    // Selectors of the GDT.
    internal const ushort Code64 = 0x08;
    internal const ushort Data0 = 0x10;
    internal const ushort Code32 = 0x18;
    internal const ushort UserData = 0x20 | 3;
    internal const ushort UserCode32 = 0x28 | 3;
    internal const ushort UserCode64 = 0x30 | 3;
    internal const ushort Code16 = 0x38;
    internal const ushort Data16 = 0x40;
    internal const ushort Tss = 0x50; // 16 bytes in IA-32e mode
    internal const ushort Free = 0x60; // for a test's own descriptors, to 0xFF

    private const ulong PageTablesAt = 0x1000;
    private int _bits = 64;

    internal AssistGuest(CpuModel? model = null)
    {
        Memory = new GuestMemory(16 << 20);
        Bus = new IoBus();
        Apic = new TestApic();
        Cpuid = CpuidPolicy.For(model ?? CpuModel.HostSafe, 2_000_000_000, 1_000_000_000, 1);
        Engine = new SoftEngine(Memory, Bus, new MachineClock(), Personality, Cpuid);
        Vcpu = (SoftVcpu)Engine.CreateVcpu(0, Apic);
        Cpu = Vcpu.Cpu;
        WriteTables();
    }

    internal GuestMemory Memory { get; }

    internal IoBus Bus { get; }

    internal TestApic Apic { get; }

    internal CpuidPolicy Cpuid { get; }

    internal TestPersonality Personality { get; } = new();

    internal SoftEngine Engine { get; }

    internal SoftVcpu Vcpu { get; }

    internal CpuState* Cpu { get; }

    /// <summary>The exception recorded by the last <see cref="Execute"/>: vector and error code (0 when it has none).</summary>
    internal (byte Vector, uint Code) Fault => (Vcpu.Pending.Vector, Vcpu.Pending.ErrorCode);

    /// <summary>64-bit mode at a privilege level.</summary>
    internal AssistGuest Long(int cpl = 0)
    {
        _bits = 64;
        Cpu->Cr0 = 0x8001_0033;
        Cpu->Cr4 = Cr4.Pae | Cr4.Osfxsr;
        Cpu->Cr3 = PageTablesAt;
        Cpu->Efer = Efer.Lme | Efer.Lma | Efer.Nxe | Efer.Sce;
        LoadSegments(cpl == 0 ? Code64 : UserCode64, cpl == 0 ? Data0 : UserData, cpl);
        Cpu->Tr = new CpuSegment { Selector = Tss, Base = TssAt, Limit = 0x67, Attributes = 0x8B };
        return this;
    }

    /// <summary>Compatibility mode at level 3.</summary>
    internal AssistGuest Compatibility()
    {
        Long(3);
        _bits = 32;
        LoadSegments(UserCode32, UserData, 3);
        return this;
    }

    /// <summary>32-bit protected mode without paging.</summary>
    internal AssistGuest Protected(int cpl = 0)
    {
        _bits = 32;
        Cpu->Cr0 = 0x33;
        Cpu->Cr4 = 0;
        Cpu->Efer = 0;
        LoadSegments(cpl == 0 ? Code32 : UserCode32, cpl == 0 ? Data0 : UserData, cpl);
        Cpu->Tr = new CpuSegment { Selector = Tss, Base = TssAt, Limit = 0x67, Attributes = 0x8B };
        return this;
    }

    /// <summary>Real mode.</summary>
    internal AssistGuest Real()
    {
        _bits = 16;
        Cpu->Cr0 = 0x30;
        Cpu->Cr4 = 0;
        Cpu->Efer = 0;
        Cpu->Cpl = 0;
        for (int index = 0; index < 6; index++)
        {
            Cpu->Segments[index] = new CpuSegment { Limit = 0xFFFF, Attributes = 0x93 };
        }

        Cpu->Segments[Seg.Cs] = new CpuSegment { Selector = 0x1000, Base = CodeAt, Limit = 0xFFFF, Attributes = 0x9B };
        Cpu->Segments[Seg.Ss] = new CpuSegment { Selector = 0x2000, Base = StackAt, Limit = 0xFFFF, Attributes = 0x93 };
        Cpu->Segments[Seg.Ds] = new CpuSegment { Selector = 0x3000, Base = DataAt, Limit = 0xFFFF, Attributes = 0x93 };
        Cpu->Segments[Seg.Es] = Cpu->Segments[Seg.Ds];
        Cpu->Idtr = new CpuTable { Limit = 0x3FF };
        Cpu->Rip = 0;
        Cpu->Gpr[Gpr.Rsp] = 0x1000;
        Cpu->Rflags = 2;
        return this;
    }

    /// <summary>Virtual-8086 mode.</summary>
    internal AssistGuest Virtual8086(int iopl = 3)
    {
        Protected();
        _bits = 16;
        Cpu->Cpl = 3;
        Cpu->Rflags = Rflags.Vm | ((ulong)iopl << 12) | 2;
        Cpu->Segments[Seg.Cs] = Descriptor.Virtual8086(0x1000);
        Cpu->Segments[Seg.Ss] = Descriptor.Virtual8086(0x2000);
        Cpu->Segments[Seg.Ds] = Cpu->Segments[Seg.Es] = Descriptor.Virtual8086(0x3000);
        Cpu->Segments[Seg.Fs] = Cpu->Segments[Seg.Gs] = Descriptor.Virtual8086(0x3100);
        Cpu->Rip = 0;
        Cpu->Gpr[Gpr.Rsp] = 0x1000;
        return this;
    }

    /// <summary>Decodes bytes at CS:RIP and runs the assist.</summary>
    internal AssistResult Execute(params byte[] code)
    {
        Instruction instruction = Decode(code);
        Vcpu.Pending = default;
        return SystemAssists.Execute(Vcpu, instruction);
    }

    /// <summary>Decodes bytes as the current code segment would.</summary>
    internal Instruction Decode(byte[] code)
    {
        Decoder decoder = Decoder.Create(_bits, new ByteArrayCodeReader(code));
        decoder.IP = Cpu->Rip;
        return decoder.Decode();
    }

    /// <summary>Pushes values, the first of them last.</summary>
    internal void Push<T>(params T[] values)
        where T : unmanaged
    {
        for (int index = values.Length - 1; index >= 0; index--)
        {
            Cpu->Gpr[Gpr.Rsp] -= (ulong)sizeof(T);
            Write(Cpu->Gpr[Gpr.Rsp], values[index]);
        }
    }

    internal void Write<T>(ulong at, T value)
        where T : unmanaged => Memory.Write(new GuestPhysical(at), value);

    internal T Read<T>(ulong at)
        where T : unmanaged => Memory.Read<T>(new GuestPhysical(at));

    internal ulong Stack(int index, int width = 8)
    {
        ulong at = Cpu->Gpr[Gpr.Rsp] + (ulong)(index * width);
        at = _bits == 64 ? at : (uint)(at + Cpu->Segments[Seg.Ss].Base);
        return width == 8 ? Read<ulong>(at) : width == 4 ? Read<uint>(at) : Read<ushort>(at);
    }

    /// <summary>Writes a descriptor into the GDT.</summary>
    internal void Describe(ushort selector, ulong low, ulong high = 0, bool wide = false)
    {
        Write(GdtAt + (selector & 0xFFF8u), low);
        if (wide)
        {
            Write(GdtAt + (selector & 0xFFF8u) + 8, high);
        }
    }

    /// <summary>A segment descriptor with attributes as <see cref="CpuSegment.Attributes"/> has them.</summary>
    internal static ulong Segment(uint origin, uint limit, uint attributes) =>
        (limit & 0xFFFF) | ((ulong)(origin & 0xFF_FFFF) << 16) | ((ulong)(attributes & 0xF0FF) << 40)
        | ((ulong)(limit & 0xF_0000) << 32) | ((ulong)(origin >> 24) << 56);

    /// <summary>A gate: type and DPL in <paramref name="access"/>, the low half.</summary>
    internal static ulong Gate(ushort selector, ulong offset, byte access, int parameter = 0) =>
        (offset & 0xFFFF) | ((ulong)selector << 16) | ((ulong)parameter << 32) | ((ulong)access << 40)
        | ((offset >> 16 & 0xFFFF) << 48);

    /// <summary>An entry of a 64-bit IDT.</summary>
    internal void Gate64(byte vector, ushort selector, ulong offset, byte access, int ist = 0)
    {
        Write(IdtAt + (vector * 16u), Gate(selector, offset, access, ist));
        Write(IdtAt + (vector * 16u) + 8, offset >> 32);
    }

    /// <summary>An entry of a 32-bit IDT.</summary>
    internal void Gate32(byte vector, ushort selector, uint offset, byte access) =>
        Write(IdtAt + (vector * 8u), Gate(selector, offset, access));

    public void Dispose()
    {
        Engine.Dispose();
        Memory.Dispose();
    }

    private void LoadSegments(ushort code, ushort data, int cpl)
    {
        Cpu->Cpl = (byte)cpl;
        for (int index = 0; index < 6; index++)
        {
            ushort selector = index == Seg.Cs ? code : data;
            Cpu->Segments[index] = new Descriptor(Read<ulong>(GdtAt + (selector & 0xFFF8u)), 0).ToSegment(selector);
        }

        Cpu->Gdtr = new CpuTable { Base = GdtAt, Limit = 0xFF };
        Cpu->Idtr = new CpuTable { Base = IdtAt, Limit = 0xFFF };
        Cpu->Ldtr = Descriptor.Null(0);
        Cpu->Rip = CodeAt;
        Cpu->Gpr[Gpr.Rsp] = StackAt;
        Cpu->Rflags = 2;
    }

    private void WriteTables()
    {
        Describe(Code64, Segment(0, 0xF_FFFF, 0xA09B));
        Describe(Data0, Segment(0, 0xF_FFFF, 0xC093));
        Describe(Code32, Segment(0, 0xF_FFFF, 0xC09B));
        Describe(UserData, Segment(0, 0xF_FFFF, 0xC0F3));
        Describe(UserCode32, Segment(0, 0xF_FFFF, 0xC0FB));
        Describe(UserCode64, Segment(0, 0xF_FFFF, 0xA0FB));
        Describe(Code16, Segment(0, 0xFFFF, 0x009B));
        Describe(Data16, Segment(0, 0xFFFF, 0x0093));
        Describe(Tss, Segment((uint)TssAt, 0x67, 0x8B), 0, true);
        Write<ulong>(PageTablesAt, 0x2007);
        Write<ulong>(0x2000, 0x3007);
        for (uint index = 0; index < 8; index++)
        {
            Write(0x3000 + (index * 8), ((ulong)index << 21) | 0x87);
        }
    }

    /// <summary>Writes RSP0-2 and IST1 of a 64-bit TSS.</summary>
    internal AssistGuest LongTss()
    {
        Write(TssAt + 4, InnerStackAt);
        Write(TssAt + 12, InnerStackAt);
        Write(TssAt + 20, InnerStackAt);
        Write(TssAt + 36, InterruptStackAt);
        return this;
    }

    /// <summary>Writes SS0:ESP0 of a 32-bit TSS.</summary>
    internal AssistGuest ProtectedTss()
    {
        Write(TssAt + 4, (uint)InnerStackAt);
        Write(TssAt + 8, (uint)Data0);
        return this;
    }
}

/// <summary>A local APIC that holds two registers and two MSRs.</summary>
internal sealed class TestApic : ILocalApic
{
    public ulong BaseMsr { get; set; } = 0xFEE0_0900;

    public ulong MmioPage => 0xFEE0_0000;

    public byte TaskPriority { get; set; }

    public bool HasInterrupt => false;

    internal Dictionary<uint, uint> Registers { get; } = [];

    internal Dictionary<uint, ulong> Msrs { get; } = [];

    public int Acknowledge() => -1;

    public uint ReadMmio(uint offset) => Registers.GetValueOrDefault(offset);

    public void WriteMmio(uint offset, uint value) => Registers[offset] = value;

    public bool TryReadMsr(uint index, out ulong value) => Msrs.TryGetValue(index, out value);

    public bool TryWriteMsr(uint index, ulong value)
    {
        Msrs[index] = value;
        return true;
    }

    public void Reset()
    {
    }
}

/// <summary>A personality with one CPUID leaf, one MSR and one hypercall.</summary>
internal sealed class TestPersonality : IPersonality
{
    internal ulong Msr { get; set; }

    public bool TryCpuid(int vcpu, uint leaf, uint subleaf, out CpuidResult result)
    {
        result = new CpuidResult(1, 2, 3, 4);
        return leaf == 0x4000_0000;
    }

    public bool TryReadMsr(int vcpu, uint index, out ulong value)
    {
        value = Msr;
        return index == 0x4000_0001;
    }

    public bool TryWriteMsr(int vcpu, uint index, ulong value)
    {
        Msr = value;
        return index == 0x4000_0001;
    }

    public bool TryHypercall(int vcpu, IHypercallRegisters registers)
    {
        registers[0] = registers[7] + 1;
        return registers.Cpl == 0;
    }

    public void HaltedWithInterruptsOff(int vcpu)
    {
        Halts++;
        Told(vcpu);
    }

    internal int Halts { get; private set; }

    /// <summary>What is done when a vCPU has halted with interrupts off.</summary>
    internal Action<int> Told { get; set; } = static _ => { };
}
