using System;
using System.Threading;
using Hull.Engine;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Cpu.Translate;

/// <summary>Loops without a backward jump, because RIP wraps around: a kick ends them all the same.</summary>
public sealed unsafe class WrapAroundTests : IDisposable
{
    private const byte Nop = 0x90;

    // Only a hang is that slow, whatever else the host does.
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(1);

    private readonly FlatGuest _guest = new();

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void FallingOffTheTopOfTheAddressSpace_CanBeKicked()
    {
        const ulong Last = 0xFFFF_FFFF_FFFF_FFF0;
        MapTop(0x20_0000);
        Fill(0x3F_FFF0, 16);
        _guest.Memory.TryWrite(new GuestPhysical(0), [0xEB, 0xEE]); // jmp to Last: forward, as addresses go
        KickInTheLoop(Last, Last, 2);
    }

    [Fact]
    public void JumpingOverTheTopOfTheAddressSpace_CanBeKicked()
    {
        const ulong Last = 0xFFFF_FFFF_FFFF_FFFE;
        MapTop(0x20_0000);
        _guest.Memory.TryWrite(new GuestPhysical(0x3F_FFFE), [0xEB, 0x10]); // jmp to 0x10
        _guest.Memory.TryWrite(new GuestPhysical(0x10), [0xEB, 0xEC]); // jmp back: forward, as addresses go
        KickInTheLoop(Last, Last, 2);
    }

    [Fact]
    public void FallingOffThe64KiBOf16BitCode_CanBeKicked()
    {
        Fill(FlatGuest.CodeAt, 0x1_0000);
        _guest.State.Segments[1] =
            new SegmentRegister { Selector = 0x10, Base = FlatGuest.CodeAt, Limit = 0xFFFF, Attributes = 0x9B };
        KickInTheLoop(0, 0xFFC0, 0);
    }

    [Fact]
    public void FallingOffThe4GiBOf32BitCode_CanBeKicked()
    {
        _guest.Memory.Write<ulong>(new GuestPhysical(0x2000 + (8 * 3)), 0x2_0003);
        _guest.Memory.Write<ulong>(new GuestPhysical(0x2_0000 + (8 * 511)), 0x20_0183);
        Fill(0x3F_FFF0, 16);
        _guest.Memory.TryWrite(new GuestPhysical(0), [0xEB, 0xEE]);
        _guest.State.Segments[1] = new SegmentRegister { Selector = 0x10, Limit = uint.MaxValue, Attributes = 0xC09B };
        KickInTheLoop(0, 0xFFFF_FFF0, 0);
    }

    // A block whose way out is not known yet leaves; after that nothing but a poll does. A jump to what the jump cache has
    // is not linked.
    private void KickInTheLoop(ulong start, ulong kickAt, ulong links)
    {
        _guest.State.Rip = start;
        _guest.Vcpu.SetState(_guest.State);
        do
        {
            if (links != 0)
            {
                _guest.Vcpu.Tlb.Jumps.Flush();
            }

            Assert.True(_guest.Vcpu.StepLinked());
        }
        while (_guest.Vcpu.Cpu->Rip != kickAt || (links != 0 && _guest.Engine.Cache.ChainLinks != links));

        _guest.Vcpu.Kick();
        Thread runner = new(() => _guest.Vcpu.StepLinked()) { IsBackground = true };
        runner.Start();
        Assert.True(runner.Join(Limit), "the loop does not look for attention");
    }

    // The last 2 MiB of the address space, and the first ones, as global pages: links cross them.
    private void MapTop(ulong frame)
    {
        _guest.Memory.Write<ulong>(new GuestPhysical(0x1000 + (8 * 511)), 0x1_0003);
        _guest.Memory.Write<ulong>(new GuestPhysical(0x1_0000 + (8 * 511)), 0x1_1003);
        _guest.Memory.Write(new GuestPhysical(0x1_1000 + (8 * 511)), frame | 0x183);
        _guest.Memory.Write<ulong>(new GuestPhysical(0x3000), 0x183);
    }

    private void Fill(ulong at, int length)
    {
        byte[] code = new byte[length];
        Array.Fill(code, Nop);
        _guest.Memory.TryWrite(new GuestPhysical(at), code);
    }
}
