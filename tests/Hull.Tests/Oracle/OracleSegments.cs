using System;
using System.Runtime.InteropServices;
using Hull.Engine;

namespace Hull.Tests.Oracle;

/// <summary>ES, SS and DS of a 32-bit test, as selectors: of the flat segment, null, or of <see cref="OracleSegments"/>.</summary>
internal readonly record struct SegmentChoice(ushort Es, ushort Ss, ushort Ds)
{
    /// <summary>All flat.</summary>
    internal static SegmentChoice Flat => new(OracleLayout.UserData, OracleLayout.UserData, OracleLayout.UserData);
}

/// <summary>
/// An LDT of segments that are not flat: their bases are near 0, and their limits cut the window between two pages, so that what
/// hits the window hits a limit often. The host gets it by modify_ldt(2), the guest has the same one in its memory.
/// </summary>
internal static unsafe class OracleSegments
{
    private const nint ModifyLdt = 154;
    private const uint Second = (uint)(OracleLayout.Window >> 12) + 1;

    // Contents of modify_ldt: which are the two type bits 3:2 of a descriptor.
    private const uint Data = 0;
    private const uint ExpandDown = 1;
    private const uint Code = 2; // the kernel takes no conforming ones

    // The first ones.
    private const int WritableRows = 9;

    // No locked access crosses a line that did not cross it without the base.
    private const uint Line = 64;

    private static readonly Row[] Rows =
    [
        new(Data, Second - 1), // writable: the first page of the window
        new(Data, Second),
        new(Data, Second + 5),
        new(ExpandDown, Second - 1), // all but the first page
        new(ExpandDown, Second),
        new(ExpandDown, Second - 2),
        new(Data, Second, Base: Line),
        new(ExpandDown, Second - 1, Base: 3 * Line),
        new(Data, Second + 5, Base: uint.MaxValue - (2 * Line) + 1), // addresses wrap
        new(ExpandDown, Second - 1, Big: false), // nothing of the window: the upper bound is 64 KiB
        new(Data, Second - 1, ReadOnly: true),
        new(Data, Second, ReadOnly: true),
        new(ExpandDown, Second - 1, ReadOnly: true),
        new(Data, 0x8_1234, Pages: false), // the window lies behind it
        new(ExpandDown, 0x1234, Pages: false, Base: 2 * Line), // and in this one
        new(Data, 0x234, Pages: false, Big: false, ReadOnly: true),
        new(Code, Second),
    ];

    /// <summary>The LDT's descriptors as bytes. SDM vol. 3A, "Segment Descriptors".</summary>
    internal static ulong[] Descriptors { get; } = Array.ConvertAll(Rows, static row => row.Descriptor);

    /// <summary>Gives the LDT to this process; rows that are there already stay the same.</summary>
    /// <returns>False when the host's kernel has no modify_ldt.</returns>
    internal static bool TryInstall()
    {
        for (uint i = 0; i < Rows.Length; i++)
        {
            UserDescriptor wish = Rows[i].Wish(i);
            if (NativeLibc.Syscall(ModifyLdt, 0x11, (nint)(&wish), sizeof(UserDescriptor), 0) != 0)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Segments for a test: SS is writable, or loading it would fault.</summary>
    internal static SegmentChoice Choose(OracleRandom random)
    {
        return new SegmentChoice(Initial(), random.OneIn(3) ? OracleLayout.UserData : Stack(random), Initial());

        ushort Initial() => random.Below(8) switch
        {
            0 or 1 => OracleLayout.UserData,
            2 => 0, // with another RPL it would not survive a switch of threads: the host's kernel makes it 0
            _ => Selector(random.Below(Rows.Length)),
        };
    }

    /// <summary>A selector that a data segment register takes; one time in twelve one behind the table.</summary>
    internal static ushort Any(OracleRandom random) => Selector(random.Below(Rows.Length + 1));

    /// <summary>A selector that SS takes.</summary>
    internal static ushort Stack(OracleRandom random) => Selector(random.Below(WritableRows));

    /// <summary>Readable code.</summary>
    internal static ushort CodeSelector => Selector(Rows.Length - 1);

    /// <summary>The base that a selector of a test's segment brings.</summary>
    internal static uint BaseOf(ushort selector) => (selector & 4) == 0 ? 0 : Rows[selector >> 3].Base;

    /// <summary>What a selector brings into a segment register.</summary>
    internal static SegmentRegister Load(ushort selector)
    {
        if (selector < 4)
        {
            return new SegmentRegister { Selector = selector, Attributes = 0x1_0000 };
        }

        if ((selector & 4) == 0)
        {
            return new SegmentRegister { Selector = selector, Attributes = 0xC0F3, Limit = uint.MaxValue };
        }

        Row row = Rows[selector >> 3];
        return new SegmentRegister
        {
            Selector = selector,
            Attributes = (uint)(row.Descriptor >> 40) & 0xF0FF,
            Limit = row.Pages ? (row.Limit << 12) | 0xFFF : row.Limit,
            Base = row.Base,
        };
    }

    private static ushort Selector(int row) => (ushort)((row << 3) | 7);

    private readonly record struct Row(
        uint Contents, uint Limit, bool ReadOnly = false, bool Big = true, bool Pages = true, uint Base = 0)
    {
        // Present, DPL 3, accessed as the kernel makes it, AVL clear.
        internal ulong Descriptor => (Limit & 0xFFFF) | ((ulong)(Limit >> 16) << 48)
            | (0xF1UL << 40) | ((ulong)Contents << 42) | (ReadOnly ? 0 : 1UL << 41) | (Pages ? 1UL << 55 : 0)
            | (Big ? 1UL << 54 : 0) | ((ulong)(Base & 0xFF_FFFF) << 16) | ((ulong)(Base >> 24) << 56);

        internal UserDescriptor Wish(uint entry) => new()
        {
            Entry = entry,
            Base = Base,
            Limit = Limit,
            Flags = (Big ? 1u : 0) | (Contents << 1) | (ReadOnly ? 8u : 0) | (Pages ? 0x10u : 0),
        };
    }

    /// <summary>The kernel's struct user_desc; its flags: seg_32bit, contents, read_exec_only, limit_in_pages.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct UserDescriptor
    {
        internal uint Entry;
        internal uint Base;
        internal uint Limit;
        internal uint Flags;
    }
}
