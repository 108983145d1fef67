using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using Hull.Boot;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.TestKernels;

/// <summary>How a test kernel ended.</summary>
/// <param name="Value">What it wrote to the exit port.</param>
/// <param name="Text">What it sent through COM1.</param>
internal sealed record TestKernelResult(uint? Value, string Text);

/// <summary>
/// A bare-metal kernel for one test: Multiboot 1, 32-bit protected mode without paging, an IDT whose interrupt handlers
/// count and whose exception handlers end the run. It is a file of addresses, made with Iced's assembler, and runs on a
/// whole machine with test device and exit port.
/// </summary>
internal static class TestKernel
{
    internal const short ExitPort = 0xF4;

    /// <summary>Where handlers count: a double word a vector.</summary>
    internal const int Counts = 0x30_0000;

    /// <summary>Where the last vector that was taken is kept.</summary>
    internal const int Last = 0x30_0400;

    /// <summary>Free for tests.</summary>
    internal const int Data = 0x31_0000;

    /// <summary>An exception ends the run with this and its vector.</summary>
    internal const uint ExceptionValue = 0x40;

    internal const int LocalApic = unchecked((int)0xFEE0_0000);
    internal const int IoApic = unchecked((int)0xFEC0_0000);

    private const uint LoadAddress = 0x10_0000;
    /// <summary>Where the code starts.</summary>
    internal const int Entry = (int)LoadAddress + 0x40;
    private const int IdtAt = 0x20_0000;
    private const int DescriptorsAt = 0x21_0000;
    private const int StackAt = 0x40_0000;
    private const int LimitSeconds = 60;

    /// <summary>Runs a kernel: the body, then a write of EAX to the exit port.</summary>
    internal static TestKernelResult Run(
        EngineKind engine, Action<Assembler> body, string append = "", params BootModule[] modules) =>
        Run(engine, body, 1, append, modules);

    /// <summary>Runs a kernel on several vCPUs.</summary>
    internal static TestKernelResult Run(
        EngineKind engine, Action<Assembler> body, int vcpus, string append = "", params BootModule[] modules)
    {
        StringBuilder text = new();
        Machine machine = Machine.Start(new MachineSpec
        {
            Engine = engine,
            MemoryBytes = 64 << 20,
            VcpuCount = vcpus,
            Kernel = BootBlob.FromBytes("kernel", Assemble(body)),
            CommandLine = append,
            Modules = modules,
            ExitPort = (ushort)ExitPort,
            TestDevice = true,
            RestartOnReset = false,
            Serial = [bytes => text.Append(Encoding.ASCII.GetString(bytes))],
        });
        try
        {
            MachineEnd end = machine.WaitAsync().WaitAsync(TimeSpan.FromSeconds(LimitSeconds)).GetAwaiter().GetResult();
            Assert.True(end.ExitValue is not null, $"{machine.EngineName}: {end.Message}");
            return new TestKernelResult(end.ExitValue, text.ToString());
        }
        finally
        {
            machine.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }
    }

    /// <summary>Routes an input of the I/O APIC to a vector, edge-triggered unless told otherwise.</summary>
    internal static void Route(this Assembler a, int input, int vector, bool level = false)
    {
        a.mov(__dword_ptr[IoApic], 0x11 + (2 * input));
        a.mov(__dword_ptr[IoApic + 0x10], 0);
        a.mov(__dword_ptr[IoApic], 0x10 + (2 * input));
        a.mov(__dword_ptr[IoApic + 0x10], vector | (level ? 0x8000 : 0));
    }

    /// <summary>Drives a line through the test device.</summary>
    internal static void SetLine(this Assembler a, int line, int level)
    {
        a.mov(dx, (short)(0x2000 + line));
        a.mov(al, (sbyte)level);
        a.@out(dx, al);
    }

    /// <summary>EAX = how often a vector was taken.</summary>
    internal static void LoadCount(this Assembler a, int vector) => a.mov(eax, __dword_ptr[Counts + (4 * vector)]);

    /// <summary>The kernel's file, for another machine.</summary>
    internal static byte[] Assemble(Action<Assembler> body)
    {
        Assembler a = new(32);
        Label[] handlers = new Label[256];
        Start(a);
        body(a);
        a.mov(dx, ExitPort);
        a.@out(dx, eax);
        Label end = a.CreateLabel();
        a.Label(ref end);
        a.hlt();
        a.jmp(end);
        for (int vector = 0; vector < handlers.Length; vector++)
        {
            handlers[vector] = a.CreateLabel();
            a.Label(ref handlers[vector]);
            WriteHandler(a, vector);
        }

        using MemoryStream stream = new();
        AssemblerResult result = a.Assemble(
            new StreamCodeWriter(stream), (ulong)Entry, BlockEncoderOptions.ReturnNewInstructionOffsets);
        return ToFile(stream.ToArray(), Array.ConvertAll(handlers, label => result.GetLabelRIP(label)));
    }

    // Descriptor tables, stack, 8259s masked, local APIC on.
    private static void Start(Assembler a)
    {
        a.lgdt(__fword_ptr[DescriptorsAt]);
        a.lidt(__fword_ptr[DescriptorsAt + 8]);
        a.mov(esp, StackAt);
        a.mov(eax, 0x18); // CS is 0x10 already, in the loader's table as in this one
        foreach (AssemblerRegisterSegment segment in (AssemblerRegisterSegment[])[ds, es, ss])
        {
            a.mov(segment, eax);
        }

        a.mov(al, unchecked((sbyte)0xFF));
        a.@out(0x21, al);
        a.@out(0xA1, al);
        a.mov(__dword_ptr[LocalApic + 0xF0], 0x1FF);
        a.mov(__dword_ptr[LocalApic + 0x80], 0);
    }

    private static void WriteHandler(Assembler a, int vector)
    {
        if (vector < 32)
        {
            a.mov(eax, ExceptionValue + (uint)vector);
            a.mov(dx, ExitPort);
            a.@out(dx, eax);
            a.hlt();
            return;
        }

        a.inc(__dword_ptr[Counts + (4 * vector)]);
        a.mov(__dword_ptr[Last], vector);
        a.mov(__dword_ptr[LocalApic + 0xB0], 0);
        a.iretd();
    }

    // The header, the code, and far above the tables.
    private static byte[] ToFile(byte[] code, ulong[] handlers)
    {
        const uint magic = 0x1BAD_B002;
        const uint flags = 0x1_0003;
        byte[] file = new byte[DescriptorsAt + 64 - (int)LoadAddress];
        uint[] header = [magic, flags, unchecked(0 - magic - flags), LoadAddress, LoadAddress, 0, 0, (uint)Entry];
        Buffer.BlockCopy(header, 0, file, 0, 32);
        code.CopyTo(file, Entry - (int)LoadAddress);
        for (int i = 0; i < handlers.Length; i++)
        {
            ulong gate = (handlers[i] & 0xFFFF) | (0x10UL << 16) | (0x8EUL << 40) | (handlers[i] >> 16 << 48);
            BitConverter.TryWriteBytes(file.AsSpan(IdtAt - (int)LoadAddress + (8 * i)), gate);
        }

        List<byte> tables = [0x1F, 0, .. BitConverter.GetBytes(DescriptorsAt + 0x20), 0, 0];
        tables.AddRange([0xFF, 0x07, .. BitConverter.GetBytes(IdtAt), 0, 0]);
        tables.AddRange(new byte[0x20 - tables.Count]);
        foreach (ulong descriptor in (ReadOnlySpan<ulong>)[0, 0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF])
        {
            tables.AddRange(BitConverter.GetBytes(descriptor));
        }

        tables.CopyTo(file, DescriptorsAt - (int)LoadAddress);
        return file;
    }
}
