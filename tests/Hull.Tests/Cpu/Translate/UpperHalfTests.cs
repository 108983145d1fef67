using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hull.Cpu.State;
using Hull.Cpu.Translate;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Cpu.Translate;

/// <summary>The upper halves of YMM registers are the guest's, whatever C# does with the host's between two pieces of its code.</summary>
public sealed unsafe class UpperHalfTests
{
    private const int ThunkBytes = 64 << 10;

    // C# left its own values there, now and then: what the guest's VZEROUPPER had cleared was not zero behind a block's end.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Enter_BringsTheGuestsHalvesAndNotTheHosts(bool used)
    {
        if (!Avx.IsSupported)
        {
            return; // the guest has no such registers either
        }

        using ExecutableMemory memory = new(ThunkBytes + 4096);
        using VcpuMemory vcpu = new();
        CpuState* cpu = vcpu.State;
        cpu->Mxcsr = 0x1F80;
        cpu->YmmDirty = used ? 1u : 0;
        Vector128<ulong>* guests = (Vector128<ulong>*)&cpu->YmmHigh;
        guests[0] = Vector128.Create(1UL, 2);
        guests[15] = Vector128.Create(3UL, 4);
        Vector128<ulong>* seen = stackalloc Vector128<ulong>[2];

        Emitter e = new() { At = memory.Base };
        Thunks thunks = new(e, avx: true, fastPext: false);
        Assert.True(e.At < memory.Base + ThunkBytes);

        // The block: vextractf128 [rax], ymm0, 1; vextractf128 [rax + 16], ymm15, 1.
        byte* block = e.At;
        e.MoveImmediate(HostRegister.Rax, (ulong)seen);
        e.Bytes(0xC4, 0xE3, 0x7D, 0x19);
        e.Bytes(0x00, 0x01);
        e.Bytes(0xC4, 0x63, 0x7D, 0x19);
        e.Bytes(0x78, 0x10, 0x01);
        e.Jump(thunks.Exit);

        // C#: vcmptrueps ymm0, ymm0, ymm0; vcmptrueps ymm15, ymm15, ymm15; on to Enter.
        delegate* unmanaged<CpuState*, byte*, ulong> enter = (delegate* unmanaged<CpuState*, byte*, ulong>)e.At;
        e.Bytes(0xC5, 0xFC, 0xC2, 0xC0);
        e.Byte(0x0F);
        e.Bytes(0xC4, 0x41, 0x04, 0xC2);
        e.Bytes(0xFF, 0x0F);
        e.Jump(thunks.Enter);

        enter(cpu, block);
        Assert.Equal(used ? guests[0] : default, seen[0]);
        Assert.Equal(used ? guests[15] : default, seen[1]);
    }
}
