using System;
using Hull.Memory;

namespace Hull.Tests.Fuzz;

/// <summary>
/// What lies in a fuzzed guest's memory besides its code: descriptor tables, task states, handlers, and page tables of
/// each kind, most of them sound, some of them mutated, some of them noise. Linear addresses are physical ones.
/// </summary>
internal sealed class FuzzWorld(FuzzMachine machine, Random random)
{
    internal const ulong Gdt = 0x2000;
    internal const ulong Idt64 = 0x3000;
    internal const ulong Idt32 = 0x4000;
    internal const ulong Tss = 0x5000;
    internal const ulong Ldt = 0x7000;
    internal const ulong Handlers = 0x8000;
    internal const ulong Tables = 0x1_0000;
    internal const ulong Code = 0x4_0000;
    internal const int CodeSize = 0x1_0000;
    internal const ulong Data = 0x6_0000;
    internal const ulong Stack = 0x8_0000;

    // Selectors of the GDT, the same as AssistGuest's.
    internal const ushort Code64 = 0x08;
    internal const ushort Data0 = 0x10;
    internal const ushort Code32 = 0x18;
    internal const ushort UserData = 0x20 | 3;
    internal const ushort UserCode32 = 0x28 | 3;
    internal const ushort UserCode64 = 0x30 | 3;
    internal const ushort Code16 = 0x38;
    internal const ushort Data16 = 0x40;
    internal const ushort Task = 0x50;

    private const ulong Pml4 = Tables;
    private const ulong Pdpt = Tables + 0x1000;
    private const ulong Directory = Tables + 0x2000;
    private const ulong Leaves = Tables + 0x3000;
    private const ulong PaePdpt = Tables + 0x4000;
    private const ulong Directory32 = Tables + 0x5000;
    private const ulong Leaves32 = Tables + 0x6000;
    private const uint UserWritable = 7;

    /// <summary>CR3 for 4-level tables.</summary>
    internal static ulong Root64 => Pml4;

    /// <summary>CR3 for PAE tables.</summary>
    internal static ulong RootPae => PaePdpt;

    /// <summary>CR3 for 32-bit tables.</summary>
    internal static ulong Root32 => Directory32;

    /// <summary>Writes everything anew.</summary>
    internal void Build()
    {
        machine.Memory.TryClear(new GuestPhysical(0), FuzzMachine.RamSize);
        WriteDescriptors();
        WriteHandlers();
        WritePageTables();
        if (random.Next(3) == 0)
        {
            Mutate(Tables, 0x7000, random.Next(1, 40));
        }

        if (random.Next(12) == 0)
        {
            Noise(Tables + (0x1000u * (ulong)random.Next(7)), 0x1000);
        }

        if (random.Next(4) == 0)
        {
            Mutate(Gdt, 0x100, random.Next(1, 8));
            Mutate(Idt64, 0x2000, random.Next(1, 20));
            Mutate(Tss, 0x100, random.Next(1, 8));
        }
    }

    /// <summary>Changes some quadwords: a bit, or all of them.</summary>
    internal void Mutate(ulong at, int size, int count)
    {
        for (int i = 0; i < count; i++)
        {
            ulong word = at + (8 * (ulong)random.Next(size / 8));
            ulong value = machine.Memory.Read<ulong>(new GuestPhysical(word));
            machine.Write(word, random.Next(3) switch
            {
                0 => (ulong)random.NextInt64() ^ ((ulong)random.Next(2) << 63),
                1 => value ^ (1UL << random.Next(12)),
                _ => value ^ (1UL << random.Next(64)),
            });
        }
    }

    internal void Noise(ulong at, int size)
    {
        byte[] noise = new byte[size];
        random.NextBytes(noise);
        machine.Memory.TryWrite(new GuestPhysical(at), noise);
    }

    private static ulong Segment(uint origin, uint limit, uint attributes) =>
        (limit & 0xFFFF) | ((ulong)(origin & 0xFF_FFFF) << 16) | ((ulong)(attributes & 0xF0FF) << 40)
        | ((ulong)(limit & 0xF_0000) << 32) | ((ulong)(origin >> 24) << 56);

    private void WriteDescriptors()
    {
        Span<ulong> gdt =
        [
            0, Segment(0, 0xF_FFFF, 0xA09B), Segment(0, 0xF_FFFF, 0xC093), Segment(0, 0xF_FFFF, 0xC09B),
            Segment(0, 0xF_FFFF, 0xC0F3), Segment(0, 0xF_FFFF, 0xC0FB), Segment(0, 0xF_FFFF, 0xA0FB),
            Segment(0, 0xFFFF, 0x009B), Segment(0, 0xFFFF, 0x0093), Segment((uint)Ldt, 0x7F, 0x82),
            Segment((uint)Tss, 0x2FF, 0x8B), 0, Segment((uint)Tss, 0x2FF, 0x89), Segment((uint)Data, 0x20, 0x4097),
            Gate(Code32, (uint)Handlers, 0xEC), Gate(Task + 0x10, 0, 0xE5),
        ];
        for (int i = 0; i < gdt.Length; i++)
        {
            machine.Write(Gdt + (8 * (ulong)i), gdt[i]);
            machine.Write(Ldt + (8 * (ulong)i), gdt[i] | (random.Next(4) == 0 ? 0x6000UL << 32 : 0));
        }

        for (uint vector = 0; vector < 256; vector++)
        {
            uint handler = (uint)Handlers + (vector * 16);
            byte access = (byte)(0x8E | (random.Next(4) == 0 ? 0x60 : 0) | random.Next(2));
            machine.Write(Idt64 + (vector * 16), Gate(Code64, handler, access, random.Next(8) == 0 ? 1 : 0));
            machine.Write(Idt64 + (vector * 16) + 8, 0UL);
            machine.Write(Idt32 + (vector * 8), random.Next(32) == 0 ? Gate(Task + 0x10, 0, 0xE5) : Gate(Code32, handler, access));
            machine.Write(vector * 4UL, ((uint)(Handlers >> 4) << 16) | (vector * 16)); // real mode
        }

        // The words of a 64-bit and of a 32-bit task state overlap; either way the inner stacks are somewhere in RAM.
        for (ulong at = 0; at < 0x68; at += 4)
        {
            machine.Write(Tss + at, (uint)Stack - (uint)(random.Next(16) << 8));
        }

        machine.Write(Tss + 8, (uint)Data0);
        machine.Write(Tss + 0x66, (ushort)random.Next(0x60, 0x120));
        Noise(Tss + 0x68, 0x180);
    }

    private static ulong Gate(ushort selector, uint offset, byte access, int parameter = 0) =>
        (offset & 0xFFFF) | ((ulong)selector << 16) | ((ulong)(uint)parameter << 32) | ((ulong)access << 40)
        | ((ulong)(offset >> 16) << 48);

    private void WriteHandlers()
    {
        Noise(Handlers, 0x1000);
        byte[][] bodies = [[0xCF], [0x48, 0xCF], [0xF4], [0x83, 0xC4, 0x04, 0xCF], [0x48, 0x83, 0xC4, 0x08, 0x48, 0xCF], [0xEB, 0xFE]];
        for (uint vector = 0; vector < 256; vector++)
        {
            if (random.Next(8) != 0)
            {
                machine.Memory.TryWrite(new GuestPhysical(Handlers + (vector * 16)), bodies[random.Next(bodies.Length)]);
            }
        }
    }

    private void WritePageTables()
    {
        machine.Write(Pml4, Pdpt | UserWritable);
        machine.Write(Pml4 + 0xFF8, Pdpt | UserWritable);
        machine.Write(Pml4 + 0x800, Pml4 | UserWritable); // the tables map themselves
        machine.Write(Pdpt, Directory | UserWritable);
        machine.Write(Pdpt + 8, Directory | UserWritable);
        machine.Write(Pdpt + 24, FuzzMachine.DeviceAt & 0xC000_0000 | 0x87);
        machine.Write(PaePdpt, Directory | 1);
        machine.Write(PaePdpt + 8, Directory | 1);
        machine.Write(PaePdpt + 24, Directory | 1);
        machine.Write(Directory, Leaves | UserWritable);
        machine.Write(Directory + 8, FuzzMachine.DeviceAt | 0x87);
        machine.Write(Directory + 16, 0x87UL);
        machine.Write(Directory + 24, Directory | UserWritable);
        machine.Write(Directory32, (uint)(Leaves32 | UserWritable));
        machine.Write(Directory32 + 4, (uint)FuzzMachine.DeviceAt | 0x87);
        machine.Write(Directory32 + 8, 0x87u);
        machine.Write(Directory32 + 12, (uint)(Directory32 | UserWritable));
        for (uint i = 0; i < 512; i++)
        {
            ulong flags = UserWritable | 0x60u | (random.Next(4) == 0 ? 0x100u : 0);
            machine.Write(Leaves + (i * 8), (i << 12) | Flags(flags, i));
            machine.Write(Leaves32 + (i * 4), (i << 12) | (uint)Flags(flags, i));
        }
    }

    // Pages of data have rights of all kinds.
    private ulong Flags(ulong flags, uint page) => page is < 0x60 or > 0x7F || random.Next(2) == 0
        ? flags
        : flags ^ (1UL << random.Next(9)) ^ (random.Next(4) == 0 ? 1UL << 63 : 0);
}
