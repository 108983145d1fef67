using System;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Hull.Engine;
using Hull.Memory;

namespace Hull.Boot;

/// <summary>The states in which processors start: after reset, and as boot protocols ask.</summary>
internal static class ArchStates
{
    private const int Cs = 1;

    // Descriptor attributes: present, type; L and D/B; granularity. SDM vol. 3A, "Segment Descriptors".
    private const uint CodeLong = 0xA09B;
    private const uint CodeFlat32 = 0xC09B;
    private const uint DataFlat = 0xC093;
    private const uint BusyTask = 0x8B;
    private const uint LocalTable = 0x82;
    private const uint Unusable = 0x1_0000;

    /// <summary>
    /// A processor after reset. SDM vol. 3A, "Processor State After Reset". The signature in EDX is the
    /// engine's.
    /// </summary>
    /// <param name="index">0 is the bootstrap processor; the others wait for INIT-SIPI.</param>
    internal static ArchState Reset(int index)
    {
        ArchState state = new()
        {
            Rip = 0xFFF0,
            Cr0 = 0x6000_0010,
            Gdtr = new DescriptorTableRegister(0, 0xFFFF),
            Idtr = new DescriptorTableRegister(0, 0xFFFF),
            Ldtr = new SegmentRegister { Attributes = LocalTable, Limit = 0xFFFF },
            Tr = new SegmentRegister { Attributes = BusyTask, Limit = 0xFFFF },
            WaitingForStartup = index != 0,
        };
        for (int i = 0; i < state.Segments.Length; i++)
        {
            state.Segments[i] = new SegmentRegister { Attributes = 0x93, Limit = 0xFFFF };
        }

        state.Segments[Cs] = new SegmentRegister
        {
            Selector = 0xF000,
            Base = 0xFFFF_0000,
            Attributes = 0x9B,
            Limit = 0xFFFF,
        };
        SetFloatingPoint(state, 0x40);
        return state;
    }

    /// <summary>
    /// 64-bit mode with paging on, as Linux's 64-bit boot protocol asks; writes GDT and identity page tables
    /// (4 GiB) to guest memory.
    /// </summary>
    internal static ArchState Long(GuestMemory memory, ulong entry, ulong bootParameters)
    {
        WriteGdt(memory, CodeLong);
        WriteIdentityTables(memory);
        ArchState state = Flat(entry, CodeLong);
        state.Gpr[4] = BootLayout.StackTop;
        state.Gpr[6] = bootParameters;
        state.Cr0 = 0x8000_0031;
        state.Cr3 = BootLayout.PageTables;
        state.Cr4 = 0x20;
        state.Efer = 0x500;
        return state;
    }

    /// <summary>
    /// 32-bit protected mode without paging, as the PVH ABI asks; writes a GDT to guest memory, though the
    /// ABI does not promise one.
    /// </summary>
    internal static ArchState Flat32(GuestMemory memory, ulong entry, ulong startInfo)
    {
        WriteGdt(memory, CodeFlat32);
        ArchState state = Flat(entry, CodeFlat32);
        state.Gpr[3] = startInfo;
        state.Gpr[4] = BootLayout.StackTop;
        state.Cr0 = 0x11;
        return state;
    }

    /// <summary>32-bit protected mode without paging, as Linux's 32-bit boot protocol asks; writes the GDT that it asks for.</summary>
    internal static ArchState Linux32(GuestMemory memory, ulong entry, ulong bootParameters)
    {
        ArchState state = Flat32(memory, entry, 0);
        state.Gpr[6] = bootParameters;
        return state;
    }

    /// <summary>Bytes of the descriptor table that <see cref="Multiboot"/> writes.</summary>
    internal const int GdtRoom = 0x30;

    /// <summary>
    /// 32-bit protected mode without paging, as Multiboot asks; EAX and EBX are the caller's. Writes a GDT, though no
    /// kernel may rely on one; the stack, on which no kernel may rely either, grows down from there.
    /// </summary>
    internal static ArchState Multiboot(GuestMemory memory, ulong entry, ulong gdt)
    {
        WriteGdt(memory, CodeFlat32, gdt);
        ArchState state = Flat(entry, CodeFlat32);
        state.Gdtr = new DescriptorTableRegister(gdt, GdtRoom - 1);
        state.Gpr[4] = gdt;
        state.Idtr = new DescriptorTableRegister(0, 0x3FF); // real mode's, for a kernel that goes back there
        state.Cr0 = 0x11;
        return state;
    }

    private static ArchState Flat(ulong entry, uint codeAttributes)
    {
        ArchState state = new()
        {
            Rip = entry,
            Gdtr = new DescriptorTableRegister(BootLayout.Gdt, GdtRoom - 1),
            Idtr = new DescriptorTableRegister(0, 0),
            Ldtr = new SegmentRegister { Attributes = LocalTable | Unusable },
            Tr = new SegmentRegister
            {
                Selector = BootLayout.TaskSelector,
                Attributes = BusyTask,
                Limit = 0x67,
            },
        };
        SegmentRegister data = new()
        {
            Selector = BootLayout.DataSelector,
            Attributes = DataFlat,
            Limit = 0xFFFF_FFFF,
        };
        state.Segments.AsSpan().Fill(data);
        state.Segments[Cs] = data with { Selector = BootLayout.CodeSelector, Attributes = codeAttributes };
        SetFloatingPoint(state, 0x37F);
        return state;
    }

    private static void SetFloatingPoint(ArchState state, ushort controlWord)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(state.Fxsave, controlWord);
        BinaryPrimitives.WriteUInt32LittleEndian(state.Fxsave.AsSpan(24), 0x1F80);
        BinaryPrimitives.WriteUInt32LittleEndian(state.Fxsave.AsSpan(28), 0xFFFF);
    }

    private static void WriteGdt(GuestMemory memory, uint codeAttributes, ulong at = BootLayout.Gdt)
    {
        ulong[] table =
        [
            0, 0,
            Descriptor(codeAttributes, 0xFFFF_FFFF),
            Descriptor(DataFlat, 0xFFFF_FFFF),
            Descriptor(BusyTask, 0x67), 0,
        ];
        for (int i = 0; i < table.Length; i++)
        {
            memory.Write(new GuestPhysical(at + (8 * (ulong)i)), table[i]);
        }
    }

    private static ulong Descriptor(uint attributes, uint limit)
    {
        ulong raw = (attributes & 0x8000) != 0 ? limit >> 12 : limit;
        return (raw & 0xFFFF) | ((ulong)(attributes & 0xFF) << 40) | ((raw >> 16 & 0xF) << 48) |
            ((ulong)(attributes >> 12 & 0xF) << 52);
    }

    private static void WriteIdentityTables(GuestMemory memory)
    {
        const ulong present = 1 | 2;
        ulong directories = BootLayout.PageTables + 0x2000;
        ulong[] table = new ulong[6 * 512];
        table[0] = (BootLayout.PageTables + 0x1000) | present;
        for (ulong i = 0; i < 4; i++)
        {
            table[512 + i] = (directories + (i * 0x1000)) | present;
        }

        for (ulong i = 0; i < 4 * 512; i++)
        {
            table[1024 + i] = (i << 21) | 0x80 | present;
        }

        memory.TryWrite(
            new GuestPhysical(BootLayout.PageTables),
            MemoryMarshal.AsBytes<ulong>(table));
    }
}
