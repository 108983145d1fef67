using System;
using System.Linq;
using Hull.Cpu.State;
using Hull.Engine;
using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>
/// System instructions that are emitted: in a loop, so that the assist has filled what the emitted code looks into.
/// </summary>
public sealed class SystemFormTests : IDisposable
{
    private const ulong UserCodeAt = 0x40_0000;
    private const ulong UserStackAt = 0x48_0000;
    private const ulong UserDataAt = 0x4A_0000;
    private const int KernelCode = 0x10;
    private const int KernelData = 0x18;
    private const int UserData = 0x2B;
    private const int UserCode = 0x33;
    private const ulong ResumeFlag = 0x1_0000;
    private readonly FlatGuest _guest = new();

    public SystemFormTests()
    {
        Write(0x5028, 0x00CF_F300_0000_FFFF);
        Write(0x5030, 0x00AF_FB00_0000_FFFF);

        // From 4 MiB on the user's.
        Write(0x1000, 0x2007);
        Write(0x2000, 0x3007);
        Write(0x3010, 0x40_0087);
        foreach (int i in (int[])[0, 3, 4, 5])
        {
            _guest.State.Segments[i] = new SegmentRegister { Attributes = SegmentAttributes.Unusable };
        }

        // A TSS whose inner stack is the usual one.
        _guest.State.Tr = new SegmentRegister { Base = 0x9000, Limit = 0x67, Attributes = 0x8B, Selector = 0x38 };
        Write(0x9004, FlatGuest.StackAt - 0x800);
    }

    public void Dispose() => _guest.Dispose();

    [Theory]
    [InlineData(KernelData)]
    [InlineData(0)]
    public void Iretq_ToTheSameLevel_LoadsAllOfTheFrame(int stack)
    {
        _guest.Run(a => LoopAndHalt(a, 3, () =>
        {
            Label back = a.CreateLabel();
            PushFrame(a, stack, FlatGuest.StackAt - 0x100, 0x8D7, KernelCode);
            a.lea(rax, __[back]);
            a.push(rax);
            a.iretq();
            a.Label(ref back);
            a.pushfq();
            a.pop(rbx);
            a.mov(r8, rsp);
        }));
        Assert.Equal(-1, _guest.Vector);
        Assert.Equal(0x8D7UL, _guest.State.Gpr[3]);
        Assert.Equal(FlatGuest.StackAt - 0x100, _guest.State.Gpr[8]);
        Assert.Equal((ushort)stack, _guest.State.Segments[2].Selector);
        Assert.Equal(1UL, _guest.Vcpu.Counters.ReadAssists().Single(static counter => counter.Name == "assist-iretq").Value);
    }

    [Fact]
    public void Iretq_ToTheUser_RunsThere_AndComesBackByAFault()
    {
        RunUser(3, 0x202 | ResumeFlag);
        Assert.Equal(6, _guest.Vector);
        Assert.Equal(UserCodeAt, _guest.Stack(0));
        Assert.Equal((ulong)UserCode, _guest.Stack(1));
        Assert.Equal(0x202UL | ResumeFlag, _guest.Stack(2));
        Assert.Equal(UserStackAt, _guest.Stack(3));
        Assert.Equal((ulong)UserData, _guest.Stack(4));
    }

    [Theory]
    [InlineData(0x5030, 0x00AF_7B00_0000_FFFF, 11, UserCode & ~3)] // the code segment is not present
    [InlineData(0x5030, 0x00AF_F300_0000_FFFF, 13, UserCode & ~3)] // it is data
    [InlineData(0x5028, 0x00CF_F100_0000_FFFF, 13, UserData & ~3)] // the stack is read-only
    [InlineData(0x5028, 0x00CF_9300_0000_FFFF, 13, UserData & ~3)] // it is of level 0
    public void Iretq_WhenADescriptorHasChanged_FaultsWithItsSelector(uint at, ulong descriptor, int vector, ulong error)
    {
        RunUser(3, 0x202, a =>
        {
            a.mov(rax, descriptor);
            a.mov(__qword_ptr[at], rax);
        });
        Assert.Equal(vector, _guest.Vector);
        Assert.Equal(error, _guest.Stack(0));
        Assert.Equal((ulong)KernelCode, _guest.Stack(2));
    }

    [Fact]
    public void Iretq_ToAnAddressThatIsNotCanonical_FaultsAtTheInstruction()
    {
        _guest.Run(a => LoopAndHalt(a, 2, () =>
        {
            Label back = a.CreateLabel();
            Label good = a.CreateLabel();
            PushFrame(a, KernelData, FlatGuest.StackAt - 0x100, 2, KernelCode);
            a.lea(rax, __[back]);
            a.cmp(ecx, 1);
            a.jne(good);
            a.mov(rax, 0x8000_0000_0000UL);
            a.Label(ref good);
            a.push(rax);
            a.mov(rbx, rsp);
            a.iretq();
            a.Label(ref back);
        }));
        Assert.Equal(13, _guest.Vector);
        Assert.Equal(0UL, _guest.Stack(0));
        Assert.Equal(_guest.State.Gpr[3], _guest.Stack(4));
    }

    [Fact]
    public void Iretq_WithTrapFlag_TrapsAfterOneInstruction()
    {
        RunUser(3, 0x302, null, a =>
        {
            a.nop();
            a.ud2();
        });
        Assert.Equal(1, _guest.Vector);
        Assert.Equal(UserCodeAt + 1, _guest.Stack(0));
    }

    [Fact]
    public void Iretq_WithNestedTask_Faults()
    {
        RunUser(3, 0x202, a =>
        {
            a.pushfq();
            a.or(__qword_ptr[rsp], 0x4000);
            a.popfq();
        });
        Assert.Equal(13, _guest.Vector);
        Assert.Equal(0UL, _guest.Stack(0));
    }

    [Fact]
    public void Iretq_ToTheUser_DropsTheSupervisorsDataSegments()
    {
        _guest.State.Segments[3] = new SegmentRegister { Selector = KernelData, Attributes = 0xC093, Limit = uint.MaxValue };
        RunUser(1, 0x202);
        Assert.Equal(6, _guest.Vector);
        Assert.Equal(0, _guest.State.Segments[3].Selector);
    }

    [Fact]
    public void UserPage_IsClosedToTheSupervisor_AfterClac()
    {
        _guest.State.Cr4 |= Cr4.Smap;
        Write(UserDataAt, 0x1234);
        _guest.Run(a =>
        {
            Loop(a, 4, () =>
            {
                a.mov(rdi, UserDataAt);
                a.stac();
                a.mov(rax, __[rdi]);
                a.mov(__[rdi + 8], rax);
                a.inc(__qword_ptr[rdi + 8]);
                a.mov(rsi, __[rdi + 8]);
                a.clac();
            });
            a.mov(rax, __[rdi]);
            a.hlt();
        });
        Assert.Equal(14, _guest.Vector);
        Assert.Equal(1UL, _guest.Stack(0));
        Assert.Equal(0x1235UL, _guest.State.Gpr[6]);
    }

    [Fact]
    public void ReadOnlyUserPage_IsRefused_WhenOnlyItsLoadsAreKnown()
    {
        _guest.State.Cr4 |= Cr4.Smap;
        Write(0x3010, 0x40_0085);
        _guest.Run(a =>
        {
            Loop(a, 3, () =>
            {
                a.mov(rdi, UserDataAt);
                a.stac();
                a.mov(rax, __[rdi]);
                a.mov(rax, __[rdi + 8]);
            });
            a.mov(__[rdi], rax);
            a.hlt();
        });
        Assert.Equal(14, _guest.Vector);
        Assert.Equal(3UL, _guest.Stack(0));
    }

    [Fact]
    public void ReadOnlyUserPage_IsWrittenWithoutWriteProtect_AndNotAfter()
    {
        _guest.State.Cr4 |= Cr4.Smap;
        _guest.State.Cr0 &= ~Cr0.Wp;
        Write(0x3010, 0x40_0085);
        _guest.Run(a =>
        {
            a.mov(rdi, UserDataAt);
            a.stac();
            a.mov(__qword_ptr[rdi], 5);
            a.inc(__qword_ptr[rdi]);
            a.mov(rax, cr0);
            a.or(rax, 0x1_0000);
            a.mov(cr0, rax);
            a.mov(rbx, __[rdi]);
            a.mov(__[rdi], rax);
            a.hlt();
        });
        Assert.Equal(14, _guest.Vector);
        Assert.Equal(6UL, _guest.State.Gpr[3]);
    }

    [Fact]
    public void RepStosb_BetweenPagesOfOneRegister_FillsBoth()
    {
        _guest.Run(a =>
        {
            Loop(a, 4, () =>
            {
                a.push(rcx);
                foreach (ulong at in (ulong[])[0x30_0010, 0x31_0020])
                {
                    a.mov(rdi, at);
                    a.mov(ecx, 16);
                    a.mov(al, 7);
                    a.rep.stosb();
                }

                a.pop(rcx);
            });
            a.hlt();
        });
        Assert.Equal(0x0707_0707_0707_0707UL, Read(0x30_0018));
        Assert.Equal(0x0707_0707_0707_0707UL, Read(0x31_0028));
        Assert.Equal(0UL, Read(0x31_0030));
    }

    [Fact]
    public void Stosq_ToAnAddressThatIsNotCanonical_IsNoStackFault()
    {
        _guest.Run(a =>
        {
            a.mov(rdi, 0x10_0000_0000_0244UL);
            a.stosq();
            a.hlt();
        });
        Assert.Equal(13, _guest.Vector);
    }

    [Theory]
    [InlineData(0, -1)]
    [InlineData(1, 14)]
    public void RepMovsb_ToAnUnmappedPage_FaultsOnlyIfItMoves(int count, int vector)
    {
        _guest.Run(a =>
        {
            a.mov(rsi, FlatGuest.DataAt);
            a.mov(rdi, 0x1000_0000);
            a.mov(ecx, count);
            a.rep.movsb();
            a.hlt();
        });
        Assert.Equal(vector, _guest.Vector);
        Assert.Equal((ulong)count, _guest.State.Gpr[1]);
        Assert.Equal(FlatGuest.DataAt, _guest.State.Gpr[6]);
        Assert.Equal(0x1000_0000UL, _guest.State.Gpr[7]);
    }

    [Theory]
    [InlineData(0x1234_5678, -1)]
    [InlineData(0x8000_0000_0000, 13)]
    public void Wrfsbase_TakesCanonicalAddresses(ulong value, int vector)
    {
        _guest.State.Cr4 |= Cr4.Fsgsbase;
        _guest.Run(a =>
        {
            a.mov(r10, value);
            a.wrfsbase(r10);
            a.rdfsbase(r11);
            a.hlt();
        });
        Assert.Equal(vector, _guest.Vector);
        Assert.Equal(vector < 0 ? value : 0, _guest.State.Gpr[11]);
    }

    [Fact]
    public void Wrgsbase_WithoutCr4_IsUndefined()
    {
        _guest.Run(a =>
        {
            a.wrgsbase(rax);
            a.hlt();
        });
        Assert.Equal(6, _guest.Vector);
    }

    // Goes to the user several times, whose UD2 comes back; before the last time something is done, and its fault halts.
    private void RunUser(int times, ulong flags, Action<Assembler>? beforeTheLast = null, Action<Assembler>? userCode = null)
    {
        AssembleAt(UserCodeAt, userCode ?? (static a => a.ud2()));
        _guest.Run(a =>
        {
            Label again = a.CreateLabel();
            Label last = a.CreateLabel();
            a.mov(ebp, times);
            a.lea(rax, __[again]);
            SetGate(a, 6, 0xE);
            a.Label(ref again);
            a.mov(rsp, FlatGuest.StackAt - 0x400);
            a.dec(ebp);
            a.jz(last);
            PushFrame(a, UserData, UserStackAt, 0x202, UserCode);
            a.mov(rax, UserCodeAt);
            a.push(rax);
            a.iretq();
            a.Label(ref last);
            a.mov(eax, 0x8060);
            SetGate(a, 6, 0xE);
            beforeTheLast?.Invoke(a);
            PushFrame(a, UserData, UserStackAt, flags, UserCode);
            a.mov(rax, UserCodeAt);
            a.push(rax);
            a.iretq();
        });
    }

    // The low 32 bits of a handler in RAX, which lies below 4 GiB, into a gate of the IDT.
    private static void SetGate(Assembler a, int vector, int type)
    {
        ulong gate = 0x6000 + (16 * (ulong)vector);
        a.mov(__word_ptr[gate], ax);
        a.shr(eax, 16);
        a.mov(__word_ptr[gate + 6], ax);
        a.mov(__byte_ptr[gate + 5], 0x80 | type);
    }

    private static void PushFrame(Assembler a, int stack, ulong pointer, ulong flags, int code)
    {
        a.push(stack);
        a.mov(rax, pointer);
        a.push(rax);
        a.push((int)flags);
        a.push(code);
    }

    private static void LoopAndHalt(Assembler a, int times, Action body)
    {
        Loop(a, times, body);
        a.hlt();
    }

    private static void Loop(Assembler a, int times, Action body)
    {
        Label again = a.CreateLabel();
        a.mov(ecx, times);
        a.Label(ref again);
        body();
        a.dec(ecx);
        a.jnz(again);
    }

    private void AssembleAt(ulong at, Action<Assembler> write)
    {
        Assembler assembler = new(64);
        write(assembler);
        using System.IO.MemoryStream stream = new();
        assembler.Assemble(new StreamCodeWriter(stream), at);
        _guest.Memory.TryWrite(new GuestPhysical(at), stream.ToArray());
    }

    private void Write(ulong at, ulong value) => _guest.Memory.Write(new GuestPhysical(at), value);

    private ulong Read(ulong at) => _guest.Memory.Read<ulong>(new GuestPhysical(at));
}
