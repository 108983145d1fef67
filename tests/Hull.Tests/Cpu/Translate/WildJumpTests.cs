using Hull.Cpu.Mmu;
using Hull.Engine;
using Hull.Memory;
using Hull.Timeline;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Cpu.Translate;

/// <summary>
/// Jumps to addresses that are not canonical. Some of them are keys of the jump cache: they hit its empty lines and ended
/// the host process.
/// </summary>
public sealed class WildJumpTests
{
    private const ulong Keys = JumpCaches.LastGeneration + 1;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void IndirectJumpToEveryKey_IsProtection(bool user)
    {
        using FlatGuest guest = NewGuest(user);
        guest.Run(a =>
        {
            Start(a);
            a.jmp(rax);
        });
        Assert.Equal(Keys, guest.State.Gpr[12]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ReturnToEveryKey_IsProtection(bool user)
    {
        using FlatGuest guest = NewGuest(user);
        guest.Run(a =>
        {
            Start(a);
            a.push(rax);
            a.ret();
        });
        Assert.Equal(Keys, guest.State.Gpr[12]);
    }

    // The branch faults, not the fetch at its target, and leaves the stack pointer alone.
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    public void IndirectBranch_FaultsItself(int form)
    {
        const ulong Target = 0x0000_8000_0000_0000;
        using FlatGuest guest = new();
        guest.State.Gpr[0] = Target;
        guest.State.Gpr[3] = FlatGuest.DataAt;
        guest.State.Gpr[4] = FlatGuest.StackAt - 64;
        guest.Memory.Write(new GuestPhysical(FlatGuest.DataAt), Target);
        guest.Memory.Write(new GuestPhysical(FlatGuest.StackAt - 64), Target);
        byte[][] forms =
        [
            [0xFF, 0xE0], // jmp rax
            [0xFF, 0x23], // jmp [rbx]
            [0xFF, 0xD0], // call rax
            [0xFF, 0x13], // call [rbx]
            [0xC3], // ret
            [0xC2, 0x10, 0x00], // ret 16
        ];
        guest.Run([0x90, .. forms[form]]);
        Assert.Equal(13, guest.Vector);
        Assert.Equal(0UL, guest.Stack(0));
        Assert.Equal(FlatGuest.CodeAt + 1, guest.Stack(1));
        Assert.Equal(FlatGuest.StackAt - 64, guest.Stack(4));
    }

    // SDM vol. 2, "CALL": the target is judged before the return address is pushed.
    [Theory]
    [InlineData(false, 0x0000_8000_0000_0000UL, 13)]
    [InlineData(true, 0x0000_8000_0000_0000UL, 13)]
    [InlineData(false, 0xFFFF_7FFF_FFFF_FFFFUL, 13)]
    [InlineData(true, 0xFFFF_7FFF_FFFF_FFFFUL, 13)]
    [InlineData(false, 0xFFFF_8000_0000_0000UL, 14)]
    [InlineData(true, 0xFFFF_8000_0000_0000UL, 14)]
    [InlineData(false, 0x0000_7FFF_FFFF_FFFFUL, 14)]
    [InlineData(true, 0x0000_7FFF_FFFF_FFFFUL, 14)]
    public void IndirectCall_PushesOnlyForACanonicalTarget(bool user, ulong target, int vector)
    {
        const ulong Old = 0x1122_3344_5566_7788;
        const ulong Top = FlatGuest.StackAt - 0x100; // the exception's frame is elsewhere: IST1
        GuestPhysical below = new(Top - 8);
        using FlatGuest guest = new FlatGuest().WithTss();
        if (user)
        {
            guest.AsUser();
        }

        guest.Gate(13, ist: 1).Gate(14, ist: 1);
        guest.State.Gpr[0] = target;
        guest.State.Gpr[4] = Top;
        guest.Memory.Write(below, Old);
        guest.Run([0xFF, 0xD0]); // call rax
        Assert.Equal(vector, guest.Vector);
        Assert.Equal(vector == 13 ? Old : FlatGuest.CodeAt + 2, guest.Memory.Read<ulong>(below));
        Assert.Equal(vector == 13 ? Top : Top - 8, guest.Stack(4));
        Assert.Equal(vector == 13 ? FlatGuest.CodeAt : target, guest.Stack(1));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void DirectBranchOverTheBoundary_FaultsItself(int form)
    {
        const ulong Last = 0x0000_7FFF_FFFF_FFE0;
        byte[][] forms =
        [
            [0xEB, 0x7F], // jmp
            [0x0F, 0x84, 0x00, 0x01, 0x00, 0x00], // je
            [0xE8, 0x00, 0x01, 0x00, 0x00], // call
        ];
        using FlatGuest guest = new();
        MapLowTop(guest);
        guest.Memory.TryWrite(new GuestPhysical(0x3F_FFE0), forms[form]);
        guest.State.Rip = Last;
        guest.State.Rflags |= 0x40;
        guest.Run([0xF4]);
        Assert.Equal(13, guest.Vector);
        Assert.Equal(Last, guest.Stack(1));
        Assert.Equal(FlatGuest.StackAt, guest.Stack(4));
    }

    // Instructions that stay in translated code, leave it for an assist, or end a block: kvm-unit-tests' hypercall stands there.
    [Theory]
    [InlineData(new byte[] { 0x90 })]
    [InlineData(new byte[] { 0x0F, 0x01, 0xC1 })] // vmcall
    [InlineData(new byte[] { 0x0F, 0x01, 0xD9 })] // vmmcall
    [InlineData(new byte[] { 0x0F, 0xA2 })] // cpuid
    [InlineData(new byte[] { 0xE6, 0x80 })] // out 80h, al
    [InlineData(new byte[] { 0x0F, 0x22, 0xDB })] // mov cr3, rbx
    [InlineData(new byte[] { 0x74, 0x10 })] // je, not taken
    [InlineData(new byte[] { 0xF3, 0xA4 })] // rep movsb
    [InlineData(new byte[] { 0x0F, 0x01, 0x3B })] // invlpg
    public void FallingOverTheBoundary_FaultsBehindIt(byte[] code)
    {
        using FlatGuest guest = new();
        MapLowTop(guest);
        guest.Memory.TryWrite(new GuestPhysical(0x40_0000 - (ulong)code.Length), code);
        guest.Vcpu.SetPersonalityForTests(new KvmClockPersonality(guest.Memory, new MachineClock(), 1, 1_000_000_000));
        guest.State.Gpr[3] = guest.State.Cr3;
        guest.State.Gpr[6] = guest.State.Gpr[7] = FlatGuest.DataAt;
        guest.State.Rip = 0x0000_8000_0000_0000 - (ulong)code.Length;
        guest.Run([0xF4]);
        Assert.Equal(13, guest.Vector);
        Assert.Equal(0UL, guest.Stack(0));
        Assert.Equal(0x0000_8000_0000_0000UL, guest.Stack(1));
    }

    // The last 2 MiB of the lower half of the address space.
    private static void MapLowTop(FlatGuest guest)
    {
        guest.Memory.Write<ulong>(new GuestPhysical(0x1000 + (8 * 255)), 0x1_0003);
        guest.Memory.Write<ulong>(new GuestPhysical(0x1_0000 + (8 * 511)), 0x1_1003);
        guest.Memory.Write<ulong>(new GuestPhysical(0x1_1000 + (8 * 511)), 0x20_0183);
    }

    // Each #GP takes the next key; the first one is 0, a good address, and left out.
    private static FlatGuest NewGuest(bool user)
    {
        FlatGuest guest = new();
        guest.Handle(13, a =>
        {
            Label last = a.CreateLabel();
            a.inc(r12);
            a.cmp(r12, (int)Keys);
            a.je(last);
            a.add(rsp, 8); // the error code
            a.mov(__qword_ptr[rsp], r13);
            a.mov(__qword_ptr[rsp + 24], r14);
            a.iretq();
            a.Label(ref last);
            a.hlt();
        });
        guest.State.Gpr[12] = 1;
        guest.State.Gpr[13] = FlatGuest.CodeAt;
        guest.State.Gpr[14] = FlatGuest.StackAt;
        return user ? guest.AsUser() : guest;
    }

    private static void Start(Assembler a)
    {
        a.mov(rax, r12);
        a.shl(rax, JumpCaches.KeyShift);
    }
}
