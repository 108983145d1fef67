using System.Collections.Generic;
using Hull.Memory;
using Hull.Platform;

namespace Hull.Boot;

/// <summary>
/// What stands in for a BIOS where none has run: the BIOS data area, and a table of real-mode interrupt vectors whose
/// services all answer "not supported". Boot loaders leave a machine as its BIOS has set it up. Xen takes the place of
/// its real-mode code from the data area, asks for services there, and takes no for an answer.
/// </summary>
internal static class BiosStub
{
    private const int Vectors = 256;
    private const int ConventionalMemoryService = 0x12;
    private const int SystemService = 0x15;

    // iret
    private static readonly byte[] Return = [0xCF];

    // push bp; mov bp, sp; or byte [bp+6], 1; pop bp; iret: the caller gets carry.
    private static readonly byte[] Refuse = [0x55, 0x89, 0xE5, 0x80, 0x4E, 0x06, 0x01, 0x5D, 0xCF];

    // mov ah, 0x86 (no such function), then as above.
    private static readonly byte[] RefuseSystem = [0xB4, 0x86, .. Refuse];

    // mov ax, KiB; iret.
    private static readonly byte[] TellMemory =
        [0xB8, (byte)((BootLayout.ConventionalEnd >> 10) & 0xFF), (byte)(BootLayout.ConventionalEnd >> 18), 0xCF];

    /// <summary>Writes vectors, data area and code. Before the kernel, which may lie over the vectors.</summary>
    internal static void Write(GuestMemory memory)
    {
        List<byte> code = [];
        ushort plain = Add(code, Return);
        ushort refuse = Add(code, Refuse);
        ushort system = Add(code, RefuseSystem);
        ushort conventional = Add(code, TellMemory);
        memory.TryWrite(new GuestPhysical(PlatformMap.BiosStubBase), code.ToArray());
        for (int vector = 0; vector < Vectors; vector++)
        {
            // Exceptions and hardware interrupts must leave the flags of what they interrupt alone.
            ushort offset = vector switch
            {
                < 0x10 or (>= 0x70 and < 0x78) => plain,
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
