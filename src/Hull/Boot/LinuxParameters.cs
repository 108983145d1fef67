using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Text;
using Hull.Host;
using Hull.Memory;

namespace Hull.Boot;

/// <summary>
/// Writes Linux's struct boot_params, the "zero page". Linux, "The Linux/x86 Boot Protocol" and "Zero Page".
/// </summary>
internal static class LinuxParameters
{
    private const int RsdpAt = 0x70;
    private const int InitrdHighAt = 0xC0;
    private const int InitrdSizeHighAt = 0xC4;
    private const int MapCountAt = 0x1E8;
    private const int LoaderTypeAt = 0x210;
    private const int InitrdAt = 0x218;
    private const int InitrdSizeAt = 0x21C;
    private const int CommandLineAt = 0x228;
    private const int MapAt = 0x2D0;
    private const int MapEntrySize = 20;
    private const byte UndefinedLoader = 0xFF;

    /// <summary>Writes the parameters and the command line.</summary>
    /// <exception cref="HullException">The command line is too long for this kernel.</exception>
    internal static void Write(
        GuestMemory memory,
        SetupHeader header,
        string commandLine,
        Placement initrd,
        ulong rsdp,
        string name)
    {
        WriteCommandLine(memory, commandLine, header.CommandLineLimit, name);
        byte[] page = new byte[GuestMemory.PageSize];
        header.Bytes.CopyTo(page.AsSpan(SetupHeader.Start));
        page[LoaderTypeAt] = UndefinedLoader;
        BinaryPrimitives.WriteUInt64LittleEndian(page.AsSpan(RsdpAt), rsdp);
        Put(page, InitrdAt, (uint)initrd.Start);
        Put(page, InitrdHighAt, (uint)(initrd.Start >> 32));
        Put(page, InitrdSizeAt, (uint)initrd.Size);
        Put(page, InitrdSizeHighAt, (uint)(initrd.Size >> 32));
        Put(page, CommandLineAt, (uint)BootLayout.CommandLine);
        WriteMap(page, E820.Build(memory));
        memory.TryWrite(new GuestPhysical(BootLayout.ZeroPage), page);
    }

    /// <summary>Writes a command line, zero-terminated, where <see cref="BootLayout"/> says.</summary>
    /// <exception cref="HullException">It is longer than the limit.</exception>
    internal static void WriteCommandLine(GuestMemory memory, string commandLine, uint limit, string name)
    {
        byte[] line = new byte[Encoding.UTF8.GetByteCount(commandLine) + 1];
        Encoding.UTF8.GetBytes(commandLine, line);
        long longest = Math.Min(limit, BootLayout.CommandLineRoom - 1);
        if (line.Length - 1 > longest)
        {
            throw new HullException(
                $"the command line has {line.Length - 1} bytes and {name} takes {longest}: shorten --append");
        }

        memory.TryWrite(new GuestPhysical(BootLayout.CommandLine), line);
    }

    private static void WriteMap(byte[] page, List<E820Entry> map)
    {
        page[MapCountAt] = (byte)map.Count;
        Span<byte> raw = page.AsSpan(MapAt);
        foreach (E820Entry entry in map)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(raw, entry.Start);
            BinaryPrimitives.WriteUInt64LittleEndian(raw[8..], entry.Length);
            BinaryPrimitives.WriteUInt32LittleEndian(raw[16..], (uint)entry.Type);
            raw = raw[MapEntrySize..];
        }
    }

    private static void Put(byte[] page, int at, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(page.AsSpan(at), value);
}
