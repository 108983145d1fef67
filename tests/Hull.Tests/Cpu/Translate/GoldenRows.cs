using System;
using Hull.Cpu.Translate;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>Guest code whose translation is kept as a golden.</summary>
/// <param name="Topic">The file in Goldens.</param>
/// <param name="Name">What it shows; unique, without parentheses.</param>
/// <param name="Mode">The block's mode.</param>
/// <param name="Code">Writes the guest code: one block.</param>
internal sealed record GoldenRow(string Topic, string Name, BlockMode Mode, Action<Assembler> Code)
{
    internal const ulong KernelRip = 0xFFFF_FFFF_8100_0100;
    internal const ulong LowRip = 0x40_0100;

    internal int Bits => (Mode & BlockMode.CodeMask) switch
    {
        BlockMode.Code64 => 64,
        BlockMode.Code32 => 32,
        _ => 16,
    };

    internal ulong Rip => Bits switch
    {
        64 => (Mode & BlockMode.User) != 0 ? LowRip : KernelRip,
        32 => LowRip,
        _ => 0x7C00,
    };
}

/// <summary>The table of goldens.</summary>
internal static class GoldenRows
{
    private const BlockMode Kernel = BlockMode.Code64 | BlockMode.Avx;
    private const BlockMode User = Kernel | BlockMode.User;
    private const BlockMode Careful = Kernel | BlockMode.Careful;
    private const BlockMode Flat32 = BlockMode.Code32 | BlockMode.Stack32 | BlockMode.Flat;
    private const BlockMode Segments32 = BlockMode.Code32 | BlockMode.Stack32;
    private const BlockMode Real16 = BlockMode.Code16;

    internal static GoldenRow[] All { get; } =
    [
        .. Registers(), .. Memory(), .. Stack(), .. Flags(), .. Branches(), .. SystemInstructions(),
        .. Vector(), .. X87(), .. Legacy(), .. CarefulAccess(),
    ];

    private static GoldenRow[] Registers() => Topic("Registers",
    [
        ("copy between plain registers", Kernel, static a => a.mov(rax, rbx)),
        ("copy to the stack pointer", Kernel, static a => a.mov(rsp, rbp)),
        ("copy to R9", Kernel, static a => a.mov(r9, rax)),
        ("sum of R10 and R11", Kernel, static a => a.add(r10, r11)),
        ("one spilled register twice", Kernel, static a => a.imul(r9, r9, 10)),
        ("exchange of R9 and the stack pointer", Kernel, static a => a.xchg(r9, rsp)),
        ("register in the opcode", Kernel, static a => a.bswap(r11)),
        ("immediate of 64 bits", Kernel, static a => a.mov(r10, 0x1122_3344_5566_7788)),
        ("high byte to low byte", Kernel, static a => a.mov(bl, ah)),
        ("high byte to the renamed stack pointer", Kernel, static a => a.movzx(esp, ah)),
        ("division with flags in the host", Kernel, static a =>
        {
            a.add(rbx, rcx);
            a.div(r9);
        }),
        ("three spilled registers", Kernel, static a => a.andn(r9, r10, r11)),
        ("three spilled registers, two written", Kernel, static a => a.mulx(r9, r10, r11)),
    ]);

    private static GoldenRow[] Memory() => Topic("Memory",
    [
        ("load", Kernel, static a => a.mov(rax, __[rdi + 8])),
        ("load by the user", User, static a => a.mov(rax, __[rdi + 8])),
        ("LOCK by the kernel", Kernel, static a => a.@lock.inc(__dword_ptr[rdi + 8])),
        ("LOCK by the user, with one vCPU", User, static a => a.@lock.inc(__dword_ptr[rdi + 8])),
        ("LOCK on the stack, as a fence", User, static a => a.@lock.or(__dword_ptr[rsp], 0)),
        ("load from a local array", User, static a => a.mov(rax, __[rsp + rcx * 8])),
        ("loop through an array", User, static a =>
        {
            Label again = a.CreateLabel();
            a.Label(ref again);
            a.add(rax, __[rdi]);
            a.add(rdi, 8);
            a.cmp(rdi, rsi);
            a.jne(again);
        }),
        ("loop through a list", User, static a =>
        {
            Label again = a.CreateLabel();
            a.Label(ref again);
            a.mov(rdi, __[rdi]);
            a.test(rdi, rdi);
            a.jne(again);
        }),
        ("store of a byte", Kernel, static a => a.mov(__[rdi], cl)),
        ("store of an immediate", Kernel, static a => a.mov(__qword_ptr[rdi], -1)),
        ("read, add, write", Kernel, static a => a.add(__[rsi + (rcx * 4)], eax)),
        ("base is the stack pointer", Kernel, static a => a.mov(rax, __[rsp + 0x20])),
        ("base, index and register are spilled", Kernel, static a => a.mov(r9, __[r10 + (r11 * 8) + 16])),
        ("high byte from memory", Kernel, static a => a.mov(ah, __[rdi])),
        ("relative to RIP", Kernel, static a => a.db(0x48, 0x8B, 0x05, 0x10, 0x20, 0, 0)),
        ("through GS", Kernel, static a => a.mov(rcx, __qword_ptr.gs[0x28])),
        ("address of 32 bits", Kernel, static a => a.mov(eax, __[edi + ecx])),
        ("absolute address of 64 bits", Kernel,
            static a => a.db(0x48, 0xA1, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11)),
        ("LEA", Kernel, static a => a.lea(rax, __[rbx + (rcx * 8) + 16])),
        ("LEA of 16 bits to R9", Kernel, static a => a.lea(r9w, __[rsp + 8])),
        ("BT with an index in a register", Kernel, static a => a.bt(__qword_ptr[rdi], rax)),
        ("LOCK BTS with an index in R9D", Kernel, static a => a.@lock.bts(__dword_ptr[rdi], r9d)),
        ("BT with an immediate", Kernel, static a => a.bt(__dword_ptr[rdi], 5)),
        ("LOCK CMPXCHG", Kernel, static a => a.@lock.cmpxchg(__[rdi], r9)),
        ("LOCK CMPXCHG16B", Kernel, static a => a.@lock.cmpxchg16b(__[rdi])),
        ("selector to memory", Kernel, static a => a.mov(__word_ptr[rdi], ds)),
    ]);

    private static GoldenRow[] Stack() => Topic("Stack",
    [
        ("PUSH", Kernel, static a => a.push(rbx)),
        ("PUSH R9", Kernel, static a => a.push(r9)),
        ("PUSH RSP", Kernel, static a => a.push(rsp)),
        ("PUSH of an immediate", Kernel, static a => a.push(-2)),
        ("PUSH of memory", Kernel, static a => a.push(__qword_ptr[rdi])),
        ("PUSH of three registers", User, static a =>
        {
            a.push(rbp);
            a.push(r10);
            a.push(rbx);
        }),
        ("POP of two registers", Kernel, static a =>
        {
            a.pop(r9);
            a.pop(r15);
        }),
        ("POP", User, static a => a.pop(rbx)),
        ("POP R10", Kernel, static a => a.pop(r10)),
        ("POP to memory", Kernel, static a => a.pop(__qword_ptr[rsp + 8])),
        ("LEAVE", Kernel, static a => a.leave()),
        ("CALL in the page", Kernel, static a => a.call(GoldenRow.KernelRip + 0x80)),
        ("CALL through a register", Kernel, static a => a.call(rax)),
        ("RET", Kernel, static a => a.ret()),
        ("RET by the user, with a count", User, static a => a.ret(16)),
    ]);

    private static GoldenRow[] Flags() => Topic("Flags",
    [
        ("entry when the flags are overwritten", Kernel, static a => a.xor(eax, eax)),
        ("entry when they are read", Kernel, static a => a.adc(rax, rbx)),
        ("entry when nothing cares", Kernel, static a => a.mov(eax, ecx)),
        ("saved before a load, restored for ADC", Kernel, static a =>
        {
            a.add(rax, rbx);
            a.mov(rcx, __[rdi]);
            a.adc(rdx, rcx);
        }),
        ("saved before a load, restored for JNE", Kernel, static a =>
        {
            a.cmp(eax, ebx);
            a.mov(rcx, __[rdi]);
            a.jne(GoldenRow.KernelRip + 0x40);
        }),
        ("dead over a load", Kernel, static a =>
        {
            a.add(rax, rbx);
            a.mov(rcx, __[rdi]);
            a.sub(rdx, rcx);
        }),
        ("partly written by INC", Kernel, static a =>
        {
            a.mov(rcx, __[rdi]);
            a.inc(ecx);
        }),
        ("restored while R11 is taken", Kernel, static a =>
        {
            a.mov(rcx, __[rdi]);
            a.cmovne(r9, rcx);
        }),
    ]);

    private static GoldenRow[] Branches() => Topic("Branches",
    [
        ("conditional forward jump", Kernel, static a => a.je(GoldenRow.KernelRip + 0x40)),
        ("backward jump, flags in the host", Kernel, static a =>
        {
            a.dec(ecx);
            a.jne(GoldenRow.KernelRip);
        }),
        ("backward jump, flags in the state", Kernel, static a =>
        {
            a.mov(rax, __[rdi]);
            a.jmp(GoldenRow.KernelRip);
        }),
        ("jump to another page of the kernel", Kernel, static a => a.jmp(GoldenRow.KernelRip + 0x5000)),
        ("jump to another page of a program", User, static a => a.jmp(GoldenRow.LowRip + 0x5000)),
        ("jump through a register", Kernel, static a => a.jmp(rax)),
        ("jump through memory by the user", User, static a => a.jmp(__qword_ptr[rax + 8])),
        ("LOOPNE", Kernel, static a => a.loopne(GoldenRow.KernelRip)),
        ("JRCXZ", Kernel, static a => a.jrcxz(GoldenRow.KernelRip + 0x20)),
        ("jump in a block without links", Kernel | BlockMode.Single,
            static a => a.jmp(GoldenRow.KernelRip + 0x40)),
    ]);

    private static GoldenRow[] SystemInstructions() => Topic("System",
    [
        ("CLI", Kernel, static a => a.cli()),
        ("CLI by the user", User, static a => a.cli()),
        ("STI and one more", Kernel, static a =>
        {
            a.sti();
            a.nop();
        }),
        ("STI alone", Kernel, static a => a.sti()),
        ("STD", User, static a => a.std()),
        ("STAC and CLAC", Kernel, static a =>
        {
            a.stac();
            a.clac();
        }),
        ("REP MOVSB", User, static a => a.rep.movsb()),
        ("STOSQ", Kernel, static a => a.stosq()),
        ("IRETQ", Kernel, static a => a.iretq()),
        ("CR2 to R9", Kernel, static a => a.mov(r9, cr2)),
        ("RDFSBASE", User, static a => a.rdfsbase(eax)),
        ("WRGSBASE", Kernel, static a => a.wrgsbase(rdx)),
        ("RDTSC", User, static a => a.rdtsc()),
        ("RDTSC with CR4.TSD", User | BlockMode.NoTsc, static a => a.rdtsc()),
        ("assist that goes on", Kernel, static a => a.cpuid()),
        ("assist that ends the block", Kernel, static a => a.mov(cr3, rax)),
        ("assist with flags in the host", Kernel, static a =>
        {
            a.cmp(eax, ebx);
            a.@in(al, dx);
        }),
        ("not an instruction of this CPU", Kernel, static a => a.vaddps(zmm0, zmm1, zmm2)),
    ]);

    private static GoldenRow[] Vector() => Topic("Vector",
    [
        ("SSE aligned load", Kernel, static a => a.movaps(xmm3, __xmmword_ptr[rsi])),
        ("SSE unaligned store", User, static a => a.movups(__xmmword_ptr[rdi + 4], xmm12)),
        ("SSE between registers", Kernel, static a => a.paddd(xmm1, xmm9)),
        ("SSE to R9", Kernel, static a => a.movq(r9, xmm0)),
        ("SSE compare that writes the flags", Kernel, static a => a.ucomisd(xmm0, xmm1)),
        ("SSE with CR0.TS", Kernel | BlockMode.NoMedia, static a => a.paddd(xmm1, xmm9)),
        ("AVX of 256 bits twice", Kernel, static a =>
        {
            a.vaddps(ymm0, ymm1, ymm2);
            a.vmovdqu(__ymmword_ptr[rdi], ymm0);
        }),
        ("AVX of 128 bits", Kernel, static a => a.vpxor(xmm8, xmm9, __xmmword_ptr[r10])),
        ("VZEROUPPER", Kernel, static a => a.vzeroupper()),
        ("AVX without XCR0", BlockMode.Code64, static a => a.vaddps(ymm0, ymm1, ymm2)),
    ]);

    private static GoldenRow[] X87() => Topic("X87",
    [
        ("load of a double", User, static a => a.fld(__qword_ptr[rdi])),
        ("store of an extended value", User, static a => a.fstp(__tbyte_ptr[rdi])),
        ("sum on the stack", User, static a => a.faddp(st1, st0)),
        ("status word to AX", User, static a => a.fnstsw(ax)),
        ("x87 with CR0.TS", Kernel | BlockMode.NoX87, static a => a.fld1()),
    ]);

    private static GoldenRow[] Legacy() => Topic("Legacy",
    [
        ("INC of a register", Flat32, static a => a.inc(edi)),
        ("DEC of ESP", Flat32, static a => a.dec(esp)),
        ("flat load", Flat32, static a => a.mov(eax, __[ebx + (ecx * 4) + 8])),
        ("load through FS", Flat32, static a => a.mov(eax, __dword_ptr.fs[ebx])),
        ("load in segments", Segments32, static a => a.mov(eax, __[ebx])),
        ("PUSH of 32 bits", Flat32, static a => a.push(ebp)),
        ("POP of 32 bits in segments", Segments32, static a => a.pop(ebp)),
        ("RET of 32 bits", Flat32, static a => a.ret()),
        ("jump in the page, 32 bits", Flat32, static a => a.jmp(GoldenRow.LowRip + 0x40)),
        ("opcode 82", Flat32, static a => a.db(0x82, 0xC1, 5)),
        ("decimal adjustment is an assist", Flat32, static a => a.daa()),
        ("load in real mode", Real16, static a => a.mov(ax, __[bx + si])),
        ("PUSH in real mode", Real16, static a => a.push(ax)),
    ]);

    private static GoldenRow[] CarefulAccess() => Topic("Careful",
    [
        ("careful load", Careful, static a => a.mov(rax, __[rdi])),
        ("careful store", Careful, static a => a.mov(__[rdi], r9)),
        ("careful read, add, write", Careful, static a => a.add(__[rdi], eax)),
        ("careful PUSH", Careful, static a => a.push(rbx)),
        ("careful POP to memory", Careful, static a => a.pop(__qword_ptr[rdi])),
        ("careful x87 store reads first", Careful, static a => a.fstp(__qword_ptr[rdi])),
        ("careful aligned SSE load", Careful, static a => a.movaps(xmm0, __xmmword_ptr[rdi])),
    ]);

    private static GoldenRow[] Topic(
        string topic,
        (string Name, BlockMode Mode, Action<Assembler> Code)[] rows) =>
        Array.ConvertAll(rows, row => new GoldenRow(topic, row.Name, row.Mode, row.Code));
}
