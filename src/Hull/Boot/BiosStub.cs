using System.Collections.Generic;
using Hull.Memory;
using Hull.Platform;

namespace Hull.Boot;

/// <summary>
/// What stands in for a BIOS where none has run: the BIOS data area, and a table of real-mode interrupt vectors whose
/// services all answer "not supported", and whose hardware interrupts end at the 8259s. Boot loaders leave a machine as
/// its BIOS has set it up. Xen takes the place of its real-mode code from the data area, asks for services there, and
/// takes no for an answer. kvm-unit-tests' real-mode program halts there until the timer ticks.
/// </summary>
internal static class BiosStub
{
    private const ulong RestartAt = 0xF_FFF0;
    private const int Vectors = 256;
    private const int TimerVector = 8;
    private const int ConventionalMemoryService = 0x12;
    private const int SystemService = 0x15;

    // iret
    private static readonly byte[] Return = [0xCF];

    // The timer: one more tick since midnight (a double word at 46Ch, 1800B0h to the day; a byte at 470h says that it is
    // over), then who has hooked the tick, then the end of the interrupt.
    private static readonly byte[] Tick =
    [
        0x1E, 0x50, 0x31, 0xC0, 0x8E, 0xD8, // push ds; push ax; xor ax, ax; mov ds, ax
        0x66, 0xFF, 0x06, 0x6C, 0x04, // inc dword [46Ch]
        0x66, 0x81, 0x3E, 0x6C, 0x04, 0xB0, 0x00, 0x18, 0x00, 0x72, 0x0D, // cmp dword [46Ch], 1800B0h; jb over
        0x66, 0xC7, 0x06, 0x6C, 0x04, 0, 0, 0, 0, 0xFE, 0x06, 0x70, 0x04, // mov dword [46Ch], 0; inc byte [470h]
        0xCD, 0x1C, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0x1F, 0xCF, // over: int 1Ch; mov al, 20h; out 20h, al; pop ax; pop ds; iret
    ];

    // push ax; mov al, 20h; out 20h, al; pop ax; iret: where nothing is in service, it ends nothing.
    private static readonly byte[] EndAtMaster = [0x50, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF];

    // The same, at the slave first.
    private static readonly byte[] EndAtSlave = [0x50, 0xB0, 0x20, 0xE6, 0xA0, 0xE6, 0x20, 0x58, 0xCF];

    // push bp; mov bp, sp; or byte [bp+6], 1; pop bp; iret: the caller gets carry.
    private static readonly byte[] Refuse = [0x55, 0x89, 0xE5, 0x80, 0x4E, 0x06, 0x01, 0x5D, 0xCF];

    // mov ah, 0x86 (no such function), then as above.
    private static readonly byte[] RefuseSystem = [0xB4, 0x86, .. Refuse];

    // mov ax, KiB; iret.
    private static readonly byte[] TellMemory =
        [0xB8, (byte)((BootLayout.ConventionalEnd >> 10) & 0xFF), (byte)(BootLayout.ConventionalEnd >> 18), 0xCF];

    // Where a processor starts after reset, and where who is in real mode jumps for one (Linux with reboot=b):
    // mov dx, 0CF9h; mov al, 6; out dx, al; cli; hlt; jmp to the hlt.
    private static readonly byte[] Restart =
    [
        0xBA, PlatformMap.ResetPort & 0xFF, PlatformMap.ResetPort >> 8, 0xB0, 0x06, 0xEE, 0xFA, 0xF4, 0xEB, 0xFD,
    ];

    /// <summary>Writes the code at F000h:FFF0h alone, which resets the machine: every kernel may go there.</summary>
    internal static void WriteRestart(GuestMemory memory) => memory.TryWrite(new GuestPhysical(RestartAt), Restart);

    /// <summary>Writes vectors, data area and code. Before the kernel, which may lie over the vectors.</summary>
    internal static void Write(GuestMemory memory)
    {
        List<byte> code = [];
        ushort plain = Add(code, Return);
        ushort tick = Add(code, Tick);
        ushort master = Add(code, EndAtMaster);
        ushort slave = Add(code, EndAtSlave);
        ushort refuse = Add(code, Refuse);
        ushort system = Add(code, RefuseSystem);
        ushort conventional = Add(code, TellMemory);
        memory.TryWrite(new GuestPhysical(PlatformMap.BiosStubBase), code.ToArray());
        for (int vector = 0; vector < Vectors; vector++)
        {
            // Exceptions and hardware interrupts must leave the flags of what they interrupt alone.
            ushort offset = vector switch
            {
                TimerVector => tick,
                > TimerVector and < 0x10 => master,
                >= 0x70 and < 0x78 => slave,
                < TimerVector => plain,
                ConventionalMemoryService => conventional,
                SystemService => system,
                _ => refuse,
            };
            const uint segment = (uint)(PlatformMap.BiosStubBase >> 4);
            memory.Write(new GuestPhysical((ulong)vector * 4), (segment << 16) | offset);
        }

        WriteDataArea(memory);
    }

    // Segment 0x40: the serial ports, where the extended data area is, and KiB of memory below it.
    private static void WriteDataArea(GuestMemory memory)
    {
        ushort[] ports = [PlatformMap.Com1Port, PlatformMap.Com2Port, PlatformMap.Com3Port, PlatformMap.Com4Port];
        for (int i = 0; i < ports.Length; i++)
        {
            memory.Write(new GuestPhysical(0x400 + (2 * (ulong)i)), ports[i]);
        }

        memory.Write(new GuestPhysical(0x40E), (ushort)(BootLayout.ConventionalEnd >> 4));
        memory.Write(new GuestPhysical(0x413), (ushort)(BootLayout.ConventionalEnd >> 10));
    }

    private static ushort Add(List<byte> code, byte[] routine)
    {
        ushort at = (ushort)code.Count;
        code.AddRange(routine);
        return at;
    }
}
