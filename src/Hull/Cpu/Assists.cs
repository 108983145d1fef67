using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Hull.Cpu.State;

namespace Hull.Cpu;

/// <summary>
/// The doors from generated code to C#: unmanaged entry points that find the vCPU and call it. Nothing may be thrown
/// across generated frames, so each one turns an exception (a bug of ours, or a device's) into the end of Run.
/// </summary>
internal static unsafe class Assists
{
    /// <summary>Set in a record's number: raise the exception in the low byte.</summary>
    internal const int RaiseRecord = 0x4000_0000;

    /// <summary>Set in a record's number: its instruction is #UD, whatever assist there is for it.</summary>
    internal const int UndefinedRecord = 0x2000_0000;

    /// <summary>Runs the assist whose record is in ExitOperand. Returns 0 to go on, else leave generated code.</summary>
    [UnmanagedCallersOnly]
    internal static ulong Run(CpuState* cpu)
    {
        SoftVcpu vcpu = Of(cpu);
#pragma warning disable CA1031 // an exception cannot cross a generated frame: it ends the run instead
        try
        {
            return vcpu.AssistDoor.Run((int)cpu->ExitOperand);
        }
        catch (Exception e)
        {
            vcpu.Fail(e);
            return 1;
        }
#pragma warning restore CA1031
    }

    /// <summary>An access missed the inline TLB. Returns the host address, or 0 to leave.</summary>
    /// <param name="cpu">The state.</param>
    /// <param name="linear">The linear address.</param>
    /// <param name="access">Bytes; bit 8 set for a store.</param>
    /// <param name="back">The host pc behind the check, which tells the instruction.</param>
    [UnmanagedCallersOnly]
    internal static ulong MemorySlow(CpuState* cpu, ulong linear, ulong access, ulong back)
    {
        SoftVcpu vcpu = Of(cpu);
#pragma warning disable CA1031 // an exception cannot cross a generated frame: it ends the run instead
        try
        {
            return (ulong)vcpu.Door.MemorySlow(linear, (int)(access & 0xFF), (access & 0x100) != 0, (byte*)back);
        }
        catch (Exception e)
        {
            vcpu.Fail(e);
            return 0;
        }
#pragma warning restore CA1031
    }

    /// <summary>Brings an operand into the bounce buffer. Returns its address there, or 0 to leave.</summary>
    [UnmanagedCallersOnly]
    internal static ulong CarefulLoad(CpuState* cpu, ulong address, ulong site, ulong back)
    {
        SoftVcpu vcpu = Of(cpu);
#pragma warning disable CA1031 // an exception cannot cross a generated frame: it ends the run instead
        try
        {
            return (ulong)vcpu.Door.CarefulLoad(address, (int)site, (byte*)back);
        }
        catch (Exception e)
        {
            vcpu.Fail(e);
            return 0;
        }
#pragma warning restore CA1031
    }

    /// <summary>Writes the bounce buffer back to the last careful operand. Returns not 0, or 0 to leave.</summary>
    [UnmanagedCallersOnly]
    internal static ulong CarefulStore(CpuState* cpu, ulong address, ulong site, ulong back)
    {
        SoftVcpu vcpu = Of(cpu);
#pragma warning disable CA1031 // an exception cannot cross a generated frame: it ends the run instead
        try
        {
            return vcpu.Door.CarefulStore((byte*)back) ? 1UL : 0;
        }
        catch (Exception e)
        {
            vcpu.Fail(e);
            return 0;
        }
#pragma warning restore CA1031
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static SoftVcpu Of(CpuState* cpu) =>
        Unsafe.As<SoftVcpu>(GCHandle.FromIntPtr(cpu->VcpuHandle).Target!);
}
