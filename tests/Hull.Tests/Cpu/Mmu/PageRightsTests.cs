using System;
using Hull.Engine;
using Hull.Memory;
using Hull.Tests.Cpu.Translate;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Mmu;

/// <summary>
/// Mixes of all that decides about an access, run as guest code: the rights of three levels of tables, reserved bits,
/// large pages, CR0.WP, CR4.SMEP and SMAP, AC, EFER.NXE, level 0 and 3; a load, a store or a fetch. What should come is
/// computed here from SDM vol. 3A, "Determination of Access Rights" and "Page-Fault Exceptions".
/// </summary>
public sealed class PageRightsTests : IDisposable
{
    private const int Count = 40_000;
    private const ulong CasesAt = 0x100_0000; // 64 bytes each
    private const ulong DirectoryAt = 0x9000; // of the pages under test, from 1 GiB on
    private const ulong TableAt = 0xA000;
    private const ulong TargetAt = 0x60_0000; // a RET there
    private const ulong UserCodeAt = 0x40_0000;
    private const ulong Linear = 1UL << 30;
    private const ulong Reserved = 1UL << 51;
    private const ulong NoExecute = 1UL << 63;
    private const byte None = 0xFF;

    private readonly FlatGuest _guest = new(CpuModel.HostSafe, 16 << 20);

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void EveryMix_FaultsAsTheManualSays()
    {
        Prepare();
        Random random = new(1);
        Mix[] mixes = new Mix[Count];
        for (int i = 0; i < Count; i++)
        {
            Mix before = mixes[Math.Max(i - 1, 0)];
            int control = i > 0 && random.Next(8) != 0 ? before.Control : random.Next();
            mixes[i] = new Mix(random, control & (int)(_guest.Vcpu.Cpuid.SupportedCr4 | 0x1_0003));
            Write(mixes[i], CasesAt + (64 * (ulong)i));
        }

        _guest.Run(Loop);

        Assert.Equal(-1, _guest.Vector);
        for (int i = 0; i < Count; i++)
        {
            Check(mixes[i], CasesAt + (64 * (ulong)i), i);
        }
    }

    private ulong Read(ulong at) => _guest.Memory.Read<ulong>(new GuestPhysical(at));

    private void Store(ulong at, ulong value) => _guest.Memory.Write(new GuestPhysical(at), value);

    // The guest's own pages are the supervisor's, but for the one with the user's code and stack.
    private void Prepare()
    {
        _guest.AsUser();
        for (ulong i = 0; i < 32; i++)
        {
            Store(0x3000 + (8 * i), (i << 21) | (i == UserCodeAt >> 21 ? 0x87u : 0x83));
        }

        _guest.Memory.Write<byte>(new GuestPhysical(TargetAt), 0xC3);
        _guest.Memory.TryWrite(new GuestPhysical(UserCodeAt), [0x8A, 0x07, 0xCD, 0x80]); // mov al, [rdi]; int 80h
        _guest.Memory.TryWrite(new GuestPhysical(UserCodeAt + 64), [0xC6, 0x07, 0xC3, 0xCD, 0x80]); // mov byte [rdi], C3h
        _guest.Memory.TryWrite(new GuestPhysical(UserCodeAt + 128), [0xFF, 0xD7, 0xCD, 0x80]); // call rdi
        for (int i = 0; i < 6; i++)
        {
            _guest.State.Segments[i] = _guest.State.Segments[i] with
            {
                Selector = (ushort)(i == 1 ? 0x10 : 0x18),
                Attributes = _guest.State.Segments[i].Attributes & ~0x60u,
            };
        }

        // A fault, and the user's INT 80h, go back to the loop: R12 is where, R13 its stack, R14 the mix.
        _guest.Handle(14, static a =>
        {
            a.mov(rax, __[rsp]);
            a.mov(__qword_ptr[r14 + 0x38], rax);
            a.mov(rax, cr2);
            a.mov(__qword_ptr[r14 + 0x30], rax);
            a.mov(rsp, r13);
            a.jmp(r12);
        });
        _guest.Handle(0x80, static a =>
        {
            a.mov(rsp, r13);
            a.jmp(r12);
        }, access: 0xEE);
    }

    private static void Loop(Assembler a)
    {
        Label next = a.CreateLabel();
        Label user = a.CreateLabel();
        Label store = a.CreateLabel();
        Label fetch = a.CreateLabel();
        Label back = a.CreateLabel();
        a.mov(r14, CasesAt);
        a.mov(ebx, Count);
        a.lea(r12, __[back]);
        a.mov(r13, rsp);
        a.mov(rdi, Linear);
        a.Label(ref next);
        foreach ((int from, ulong to) in ((int, ulong)[])[(0, 0x2008), (8, DirectoryAt), (16, TableAt)])
        {
            a.mov(rax, __qword_ptr[r14 + from]);
            a.mov(rcx, to);
            a.mov(__qword_ptr[rcx], rax);
        }

        a.mov(eax, __dword_ptr[r14 + 24]);
        a.mov(rcx, cr4);
        a.and(ecx, ~(3 << 20));
        a.mov(edx, eax);
        a.and(edx, 3 << 20);
        a.or(ecx, edx);
        a.mov(cr4, rcx);
        a.mov(rcx, cr0);
        a.and(ecx, ~(1 << 16));
        a.mov(edx, eax);
        a.and(edx, 1 << 16);
        a.or(ecx, edx);
        a.mov(cr0, rcx);
        a.mov(ecx, 0xC000_0080);
        a.rdmsr();
        a.and(eax, ~(1 << 11));
        a.mov(esi, __dword_ptr[r14 + 24]);
        a.and(esi, 1 << 11);
        a.or(eax, esi);
        a.wrmsr();
        a.invlpg(__[rdi]);
        a.mov(esi, __dword_ptr[r14 + 28]); // 0 to 2: what; bit 2: user; bit 3: AC
        a.pushfq();
        a.pop(rax);
        a.and(eax, ~(1 << 18));
        a.mov(ecx, esi);
        a.and(ecx, 8);
        a.shl(ecx, 15);
        a.or(eax, ecx);
        a.push(rax);
        a.popfq();
        a.test(esi, 4);
        a.jne(user);
        a.and(esi, 3);
        a.cmp(esi, 1);
        a.je(store);
        a.ja(fetch);
        a.mov(al, __byte_ptr[rdi]);
        a.jmp(back);
        a.Label(ref store);
        a.mov(__byte_ptr[rdi], unchecked((sbyte)0xC3));
        a.jmp(back);
        a.Label(ref fetch);
        a.call(rdi);
        a.jmp(back);
        a.Label(ref user);
        a.push(0x2B);
        a.push((int)UserCodeAt + 0x8000);
        a.push(2);
        a.push(0x23);
        a.and(esi, 3);
        a.shl(esi, 6);
        a.add(esi, (int)UserCodeAt);
        a.push(rsi);
        a.iretq();
        a.Label(ref back);
        a.mov(rcx, DirectoryAt);
        a.mov(rax, __qword_ptr[rcx]);
        a.mov(__qword_ptr[r14 + 8], rax);
        a.mov(rcx, TableAt);
        a.mov(rax, __qword_ptr[rcx]);
        a.mov(__qword_ptr[r14 + 16], rax);
        a.add(r14, 64);
        a.dec(ebx);
        a.jne(next);
        a.hlt();
    }

    private void Write(Mix mix, ulong at)
    {
        Store(at, mix.Pointer);
        Store(at + 8, mix.Directory);
        Store(at + 16, mix.Table);
        Store(at + 24, (uint)mix.ControlBits | ((ulong)(uint)mix.How << 32));
        Store(at + 0x38, None);
    }

    private void Check(Mix mix, ulong at, int number)
    {
        int error = mix.Expect(out ulong directory, out ulong table);
        string what = $"mix {number}: {mix}";
        ulong found = Read(at + 0x38);
        Assert.True(found == (error < 0 ? None : (ulong)error), $"{what}: error code {found:x}, not {error:x}");
        Assert.True(error < 0 || Read(at + 0x30) == Linear, what);
        Assert.True(Read(at + 16) == table, $"{what}: table entry {Read(at + 16):x}, not {table:x}");

        // A walk that faults may have set A on its way: SDM vol. 3A, "Accessed and Dirty Flags".
        ulong ignored = error < 0 ? 0 : 0x20u;
        Assert.True((Read(at + 8) | ignored) == (directory | ignored), $"{what}: {Read(at + 8):x}, not {directory:x}");
    }

    /// <summary>One access, and what it meets.</summary>
    private sealed class Mix
    {
        internal Mix(Random random, int control)
        {
            Control = control;
            Pointer = DirectoryAt | 1 | Rights(random, 8) | (random.Next(16) == 0 ? NoExecute : 0);
            bool large = random.Next(4) == 0;
            Directory = Entry(random, large ? TargetAt | 0x80 | (random.Next(8) == 0 ? 0x2000u : 0) : TableAt);
            Table = Entry(random, TargetAt);
            How = random.Next(3) | (random.Next(2) << 2) | (random.Next(2) << 3);
        }

        internal int Control { get; }

        internal ulong Pointer { get; }

        internal ulong Directory { get; }

        internal ulong Table { get; }

        internal int How { get; }

        // WP, SMEP and SMAP where the guest has them, NXE mostly.
        internal int ControlBits => (Control & (1 << 16)) | (Control & (3 << 20)) | ((Control & 3) != 0 ? 1 << 11 : 0);

        private bool IsStore => (How & 3) == 1;

        private bool IsFetch => (How & 3) == 2;

        private bool IsUser => (How & 4) != 0;

        public override string ToString() =>
            $"entries {Pointer:x} {Directory:x} {Table:x}, control {ControlBits:x}, access {How}";

        /// <summary>The error code, or -1, and the entries afterwards.</summary>
        internal int Expect(out ulong directory, out ulong table)
        {
            (directory, table) = (Directory, Table);
            bool nxe = (ControlBits & (1 << 11)) != 0;
            bool smep = (ControlBits & (1 << 20)) != 0;
            int code = (IsStore ? 2 : 0) | (IsUser ? 4 : 0) | (IsFetch && (nxe || smep) ? 16 : 0);
            ulong rights = Pointer & 7;
            ulong noExecute = Pointer;
            if (!nxe && (Pointer & NoExecute) != 0)
            {
                return code | 9;
            }

            bool large = (Directory & 0x80) != 0;
            ulong[] walk = large ? [Directory] : [Directory, Table];
            foreach (ulong entry in walk)
            {
                if ((entry & 1) == 0)
                {
                    return code;
                }

                if ((entry & Reserved) != 0 || (!nxe && (entry & NoExecute) != 0) || (large && (entry & 0x2000) != 0))
                {
                    return code | 9;
                }

                rights &= entry;
                noExecute |= entry;
            }

            if (!IsAllowed(rights, (noExecute & NoExecute) != 0, smep))
            {
                return code | 1;
            }

            ulong used = IsStore ? 0x60u : 0x20;
            directory |= large ? used : 0x20;
            table |= large ? 0 : used;
            return -1;
        }

        private bool IsAllowed(ulong rights, bool noExecute, bool smep)
        {
            bool userPage = (rights & 4) != 0;
            bool writable = (rights & 2) != 0;
            if (IsUser)
            {
                return userPage && (writable || !IsStore) && !(IsFetch && noExecute);
            }

            if (IsFetch)
            {
                return !noExecute && !(userPage && smep);
            }

            bool smap = (ControlBits & (1 << 21)) != 0 && (How & 8) == 0;
            return !(userPage && smap) && (writable || !IsStore || (ControlBits & (1 << 16)) == 0);
        }

        private static ulong Rights(Random random, int seldom) =>
            (random.Next(seldom) == 0 ? 0 : 2u) | (random.Next(seldom) == 0 ? 0 : 4u);

        private static ulong Entry(Random random, ulong address) =>
            address | Rights(random, 2) | (random.Next(8) == 0 ? 0 : 1u) | (random.Next(2) == 0 ? 0x20u : 0)
            | (random.Next(2) == 0 ? 0x40u : 0) | (random.Next(16) == 0 ? Reserved : 0)
            | (random.Next(4) == 0 ? NoExecute : 0);
    }
}
