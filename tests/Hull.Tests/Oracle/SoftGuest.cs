using System;
using Hull.Engine;
using Hull.Memory;

namespace Hull.Tests.Oracle;

/// <summary>
/// The guest around a test on an engine: long mode at CPL 3 with Linux's selectors, code and window at the addresses
/// and with the rights of the native side, and an IDT whose handlers stand on an IST stack that nobody else sees.
/// </summary>
internal sealed class SoftGuest
{
    /// <summary>Linear address of the handlers, 16 bytes a vector; supervisor code.</summary>
    internal const ulong Handlers = System + 0x3000;

    /// <summary>Top of the handlers' stack.</summary>
    internal const ulong StackTop = System + 0x6000;

    /// <summary>Bytes of RAM.</summary>
    internal const ulong RamSize = 0x40_0000;

    private const ulong System = 0x3010_0000;
    private const ulong Ldt = System + 0x800;
    private const ulong Tables = 0x1000;
    private const ulong CodePhysical = 0x1_0000;
    private const ulong WindowPhysical = 0x1_8000;
    private const ulong SystemPhysical = 0x2_0000;
    private const int Vectors = 32;
    private const ulong Present = 1;
    private const ulong Writable = 2;
    private const ulong User = 4;
    private const ulong Touched = 0x60;
    private const ulong NoExecute = 1UL << 63;

    private readonly GuestMemory _memory;

    /// <summary>Lays the guest out in <paramref name="memory"/>.</summary>
    internal SoftGuest(GuestMemory memory)
    {
        _memory = memory;
        BuildPageTables();
        BuildDescriptors();
        byte[] handlers = new byte[Vectors * 16];
        handlers.AsSpan().Fill(0xF4);
        WriteLinear(Handlers, handlers);
        byte[] code = new byte[OracleLayout.CodeSize];
        code.AsSpan().Fill(0xCC);
        WriteLinear(OracleLayout.Code, code);
        WriteLinear(OracleLayout.Window, OracleLayout.MakePattern());
    }

    /// <summary>True for vectors that push an error code. SDM vol. 3A, "Error Code".</summary>
    internal static bool HasErrorCode(int vector) => vector is 8 or (>= 10 and <= 14) or 17 or 21;

    /// <summary>The vector whose handler starts at an address, or -1.</summary>
    internal static int VectorAt(ulong rip) =>
        rip >= Handlers && rip < Handlers + (Vectors * 16) ? (int)(rip - Handlers) / 16 : -1;

    /// <summary>Writes bytes that the guest has mapped, as a device would.</summary>
    internal void WriteLinear(ulong linear, ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            int part = Math.Min(bytes.Length, 0x1000 - (int)(linear & 0xFFF));
            _memory.TryWrite(new GuestPhysical(Physical(linear)), bytes[..part]);
            bytes = bytes[part..];
            linear += (ulong)part;
        }
    }

    /// <summary>Reads bytes that the guest has mapped.</summary>
    internal void ReadLinear(ulong linear, Span<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            int part = Math.Min(bytes.Length, 0x1000 - (int)(linear & 0xFFF));
            _memory.TryRead(new GuestPhysical(Physical(linear)), bytes[..part]);
            bytes = bytes[part..];
            linear += (ulong)part;
        }
    }

    /// <summary>Reads word <paramref name="index"/> below the top of the handlers' stack, 1 is the first pushed.</summary>
    internal ulong ReadPushed(int index) => _memory.Read<ulong>(new GuestPhysical(Physical(StackTop - (ulong)(index * 8))));

    /// <summary>The system registers of the guest at CPL 3, everything else zero.</summary>
    /// <param name="mode32">Compatibility mode.</param>
    /// <param name="segments">Its segments.</param>
    internal static ArchState MakeState(bool mode32, SegmentChoice segments)
    {
        ArchState state = new()
        {
            Cr0 = 0x8005_0033,
            Cr3 = Tables,
            Cr4 = 0x5_0620,
            Efer = 0xD01,
            Xcr0 = 7,
            Rflags = 0x202,
            Gdtr = new DescriptorTableRegister(System, 0x4F),
            Idtr = new DescriptorTableRegister(System + 0x1000, (Vectors * 16) - 1),
            Tr = new SegmentRegister { Selector = 0x40, Attributes = 0x8B, Limit = 0x67, Base = System + 0x2000 },
            Ldtr = new SegmentRegister
            {
                Selector = 0x50,
                Attributes = 0x82,
                Limit = (uint)(OracleSegments.Descriptors.Length * 8) - 1,
                Base = Ldt,
            },
        };
        SegmentRegister none = new() { Attributes = 0x1_0000 };
        state.Segments[0] = mode32 ? OracleSegments.Load(segments.Es) : none;
        state.Segments[1] = mode32
            ? new SegmentRegister { Selector = OracleLayout.UserCode32, Attributes = 0xC0FB, Limit = uint.MaxValue }
            : new SegmentRegister { Selector = OracleLayout.UserCode64, Attributes = 0xA0FB, Limit = uint.MaxValue };
        state.Segments[2] = OracleSegments.Load(mode32 ? segments.Ss : OracleLayout.UserData);
        state.Segments[3] = mode32 ? OracleSegments.Load(segments.Ds) : none;
        state.Segments[4] = none;
        state.Segments[5] = none;
        return state;
    }

    // Code and window lie backwards: what crosses a page must be put together from two places.
    private static ulong Physical(ulong linear) => linear switch
    {
        >= System => linear - System + SystemPhysical,
        >= OracleLayout.Window => Backwards(linear - OracleLayout.Window, WindowPhysical, 3),
        _ => Backwards(linear - OracleLayout.Code, CodePhysical, 2),
    };

    private static ulong Backwards(ulong offset, ulong physical, ulong pages) =>
        physical + ((pages - 1 - (offset >> 12)) << 12) + (offset & 0xFFF);

    private void Put(ulong physical, ulong value) => _memory.Write(new GuestPhysical(physical), value);

    private void BuildPageTables()
    {
        ulong all = Present | Writable | User | Touched;
        Put(Tables, (Tables + 0x1000) | all);
        Put(Tables + 0x1000, (Tables + 0x2000) | all);
        Put(Tables + 0x2000 + (((OracleLayout.Code >> 21) & 0x1FF) * 8), (Tables + 0x3000) | all);
        Put(Tables + 0x2000 + (((System >> 21) & 0x1FF) * 8), (Tables + 0x3000) | all);
        Map(OracleLayout.Code, 2, all);
        Map(OracleLayout.Window, 2, all | NoExecute);
        Map(OracleLayout.ReadOnlyPage, 1, (all & ~Writable) | NoExecute);
        Map(System, 6, Present | Writable | Touched);
    }

    // Code, window and the system's pages share one page table: their bits 20:12 differ.
    private void Map(ulong linear, int pages, ulong flags)
    {
        for (int i = 0; i < pages; i++, linear += 0x1000)
        {
            Put(Tables + 0x3000 + (((linear >> 12) & 0x1FF) * 8), Physical(linear) | flags);
        }
    }

    private void BuildDescriptors()
    {
        ulong[] gdt =
        [
            0, 0x00CF_9B00_0000_FFFF, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_FB00_0000_FFFF, 0x00CF_F300_0000_FFFF,
            0x00AF_FB00_0000_FFFF, 0, 0, 0,
        ];
        ulong tss = System + 0x2000;
        gdt[8] = 0x67 | ((tss & 0xFF_FFFF) << 16) | (0x8BUL << 40) | ((tss >> 24) << 56);
        gdt[9] = tss >> 32;
        for (int i = 0; i < gdt.Length; i++)
        {
            Put(SystemPhysical + (ulong)(i * 8), gdt[i]);
        }

        for (int i = 0; i < OracleSegments.Descriptors.Length; i++)
        {
            Put(SystemPhysical + (Ldt - System) + (ulong)(i * 8), OracleSegments.Descriptors[i]);
        }

        for (int vector = 0; vector < Vectors; vector++)
        {
            // A 64-bit interrupt gate on IST 1; INT3 and INTO may be called from CPL 3.
            ulong handler = Handlers + (ulong)(vector * 16);
            ulong rights = vector is 3 or 4 ? 0xEE01UL : 0x8E01UL;
            ulong at = SystemPhysical + 0x1000 + (ulong)(vector * 16);
            Put(at, (handler & 0xFFFF) | (0x10UL << 16) | (rights << 32) | ((handler >> 16) << 48));
            Put(at + 8, handler >> 32);
        }

        ulong tssPhysical = SystemPhysical + 0x2000;
        Put(tssPhysical + 4, StackTop);
        Put(tssPhysical + 0x24, StackTop);
        _memory.Write(new GuestPhysical(tssPhysical + 0x66), (ushort)0x68);
    }
}
