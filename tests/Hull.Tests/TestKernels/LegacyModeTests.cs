using System;
using System.Diagnostics;
using System.IO;
using Iced.Intel;
using Xunit;
using Xunit.Abstractions;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.TestKernels;

/// <summary>
/// Gates, tasks, far transfers and virtual-8086 mode, the soft engine against QEMU's TCG: the same kernel on both, and what it
/// prints of each case must agree. Skipped where QEMU is not installed.
/// </summary>
public sealed class LegacyModeTests(ITestOutputHelper output)
{
    private const string Qemu = "/usr/bin/qemu-system-x86_64";
    private const uint Virtual8086 = 0x2_0002;
    private const uint ResumeFlag = 0x1_0000;
    private const uint Iopl3 = 0x3000;

    [QemuFact]
    public void EveryCase_EndsAsInQemu()
    {
        string[] hull = TestKernel.Run(EngineKind.Soft, Cases).Text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        string[] qemu = RunQemu(TestKernel.Assemble(Cases)).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        output.WriteLine($"{hull.Length} cases");
        Assert.Equal(qemu.Length, hull.Length);
        int differences = 0;
        for (int i = 0; i < hull.Length; i++)
        {
            string[] want = qemu[i].Split(' ');
            string[] have = hull[i].Split(' ');
            for (int word = 0; word < want.Length; word++)
            {
                if (word >= have.Length || !IsSame(word, want[word], have[word]))
                {
                    differences++;
                    string what = word < have.Length ? have[word] : "none";
                    output.WriteLine($"case {i} {want[0]}, word {word}: QEMU {want[word]}, Hull {what}");
                }
            }
        }

        Assert.Equal(0, differences);
        Assert.True(hull.Length > 30);
    }

    // A fault saves RF as 1: SDM vol. 3B, "Instruction-Breakpoint Exception Condition". QEMU's saves 0.
    private static bool IsSame(int word, string qemu, string hull) =>
        qemu == hull || (word is LegacyKernel.FlagsWord or LegacyKernel.FlagsWordWithError
            && (Convert.ToUInt32(qemu, 16) | ResumeFlag) == Convert.ToUInt32(hull, 16));

    private static void Cases(Assembler a)
    {
        LegacyKernel kernel = new(a);
        int number = 0;
        void Case(Action<Assembler> code, Action<Assembler>? gate = null, uint flags = 2, bool user = true) =>
            kernel.Case((char)('A' + (number++ % 26)), code, gate, flags, user);
        void Bytes(params byte[] code) => Case(c => c.db(code));

        // Tasks.
        Case(static c => c.call(LegacyKernel.Task, 0), user: false);
        Case(static c => c.call(LegacyKernel.TaskGate, 0));
        Case(static c => c.jmp(LegacyKernel.Task, 0));
        Case(static c => { c.call(LegacyKernel.TaskGate, 0); c.@int(LegacyKernel.End); }, static c => c.iretd());
        Case(static c => c.@int(LegacyKernel.TaskVector));
        Case(static c => { c.@int(LegacyKernel.TaskVector); c.@int(LegacyKernel.End); }, static c => c.iretd());
        Case(static c => c.call(LegacyKernel.Task, 0), static c => c.call(LegacyKernel.Task, 0));
        Case(static c => c.jmp(LegacyKernel.OuterTask, 0), user: false);
        Case(static c => c.call(LegacyKernel.OuterTask, 0));
        Case(static c => c.jmp(LegacyKernel.Task, 0), static c => c.jmp(LegacyKernel.OuterTask, 0));

        // Tasks of the 286. The upper halves of their registers belong to nobody: SDM vol. 3A, "16-Bit Task-State Segment".
        Case(static c => c.jmp(LegacyKernel.Task16, 0), Narrow);
        Case(static c => c.call(LegacyKernel.Task16, 0), Narrow);
        Case(static c => c.call(LegacyKernel.Task16, 0), static c => c.iretd());

        // Call gates and far transfers.
        Case(static c => { c.push(0x11223344); c.push(0x55667788); c.call(LegacyKernel.CallGate, 0); });
        Case(
            static c =>
            {
                c.push(1);
                c.push(2);
                c.call(LegacyKernel.CallGate, 0);
                c.@int(LegacyKernel.End);
            },
            static c => c.retf(8));
        Case(static c => { c.push(0x11223344); c.push(0x55667788); c.call(LegacyKernel.CallGate16, 0); });
        Case(static c => c.jmp(LegacyKernel.CallGate, 0));
        Case(static c => c.call(LegacyKernel.CallGate, 0), user: false);
        Case(static c => c.jmp(LegacyKernel.CallGate, 0), user: false);
        Case(static c => c.call(LegacyKernel.AbsentGate, 0));
        Case(static c => c.call(LegacyKernel.Code, LegacyKernel.GateCode));
        Case(static c => c.call(LegacyKernel.Conforming, LegacyKernel.GateCode));
        Case(
            static c =>
            {
                c.call(LegacyKernel.Conforming, LegacyKernel.GateCode);
                c.@int(LegacyKernel.End);
            },
            static c => c.retf());
        Case(static c => c.call(0xFFF8, 0));
        Case(static c => c.call(0, 0));
        Case(static c => c.call(LegacyKernel.Data, 0));
        Case(static c => c.call(LegacyKernel.Ldt, 0), user: false);

        // Returns outwards.
        Case(
            static c =>
            {
                c.push(LegacyKernel.UserData);
                c.push(0x357000);
                c.push(LegacyKernel.UserCode);
                c.push((int)LegacyKernel.GateCode);
                c.retf();
            },
            user: false);
        Case(
            static c =>
            {
                c.push(LegacyKernel.Data);
                c.push(0x357000);
                c.push(LegacyKernel.UserCode);
                c.push((int)LegacyKernel.GateCode);
                c.retf();
            },
            user: false);
        Case(static c => { c.push(LegacyKernel.Code); c.push((int)LegacyKernel.GateCode); c.retf(); });
        Case(
            static c =>
            {
                c.pushfd();
                c.push(LegacyKernel.UserCode);
                c.push((int)LegacyKernel.GateCode);
                c.iretd();
            });
        Case(static c => { c.push(0x4002); c.popfd(); c.iretd(); });

        // Segment loads.
        foreach (ushort selector in (ushort[])[0, 3, 8, 0x10, 0x18, 0x1B, 0x23, 0x58, 0x68, 0x6B, 0x60, 0x40, 0xFFF8, 4])
        {
            Case(c => { c.mov(eax, selector); c.mov(es, eax); c.@int(LegacyKernel.End); });
            Case(c => { c.mov(eax, selector); c.mov(ss, eax); c.@int(LegacyKernel.End); });
            Action<Assembler> asks = c =>
            {
                c.mov(eax, selector);
                c.lar(ebx, eax);
                c.and(ebx, 0xF0FF00);
                c.lsl(ecx, eax);
                c.verr(ax);
                c.setz(dl);
                c.verw(ax);
                c.@int(LegacyKernel.End);
            };
            Case(asks);
            Case(asks, user: false);
        }

        Case(
            static c =>
            {
                c.mov(eax, LegacyKernel.Ldt);
                c.lldt(ax);
                c.mov(eax, 0x2F);
                c.mov(fs, eax);
                c.@int(LegacyKernel.End);
            },
            user: false);
        Case(static c => { c.mov(eax, LegacyKernel.Data); c.lldt(ax); }, user: false);
        Case(static c => { c.mov(eax, LegacyKernel.Task); c.ltr(ax); c.@int(LegacyKernel.End); }, user: false);
        Case(static c => { c.mov(eax, LegacyKernel.OuterTask); c.ltr(ax); }, user: false);

        // Exceptions of level 3, and what only level 0 may.
        Bytes(0xCC);
        Bytes(0xF4);
        Bytes(0xFA);
        Bytes(0x0F, 0x0B);
        Bytes(0xCD, 0x20);
        Bytes(0xCD, 0xFF);
        Bytes(0xE4, 0x60);
        Bytes(0x0F, 0x20, 0xC0);
        Case(static c => { c.mov(al, 127); c.add(al, 1); c.into(); });
        Case(static c => { c.xor(ecx, ecx); c.div(ecx); });
        Case(static c => { c.mov(eax, 0x101); c.push(eax); c.popfd(); c.nop(); c.nop(); });

        Case(static c => { c.mov(eax, 5); c.mov(ebx, 7); c.arpl(ax, bx); c.@int(LegacyKernel.End); });
        Case(static c => { c.push(1); c.push(9); c.mov(eax, 10); c.bound(eax, __dword_ptr[esp]); });
        Case(static c => { c.mov(ebp, esp); c.enter(16, 3); c.pushad(); c.popad(); c.@int(LegacyKernel.End); });
        Case(static c => { c.mov(eax, 0x19); c.daa(); c.aaa(); c.@int(LegacyKernel.End); });

        // Virtual-8086 mode.
        foreach (uint flags in (uint[])[Virtual8086, Virtual8086 | Iopl3])
        {
            byte[][] codes =
            [
                [0xCD, LegacyKernel.End], [0xCD, 0x21], [0xFA, 0xCD, LegacyKernel.End], [0xFB, 0xCD, LegacyKernel.End],
                [0x9C, 0x58, 0xCD, LegacyKernel.End],
                [0x68, 0x16, 0x02, 0x9D, 0xCD, LegacyKernel.End],
                [0x9C, 0x68, 0x00, 0x08, 0x68, 0x18, 0x00, 0xCF], [0xF4], [0xEC], [0xCC], [0xB8, 0x34, 0x12, 0x8E, 0xD8, 0xCD, LegacyKernel.End],
                [0xEA, 0x10, 0x00, 0x00, 0x08], [0x9A, 0x10, 0x00, 0x00, 0x08], [0x63, 0xC0], [0x0F, 0x00, 0xC0], [0x0F, 0x02, 0xC0],
                [0x66, 0x9C, 0x66, 0x58, 0xCD, LegacyKernel.End], [0xCD, LegacyKernel.TaskVector],
            ];
            foreach (byte[] code in codes)
            {
                byte[] padded = new byte[32];
                padded.AsSpan().Fill(0x90);
                code.CopyTo(padded, 0);
                padded[24] = 0xCD;
                padded[25] = LegacyKernel.End;
                Case(c => c.db(padded), flags: flags);
            }
        }

        a.mov(eax, 1);
    }

    private static void Narrow(Assembler c)
    {
        foreach (AssemblerRegister32 register in (AssemblerRegister32[])[eax, ecx, edx, ebx, ebp, esi, edi, esp])
        {
            c.and(register, 0xFFFF);
        }
    }

    private static string RunQemu(byte[] kernel)
    {
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(file, kernel);
            string[] arguments =
            [
                "-accel", "tcg", "-cpu", "max,vme=off", "-m", "64M", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", file,
            ];
            ProcessStartInfo start = new(Qemu, arguments)
            {
                RedirectStandardOutput = true,
                RedirectStandardInput = true,
            };
            using Process process = Process.Start(start)!; // a new process: never null
            process.StandardInput.Close();
            string text = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return text;
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <summary>Skipped where there is no QEMU.</summary>
    private sealed class QemuFactAttribute : FactAttribute
    {
        public QemuFactAttribute() => Skip = File.Exists(Qemu) ? null : $"{Qemu} is not installed";
    }
}
