using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Memory;

namespace Hull.Cpu.Assist;

/// <summary>
/// The work of string instructions: as many elements as fit into the current page of each operand, straight in host
/// memory; or one element through the MMU where a page boundary, a device, a limit or an address wrap is near.
/// </summary>
internal static unsafe class StringRuns
{
    /// <summary>Does between one element and <paramref name="most"/>.</summary>
    /// <param name="vcpu">The vCPU; its registers are not touched, except flags and the accumulator.</param>
    /// <param name="context">The instruction.</param>
    /// <param name="most">How many elements are left.</param>
    /// <param name="stop">The condition of REPE or REPNE has ended the instruction.</param>
    /// <returns>How many were done; 0 when a fault was recorded.</returns>
    internal static ulong Step(SoftVcpu vcpu, in StringContext context, ulong most, out bool stop)
    {
        stop = false;
        switch (context.Operation)
        {
            case StringOperation.Move:
                return Move(vcpu, context, most);
            case StringOperation.Fill:
                return Fill(vcpu, context, most);
            case StringOperation.Load:
                return LoadOne(vcpu, context);
            case StringOperation.Scan:
                return Scan(vcpu, context, most, out stop);
            case StringOperation.Compare:
                return Compare(vcpu, context, most, out stop);
            case StringOperation.Input:
                return InputOne(vcpu, context);
            default:
                return OutputOne(vcpu, context);
        }
    }

    private static ulong Move(SoftVcpu vcpu, in StringContext context, ulong most)
    {
        CpuState* cpu = vcpu.Cpu;
        ulong from = cpu->Gpr[Gpr.Rsi] & context.Mask;
        ulong to = cpu->Gpr[Gpr.Rdi] & context.Mask;
        ulong run = RunLength(cpu, context, context.Source, from, most, Access.Load, out ulong source);
        run = Math.Min(run, RunLength(cpu, context, Seg.Es, to, most, Access.Store, out ulong destination));
        if (run > 1)
        {
            if (!vcpu.Mmu.FindHost(source, Access.Load, out byte* sourceAt)
                || !vcpu.Mmu.FindHost(destination, Access.Store, out byte* destinationAt))
            {
                return 0;
            }

            if (sourceAt != null && destinationAt != null)
            {
                uint bytes = (uint)run * (uint)context.Size;
                uint back = context.Backward ? bytes - (uint)context.Size : 0;
                StringElements.Copy(destinationAt - back, sourceAt - back, bytes, context);
                vcpu.Mmu.Written(destinationAt - back, bytes);
                return run;
            }
        }

        return LoadElement(vcpu, context, context.Source, from, out ulong value)
            && StoreElement(vcpu, context, to, value) ? 1u : 0u;
    }

    private static ulong Fill(SoftVcpu vcpu, in StringContext context, ulong most)
    {
        CpuState* cpu = vcpu.Cpu;
        ulong to = cpu->Gpr[Gpr.Rdi] & context.Mask;
        ulong value = cpu->Gpr[Gpr.Rax];
        ulong run = RunLength(cpu, context, Seg.Es, to, most, Access.Store, out ulong destination);
        if (run > 1)
        {
            if (!vcpu.Mmu.FindHost(destination, Access.Store, out byte* at))
            {
                return 0;
            }

            if (at != null)
            {
                uint bytes = (uint)run * (uint)context.Size;
                at -= context.Backward ? bytes - (uint)context.Size : 0;
                StringElements.Fill(at, (int)run, context.Size, value);
                vcpu.Mmu.Written(at, bytes);
                return run;
            }
        }

        return StoreElement(vcpu, context, to, value) ? 1u : 0u;
    }

    private static ulong Scan(SoftVcpu vcpu, in StringContext context, ulong most, out bool stop)
    {
        CpuState* cpu = vcpu.Cpu;
        stop = false;
        ulong at = cpu->Gpr[Gpr.Rdi] & context.Mask;
        ulong accumulator = cpu->Gpr[Gpr.Rax] & Operands.SizeMask(context.Size);
        ulong run = RunLength(cpu, context, Seg.Es, at, most, Access.Load, out ulong linear);
        if (run > 1)
        {
            if (!vcpu.Mmu.FindHost(linear, Access.Load, out byte* host))
            {
                return 0;
            }

            if (host != null)
            {
                nint step = context.Backward ? -context.Size : context.Size;
                ulong index = StringElements.SkipScanned(context, host, (int)run, accumulator);
                ulong element;
                do
                {
                    // SAFETY: RunLength keeps all elements of the run inside the page that FindHost gave.
                    element = StringElements.Read(host + ((nint)index * step), context.Size);
                    stop = Stops(context, accumulator == element);
                    index++;
                }
                while (index < run && !stop);

                SetFlags(cpu, accumulator, element, context.Size);
                return index;
            }
        }

        if (!LoadElement(vcpu, context, Seg.Es, at, out ulong value))
        {
            return 0;
        }

        SetFlags(cpu, accumulator, value, context.Size);
        stop = Stops(context, accumulator == value);
        return 1;
    }

    private static ulong Compare(SoftVcpu vcpu, in StringContext context, ulong most, out bool stop)
    {
        CpuState* cpu = vcpu.Cpu;
        stop = false;
        ulong first = cpu->Gpr[Gpr.Rsi] & context.Mask;
        ulong second = cpu->Gpr[Gpr.Rdi] & context.Mask;
        ulong run = RunLength(cpu, context, context.Source, first, most, Access.Load, out ulong left);
        run = Math.Min(run, RunLength(cpu, context, Seg.Es, second, most, Access.Load, out ulong right));
        if (run > 1)
        {
            if (!vcpu.Mmu.FindHost(left, Access.Load, out byte* leftAt)
                || !vcpu.Mmu.FindHost(right, Access.Load, out byte* rightAt))
            {
                return 0;
            }

            if (leftAt != null && rightAt != null)
            {
                nint step = context.Backward ? -context.Size : context.Size;
                ulong index = StringElements.SkipEqual(context, leftAt, rightAt, (int)run);
                ulong x;
                ulong y;
                do
                {
                    // SAFETY: RunLength keeps all elements of the run inside the pages that FindHost gave.
                    x = StringElements.Read(leftAt + ((nint)index * step), context.Size);
                    y = StringElements.Read(rightAt + ((nint)index * step), context.Size);
                    stop = Stops(context, x == y);
                    index++;
                }
                while (index < run && !stop);

                SetFlags(cpu, x, y, context.Size);
                return index;
            }
        }

        if (!LoadElement(vcpu, context, context.Source, first, out ulong a)
            || !LoadElement(vcpu, context, Seg.Es, second, out ulong b))
        {
            return 0;
        }

        SetFlags(cpu, a, b, context.Size);
        stop = Stops(context, a == b);
        return 1;
    }

    private static ulong LoadOne(SoftVcpu vcpu, in StringContext context)
    {
        ulong from = vcpu.Cpu->Gpr[Gpr.Rsi] & context.Mask;
        if (!LoadElement(vcpu, context, context.Source, from, out ulong value))
        {
            return 0;
        }

        Operands.WriteAccumulator(vcpu.Cpu, value, context.Size);
        return 1;
    }

    /// <summary>The destination is checked before the port is read, because the read may have an effect.</summary>
    private static ulong InputOne(SoftVcpu vcpu, in StringContext context)
    {
        CpuState* cpu = vcpu.Cpu;
        ulong to = cpu->Gpr[Gpr.Rdi] & context.Mask;
        if (!Segmentation.TryLinear(vcpu, Seg.Es, to, (uint)context.Size, Access.Store, out ulong linear)
            || !vcpu.Mmu.Probe(linear, context.Size, Access.Store))
        {
            return 0;
        }

        NotePort(vcpu, context);
        uint value = vcpu.Bus.ReadPort((ushort)cpu->Gpr[Gpr.Rdx], context.Size);
        return Operands.StoreSized(vcpu, linear, context.Size, value, Access.Store) ? 1u : 0u;
    }

    private static ulong OutputOne(SoftVcpu vcpu, in StringContext context)
    {
        CpuState* cpu = vcpu.Cpu;
        ulong from = cpu->Gpr[Gpr.Rsi] & context.Mask;
        if (!LoadElement(vcpu, context, context.Source, from, out ulong value))
        {
            return 0;
        }

        NotePort(vcpu, context);
        vcpu.Bus.WritePort((ushort)cpu->Gpr[Gpr.Rdx], context.Size, (uint)value);
        return 1;
    }

    private static void NotePort(SoftVcpu vcpu, in StringContext context)
    {
        if (vcpu.Debug.PortsArmed)
        {
            vcpu.Debug.NotePort((ushort)vcpu.Cpu->Gpr[Gpr.Rdx], context.Size);
        }
    }

    /// <summary>
    /// How many elements from here can be reached without leaving the page, wrapping the address or meeting the limit;
    /// 0 or 1 means: take the careful way.
    /// </summary>
    private static ulong RunLength(
        CpuState* cpu, in StringContext context, int segment, ulong offset, ulong most, Access access, out ulong linear)
    {
        ref CpuSegment register = ref cpu->Segments[segment];
        bool wide = CpuMode.Is64Bit(cpu);
        linear = wide ? (segment >= Seg.Fs ? register.Base + offset : offset) : (uint)(register.Base + offset);
        uint size = (uint)context.Size;
        uint inPage = (uint)linear & 0xFFF;
        if (inPage + size > GuestMemory.PageSize || context.Mask - offset < size - 1 || (wide && !CpuMode.IsCanonical(linear))
            || ((linear & (size - 1)) != 0 && Segmentation.ChecksAlignment(cpu)))
        {
            return 0;
        }

        ulong run = context.Backward
            ? Math.Min(inPage / size, offset / size) + 1
            : Math.Min((GuestMemory.PageSize - inPage) / size, Math.Min((context.Mask - offset - (size - 1)) / size, GuestMemory.PageSize) + 1);
        run = Math.Min(run, most);
        if (wide || run == 0)
        {
            return run;
        }

        ulong lowest = context.Backward ? offset - ((run - 1) * size) : offset;
        return Segmentation.IsInside(cpu, register, lowest, (uint)run * size, access) ? run : 0;
    }

    private static bool Stops(in StringContext context, bool equal) =>
        equal ? context.StopsWhenEqual : context.StopsWhenDifferent;

    private static bool LoadElement(
        SoftVcpu vcpu, in StringContext context, int segment, ulong offset, out ulong value)
    {
        value = 0;
        return Segmentation.TryLinear(vcpu, segment, offset, (uint)context.Size, Access.Load, out ulong linear)
            && Operands.LoadSized(vcpu, linear, context.Size, Access.Load, out value);
    }

    private static bool StoreElement(SoftVcpu vcpu, in StringContext context, ulong offset, ulong value) =>
        Segmentation.TryLinear(vcpu, Seg.Es, offset, (uint)context.Size, Access.Store, out ulong linear)
        && Operands.StoreSized(vcpu, linear, context.Size, value, Access.Store);

    private static void SetFlags(CpuState* cpu, ulong left, ulong right, int size) =>
        cpu->ArithmeticFlags = FlagArithmetic.Subtract(left, right, size);
}
