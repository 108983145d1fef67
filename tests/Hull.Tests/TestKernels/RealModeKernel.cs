using System;
using System.Collections.Generic;
using System.IO;
using Hull.Boot;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.TestKernels;

/// <summary>
/// A bare-metal kernel for one test that leaves protected mode at once: Multiboot 1, linked at 32 KiB, 16-bit code with
/// all segments 0, the BIOS's vectors, interrupts off. It ends with a write of EAX to the exit port.
/// </summary>
internal static class RealModeKernel
{
    /// <summary>Free for tests.</summary>
    internal const int Data = 0x4000;

    private const uint LoadAddress = 0x8000;
    private const uint TableAt = LoadAddress + 0x20;
    private const uint StartAt = LoadAddress + 0x40;
    private const uint LimitedAt = LoadAddress + 0x60;
    private const uint RealAt = LoadAddress + 0xC0;
    private const int StackAt = 0x7000;
    private const int LimitSeconds = 60;

    /// <summary>Runs the body in real mode.</summary>
    /// <returns>EAX at its end.</returns>
    internal static uint Run(EngineKind engine, Action<Assembler> body)
    {
        MachineEnd end = RunToEnd(engine, body);
        Assert.True(end.ExitValue is not null, $"{engine}: {end.Message}");
        return end.ExitValue.Value;
    }

    /// <summary>Runs the body in real mode, however it ends.</summary>
    internal static MachineEnd RunToEnd(EngineKind engine, Action<Assembler> body)
    {
        Machine machine = Machine.Start(new MachineSpec
        {
            Engine = engine,
            MemoryBytes = 64 << 20,
            Kernel = BootBlob.FromBytes("kernel", ToFile(body)),
            ExitPort = (ushort)TestKernel.ExitPort,
            TestDevice = true,
            RestartOnReset = false,
        });
        try
        {
            return machine.WaitAsync().WaitAsync(TimeSpan.FromSeconds(LimitSeconds)).GetAwaiter().GetResult();
        }
        finally
        {
            machine.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }
    }

    private static byte[] ToFile(Action<Assembler> body)
    {
        const uint magic = 0x1BAD_B002;
        const uint flags = 0x1_0000;
        uint[] header = [magic, flags, unchecked(0 - magic - flags), LoadAddress, LoadAddress, 0, 0, StartAt];
        List<byte> file = [];
        foreach (uint word in header)
        {
            file.AddRange(BitConverter.GetBytes(word));
        }

        // GDT: its own pseudo-descriptor in the null entry, then code and data of 64 KiB.
        file.AddRange([0x17, 0, .. BitConverter.GetBytes(TableAt), 0, 0]);
        file.AddRange(BitConverter.GetBytes(0x0000_9B00_0000_FFFFUL));
        file.AddRange(BitConverter.GetBytes(0x0000_9300_0000_FFFFUL));
        Add(file, StartAt, 32, static a =>
        {
            a.lgdt(__fword_ptr[TableAt]);
            a.db(0xEA);
            a.db(BitConverter.GetBytes(LimitedAt));
            a.db(8, 0);
        });
        Add(file, LimitedAt, 16, static a =>
        {
            a.mov(eax, 16);
            foreach (AssemblerRegisterSegment segment in (AssemblerRegisterSegment[])[ds, es, ss, fs, gs])
            {
                a.mov(segment, eax);
            }

            a.mov(eax, cr0);
            a.and(eax, -2);
            a.mov(cr0, eax);
            a.db(0xEA);
            a.db(BitConverter.GetBytes((ushort)RealAt));
            a.db(0, 0);
        });
        Add(file, RealAt, 16, a =>
        {
            a.xor(ax, ax);
            foreach (AssemblerRegisterSegment segment in (AssemblerRegisterSegment[])[ds, es, ss, fs, gs])
            {
                a.mov(segment, eax);
            }

            a.mov(esp, StackAt);
            body(a);
            a.mov(dx, TestKernel.ExitPort);
            a.@out(dx, eax);
            Label end = a.CreateLabel();
            a.Label(ref end);
            a.hlt();
            a.jmp(end);
        });
        return [.. file];
    }

    private static void Add(List<byte> file, uint at, int bits, Action<Assembler> code)
    {
        Assembler a = new(bits);
        code(a);
        using MemoryStream stream = new();
        a.Assemble(new StreamCodeWriter(stream), at);
        int offset = (int)(at - LoadAddress);
        Assert.True(file.Count <= offset, $"what lies before 0x{at:x} is too long");
        file.AddRange(new byte[offset - file.Count]);
        file.AddRange(stream.ToArray());
    }
}
