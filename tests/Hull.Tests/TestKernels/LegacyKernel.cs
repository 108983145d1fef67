using System;
using System.IO;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.TestKernels;

/// <summary>
/// A test kernel that does what 32-bit systems did with segments: gates, tasks, virtual-8086. A case starts from fresh tables,
/// goes to a level with some code, and ends in a handler, which records the frame that it found; then the tables are recorded
/// too, and all is printed on COM1. So two machines can be compared by their text.
/// </summary>
internal sealed class LegacyKernel
{
    internal const ushort OuterTask = 0x08;
    internal const ushort Code = 0x10;
    internal const ushort Data = 0x18;
    internal const ushort UserCode = 0x23;
    internal const ushort UserData = 0x2B;
    internal const ushort Task = 0x30;
    internal const ushort TaskGate = 0x38;
    internal const ushort CallGate = 0x40;
    internal const ushort CallGate16 = 0x48;
    internal const ushort LowCode = 0x50;
    internal const ushort Conforming = 0x58;
    internal const ushort Ldt = 0x60;
    internal const ushort Absent = 0x68;
    internal const ushort AbsentGate = 0x70;
    internal const ushort Task16 = 0x78;
    private const ushort SmallData = 0x80;

    /// <summary>Where a case's own code lies: at its level, and what gates and tasks lead to.</summary>
    internal const uint CaseCode = 0x33_0000;
    internal const uint GateCode = 0x33_1000;
    internal const uint Virtual8086Code = 0x8000;

    /// <summary>The printed word that is EFLAGS of the frame: without an error code, and with one.</summary>
    internal const int FlagsWord = 15;
    internal const int FlagsWordWithError = 16;

    /// <summary>What ends a case, from any level.</summary>
    internal const byte End = 0x80;
    internal const byte TaskVector = 0x81;

    internal const uint UserStack = 0x35_8000;
    private const uint TablesAt = 0x32_0000;
    private const uint TemplateAt = 0x34_0000;
    private const uint OuterTss = TablesAt + 0x1000;
    private const uint InnerTss = TablesAt + 0x1100;
    private const uint Tss16 = TablesAt + 0x1200;
    private const uint Idt = TablesAt + 0x2000;
    private const uint TableBytes = 0x3000;
    private const uint Stubs = 0x33_4000;
    private const uint ResetStub = Stubs;
    private const uint EnterStub = Stubs + 0x100;
    private const uint FinishStub = Stubs + 0x200;
    private const uint PrintStub = Stubs + 0x400;
    private const uint VectorStubs = Stubs + 0x800;
    private const uint InnerStack = 0x35_0000;
    private const uint TaskStack = 0x35_4000;
    private const int Records = 0x36_0000;
    private const int RecordPointer = 0x35_F000;
    private const int SavedStack = 0x35_F004;
    private const int StackBytes = 0x1_0000;

    private readonly Assembler _a;

    internal LegacyKernel(Assembler a)
    {
        _a = a;
        WriteTemplate();
        WriteStubs();
    }

    /// <summary>Runs code at level 0 or 3, or in virtual-8086 mode, and prints what came of it.</summary>
    internal void Case(char name, Action<Assembler> code, Action<Assembler>? gate = null, uint flags = 2, bool user = true)
    {
        uint[] frame = Frame(flags, user);
        bool virtual8086 = (flags & 0x2_0000) != 0;
        Put(virtual8086 ? Virtual8086Code : CaseCode, Assemble(code, virtual8086 ? 0 : CaseCode, virtual8086 ? 16 : 32));
        Put(GateCode, Assemble(gate ?? (static a => a.@int(End)), GateCode));
        _a.mov(eax, ResetStub);
        _a.call(eax);
        foreach (uint value in frame)
        {
            _a.push(value);
        }

        _a.mov(eax, EnterStub);
        _a.call(eax);
        _a.add(esp, 4 * frame.Length);
        _a.mov(dl, (sbyte)name);
        _a.mov(eax, PrintStub);
        _a.call(eax);
    }

    // For IRET, the last is pushed last.
    private static uint[] Frame(uint flags, bool user) => (flags & 0x2_0000) != 0
        ? [0x1234, 0x2345, 0x3456, 0x4567, 0x800, 0x1000, flags, Virtual8086Code >> 4, 0]
        : user ? [UserData, UserStack, flags, UserCode, CaseCode]
        : [flags, Code, CaseCode];

    private static byte[] Assemble(Action<Assembler> code, uint at, int bits = 32)
    {
        Assembler a = new(bits);
        code(a);
        a.@int(End);
        using MemoryStream stream = new();
        a.Assemble(new StreamCodeWriter(stream), at);
        return stream.ToArray();
    }

    private void Put(uint at, ReadOnlySpan<byte> bytes)
    {
        byte[] words = new byte[(bytes.Length + 3) & ~3];
        bytes.CopyTo(words);
        for (int i = 0; i < words.Length; i += 4)
        {
            _a.mov(__dword_ptr[(long)at + i], BitConverter.ToUInt32(words, i));
        }
    }

    private void Put(uint at, ulong value) => Put(at, BitConverter.GetBytes(value));

    private static ulong Segment(uint at, uint limit, uint access, uint flags = 0) =>
        (limit & 0xFFFF) | ((ulong)(at & 0xFF_FFFF) << 16) | ((ulong)access << 40) | ((ulong)(limit >> 16) << 48)
        | ((ulong)flags << 52) | ((ulong)(at >> 24) << 56);

    private static ulong Gate(ushort selector, uint offset, uint access, uint parameters = 0) =>
        (offset & 0xFFFF) | ((ulong)selector << 16) | ((ulong)parameters << 32) | ((ulong)access << 40)
        | ((ulong)(offset >> 16) << 48);

    private void WriteTemplate()
    {
        ulong[] gdt =
        [
            0, Segment(OuterTss, 0x67, 0x89), Segment(0, 0xF_FFFF, 0x9B, 0xC), Segment(0, 0xF_FFFF, 0x93, 0xC),
            Segment(0, 0xF_FFFF, 0xFB, 0xC), Segment(0, 0xF_FFFF, 0xF3, 0xC), Segment(InnerTss, 0x67, 0xE9),
            Gate(Task, 0, 0xE5), Gate(Code, GateCode, 0xEC, 2), Gate(LowCode, GateCode & 0xFFFF, 0xE4, 2),
            Segment(GateCode & 0xFFFF_0000, 0xFFFF, 0x9B, 4), Segment(0, 0xF_FFFF, 0x9F, 0xC), Segment(TablesAt, 0xFF, 0x82),
            Segment(0, 0xF_FFFF, 0x73, 0xC), Gate(Code, GateCode, 0x6C), Segment(Tss16, 0x2B, 0xE1),
            Segment(InnerStack - 0x8000, 0xFFFF, 0x93),
        ];
        for (int i = 0; i < gdt.Length; i++)
        {
            Put(TemplateAt + (uint)(8 * i), gdt[i]);
        }

        for (uint vector = 0; vector < 256; vector++)
        {
            uint stub = VectorStubs + (16 * vector);
            Put(TemplateAt + (Idt - TablesAt) + (8 * vector), vector switch
            {
                TaskVector => Gate(Task, 0, 0xE5),
                3 or 4 or End => Gate(Code, stub, 0xEE),
                _ => Gate(Code, stub, 0x8E),
            });
        }

        uint outer = TemplateAt + (OuterTss - TablesAt);
        Put(outer + 4, InnerStack | ((ulong)Data << 32));
        Put(outer + 0x64, 0x0068_0000UL);
        uint inner = TemplateAt + (InnerTss - TablesAt);
        uint[] task =
        [
            0, InnerStack - 0x400, Data, 0, 0, 0, 0, 0, GateCode, 2, 0xA0, 0xC1, 0xD2, 0xB3, TaskStack, 0xB5, 0x56, 0xD7, Data, Code,
            Data, Data, 0, UserData, 0, 0x0068_0000,
        ];
        for (int i = 0; i < task.Length; i++)
        {
            Put(inner + (uint)(4 * i), BitConverter.GetBytes(task[i]));
        }

        // Back link, SP0, SS0, four unused, IP, FLAGS, AX to DI, ES, CS, SS, DS, LDT.
        ushort[] task16 =
        [
            0, 0x4000, Data, 0, 0, 0, 0, (ushort)(GateCode & 0xFFFF), 2, 0xA0, 0xC1, 0xD2, 0xB3, 0x7000, 0xB5, 0x56, 0xD7, Data, LowCode, SmallData,
            Data, 0,
        ];
        byte[] bytes = new byte[task16.Length * 2];
        Buffer.BlockCopy(task16, 0, bytes, 0, bytes.Length);
        Put(TemplateAt + (Tss16 - TablesAt), bytes);
    }

    private void WriteStubs()
    {
        Put(Stubs + 0xF0, [0xFF, 0, .. BitConverter.GetBytes(TablesAt)]);
        Put(Stubs + 0xF8, [0xFF, 7, .. BitConverter.GetBytes(Idt)]);
        Put(ResetStub, Assemble(static a =>
        {
            a.mov(esi, TemplateAt);
            a.mov(edi, TablesAt);
            a.mov(ecx, TableBytes / 4);
            a.rep.movsd();
            a.mov(edi, InnerStack - (StackBytes / 2));
            a.mov(ecx, StackBytes / 4);
            a.xor(eax, eax);
            a.rep.stosd();
            a.mov(__dword_ptr[RecordPointer], Records);
            a.lgdt(__fword_ptr[(long)Stubs + 0xF0]);
            a.lidt(__fword_ptr[(long)Stubs + 0xF8]);
            a.mov(eax, OuterTask);
            a.ltr(ax);
            a.xor(eax, eax);
            a.lldt(ax);
            a.clts();
            a.ret();
        }, ResetStub));

        // The frame lies above the return address. All registers are known.
        Put(EnterStub, Assemble(static a =>
        {
            a.pop(__dword_ptr[SavedStack + 8]);
            a.mov(__dword_ptr[SavedStack], esp);
            a.mov(eax, 0x2B);
            a.mov(ds, eax);
            a.mov(es, eax);
            a.mov(fs, eax);
            a.mov(gs, eax);
            AssemblerRegister32[] registers = [eax, ecx, edx, ebx, ebp, esi, edi];
            for (int i = 0; i < registers.Length; i++)
            {
                a.mov(registers[i], 0x1111_1110 * (uint)(i + 1));
            }

            a.iretd();
        }, EnterStub));
        for (uint vector = 0; vector < 256; vector++)
        {
            uint at = VectorStubs + (16 * vector);
            uint number = vector;
            Put(at, Assemble(a =>
            {
                a.push(number | 0xEE00);
                a.push(eax);
                a.mov(eax, FinishStub);
                a.jmp(eax);
            }, at));
        }

        Put(FinishStub, Assemble(Finish, FinishStub));
        Put(PrintStub, Assemble(Print, PrintStub));
    }

    // EAX and the vector are on the stack, with what the CPU pushed behind. Then back to the main program.
    private static void Finish(Assembler a)
    {
        a.push(ds);
        a.push(es);
        a.push(fs);
        a.push(gs);
        a.push(edi);
        a.push(esi);
        a.push(ebp);
        a.push(ebx);
        a.push(edx);
        a.push(ecx);
        a.mov(ecx, Data);
        a.mov(ds, ecx);
        a.mov(es, ecx);
        a.mov(edi, __dword_ptr[RecordPointer]);
        a.mov(esi, esp);
        a.mov(ecx, 24);
        a.cld();
        a.db(0x36, 0xF3, 0xA5); // rep movsd from SS
        a.mov(eax, esp);
        a.stosd();
        a.pushfd();
        a.pop(eax);
        a.stosd();
        a.mov(eax, cr0);
        a.and(eax, 0xF); // without NE, NW, CD: the loader's
        a.stosd();
        a.xor(eax, eax);
        a.str(ax);
        a.stosd();
        a.mov(eax, ss);
        a.stosd();
        a.mov(eax, cs);
        a.stosd();
        a.mov(esi, OuterTss);
        a.mov(ecx, 0x300 / 4);
        a.rep.movsd();
        a.mov(esi, TablesAt);
        a.mov(ecx, 0x80 / 4);
        a.rep.movsd();
        a.mov(__dword_ptr[RecordPointer], edi);
        a.mov(eax, Data);
        a.mov(ss, eax);
        a.mov(esp, __dword_ptr[SavedStack]);
        a.mov(fs, eax);
        a.mov(gs, eax);
        a.push(2);
        a.popfd();
        a.jmp(__dword_ptr[SavedStack + 8]);
    }

    // DL and the records in hexadecimal, runs of zeros left out.
    private static void Print(Assembler a)
    {
        Label next = a.CreateLabel();
        Label digit = a.CreateLabel();
        Label small = a.CreateLabel();
        Label skip = a.CreateLabel();
        Label done = a.CreateLabel();
        a.mov(al, dl);
        a.mov(dx, 0x3F8);
        a.@out(dx, al);
        a.mov(esi, Records);
        a.Label(ref next);
        a.cmp(esi, __dword_ptr[RecordPointer]);
        a.jae(done);
        a.mov(ebx, __dword_ptr[esi]);
        a.add(esi, 4);
        a.mov(al, (sbyte)' ');
        a.@out(dx, al);
        a.test(ebx, ebx);
        a.je(skip);
        a.mov(ecx, 8);
        a.Label(ref digit);
        a.rol(ebx, 4);
        a.mov(al, bl);
        a.and(al, 15);
        a.add(al, (sbyte)'0');
        a.cmp(al, (sbyte)'9');
        a.jbe(small);
        a.add(al, 39);
        a.Label(ref small);
        a.@out(dx, al);
        a.loop(digit);
        a.jmp(next);
        a.Label(ref skip);
        a.mov(al, (sbyte)'0');
        a.@out(dx, al);
        a.jmp(next);
        a.Label(ref done);
        a.mov(al, 10);
        a.@out(dx, al);
        a.ret();
    }
}
