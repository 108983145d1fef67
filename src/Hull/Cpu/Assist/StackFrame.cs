using System;
using Hull.Cpu.Mmu;
using Hull.Cpu.State;
using Hull.Memory;

namespace Hull.Cpu.Assist;

/// <summary>A stack that is about to be used: the current one, or an inner one that is not loaded yet.</summary>
internal unsafe struct StackTarget
{
    /// <summary>SS as it will be; unused in 64-bit mode.</summary>
    internal CpuSegment Segment;

    /// <summary>The stack pointer before the first push.</summary>
    internal ulong Pointer;

    /// <summary>The bits of the stack pointer that count.</summary>
    internal ulong Mask;

    /// <summary>64-bit mode: no limit, canonical check.</summary>
    internal bool Is64Bit;

    /// <summary>The error code of #SS: zero on the current stack, the new selector on an inner one.</summary>
    internal uint ErrorSelector;

    /// <summary>How the stack is reached: <see cref="Access.System"/> for an inner one.</summary>
    internal Access Access;

    /// <summary>The current stack.</summary>
    internal static StackTarget Current(CpuState* cpu)
    {
        ulong mask = CpuMode.StackMask(cpu);
        return new StackTarget
        {
            Segment = cpu->Segments[Seg.Ss],
            Pointer = cpu->Gpr[Gpr.Rsp] & mask,
            Mask = mask,
            Is64Bit = mask == ulong.MaxValue,
            Access = Access.Stack,
        };
    }

    /// <summary>An inner stack outside 64-bit mode.</summary>
    internal static StackTarget Inner(in CpuSegment segment, ulong pointer)
    {
        ulong mask = (segment.Attributes & SegmentAttributes.Big) != 0 ? uint.MaxValue : 0xFFFF;
        return new StackTarget
        {
            Segment = segment,
            Pointer = pointer & mask,
            Mask = mask,
            ErrorSelector = (uint)segment.Selector & 0xFFFC,
            Access = Access.Stack | Access.System,
        };
    }

    /// <summary>The linear address of an element; false when a fault was recorded.</summary>
    internal readonly bool TryLinear(SoftVcpu vcpu, ulong offset, uint size, Access access, out ulong linear)
    {
        if (Is64Bit)
        {
            linear = offset;
            return CpuMode.IsCanonical(offset) && CpuMode.IsCanonical(offset + size - 1)
                ? IsAligned(vcpu, linear, size)
                : vcpu.Raise(Vector.Stack, ErrorSelector);
        }

        linear = (uint)(Segment.Base + offset);
        return Segmentation.IsInside(vcpu.Cpu, Segment, offset, size, access)
            ? IsAligned(vcpu, linear, size)
            : vcpu.Raise(Vector.Stack, ErrorSelector);
    }

    /// <summary>Checks the alignment of elements of a size; an inner stack is the supervisor's and not checked.</summary>
    internal readonly bool IsAligned(SoftVcpu vcpu, ulong linear, uint size) =>
        (Access & Access.System) != 0 || !Segmentation.ChecksAlignment(vcpu.Cpu)
        || Segmentation.IsAligned(vcpu, linear, size);
}

/// <summary>
/// Several pushes that happen all or not at all. Values are collected, then <see cref="Commit"/> checks and stores them;
/// the caller writes the stack pointer when everything else is certain too.
/// </summary>
internal unsafe ref struct StackFrame
{
    /// <summary>35 elements of 8 bytes: more than a call gate can push.</summary>
    private const int MaximumBytes = 280;

    private readonly StackTarget _target;
    private readonly Span<ulong> _values;
    private readonly int _width;
    private int _count;

    /// <param name="target">The stack.</param>
    /// <param name="width">Bytes of each element: 2, 4 or 8.</param>
    /// <param name="storage">Room for the values; on the caller's frame.</param>
    internal StackFrame(in StackTarget target, int width, Span<ulong> storage)
    {
        _target = target;
        _width = width;
        _values = storage;
    }

    /// <summary>The stack pointer after the pushes.</summary>
    internal readonly ulong Pointer => (_target.Pointer - (uint)(_count * _width)) & _target.Mask;

    /// <summary>Adds a value.</summary>
    internal void Push(ulong value) => _values[_count++] = value;

    /// <summary>Checks and stores everything; false when a fault was recorded and nothing was stored.</summary>
    internal readonly bool Commit(SoftVcpu vcpu)
    {
        uint bytes = (uint)(_count * _width);
        if (_target.Pointer != 0 && _target.Pointer < bytes)
        {
            return CommitWrapped(vcpu);
        }

        if (!_target.TryLinear(vcpu, Pointer, bytes, Access.Store, out ulong linear)
            || !_target.IsAligned(vcpu, linear, (uint)_width))
        {
            return false;
        }

        if ((linear & 0xFFF) + bytes > GuestMemory.PageSize)
        {
            return CommitAcross(vcpu, linear);
        }

        if (!vcpu.Mmu.FindHost(linear, _target.Access | Access.Store, out byte* host))
        {
            return false;
        }

        if (host == null)
        {
            return CommitAcross(vcpu, linear);
        }

        // SAFETY: FindHost gave a place in a host page, and the frame was just checked to end inside it.
        Fill(host);
        vcpu.Mmu.Written(host, bytes);
        return true;
    }

    /// <summary>The frame crosses a page or lies in a device.</summary>
    private readonly bool CommitAcross(SoftVcpu vcpu, ulong linear)
    {
        byte* image = stackalloc byte[MaximumBytes];
        Fill(image);
        ReadOnlySpan<byte> bytes = new(image, _count * _width);
        return vcpu.Mmu.Store(linear, bytes, _target.Access | Access.Store);
    }

    private readonly void Fill(byte* image)
    {
        // SAFETY: the callers give room for all elements.
        byte* at = image + (_count * _width);
        for (int index = 0; index < _count; index++)
        {
            at -= _width;
            switch (_width)
            {
                case 2:
                    *(ushort*)at = (ushort)_values[index];
                    break;
                case 4:
                    *(uint*)at = (uint)_values[index];
                    break;
                default:
                    *(ulong*)at = _values[index];
                    break;
            }
        }
    }

    /// <summary>The frame wraps around the end of the stack segment: one element at a time, all checked before.</summary>
    private readonly bool CommitWrapped(SoftVcpu vcpu)
    {
        Access access = _target.Access | Access.Store;
        for (int pass = 0; pass < 2; pass++)
        {
            for (int index = 0; index < _count; index++)
            {
                ulong offset = (_target.Pointer - (uint)((index + 1) * _width)) & _target.Mask;
                if (!_target.TryLinear(vcpu, offset, (uint)_width, Access.Store, out ulong linear))
                {
                    return false;
                }

                bool done = pass == 0
                    ? vcpu.Mmu.Probe(linear, _width, access)
                    : Operands.StoreSized(vcpu, linear, _width, _values[index], access);
                if (!done)
                {
                    return false;
                }
            }
        }

        return true;
    }
}

/// <summary>Pops and pushes on the current stack.</summary>
internal static unsafe class CurrentStack
{
    /// <summary>
    /// Checks that bytes from the top are inside the limit; false when #SS was recorded. What wraps around is not checked.
    /// </summary>
    internal static bool IsInside(SoftVcpu vcpu, uint bytes)
    {
        StackTarget target = StackTarget.Current(vcpu.Cpu);
        return target.Is64Bit || target.Mask - target.Pointer < bytes - 1
            || Segmentation.IsInside(vcpu.Cpu, target.Segment, target.Pointer, bytes, Access.Load)
            || vcpu.Raise(Vector.Stack, 0);
    }

    /// <summary>Reads elements from the top without popping them: element 0 is the top.</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="width">Bytes of each element: 2, 4 or 8.</param>
    /// <param name="skip">Bytes between the top and element 0.</param>
    /// <param name="values">Receives them, zero-extended.</param>
    internal static bool Peek(SoftVcpu vcpu, int width, uint skip, Span<ulong> values)
    {
        StackTarget target = StackTarget.Current(vcpu.Cpu);
        uint bytes = (uint)(values.Length * width);
        ulong at = (target.Pointer + skip) & target.Mask;
        if (target.Mask - at >= bytes - 1)
        {
            if (!target.TryLinear(vcpu, at, bytes, Access.Load, out ulong linear)
                || !target.IsAligned(vcpu, linear, (uint)width))
            {
                return false;
            }

            return PeekRun(vcpu, linear, width, values);
        }

        for (int index = 0; index < values.Length; index++)
        {
            ulong offset = (at + (uint)(index * width)) & target.Mask;
            if (!target.TryLinear(vcpu, offset, (uint)width, Access.Load, out ulong linear)
                || !Operands.LoadSized(vcpu, linear, width, Access.Stack, out values[index]))
            {
                return false;
            }
        }

        return true;
    }

    private static bool PeekRun(SoftVcpu vcpu, ulong linear, int width, Span<ulong> values)
    {
        int bytes = values.Length * width;
        byte* image = null;
        if ((int)(linear & 0xFFF) + bytes <= GuestMemory.PageSize && !vcpu.Mmu.FindHost(linear, Access.Stack, out image))
        {
            return false;
        }

        if (image == null)
        {
            return PeekAcross(vcpu, linear, width, values);
        }

        for (int index = 0; index < values.Length; index++)
        {
            // SAFETY: FindHost gave a place in a host page, and the elements were just checked to end inside it.
            byte* at = image + (index * width);
            values[index] = width switch
            {
                2 => *(ushort*)at,
                4 => *(uint*)at,
                _ => *(ulong*)at,
            };
        }

        return true;
    }

    /// <summary>The elements cross a page or lie in a device.</summary>
    private static bool PeekAcross(SoftVcpu vcpu, ulong linear, int width, Span<ulong> values)
    {
        for (int index = 0; index < values.Length; index++)
        {
            ulong at = linear + (uint)(index * width);
            at = CpuMode.Is64Bit(vcpu.Cpu) ? at : (uint)at;
            if (!Operands.LoadSized(vcpu, at, width, Access.Stack, out values[index]))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Pushes one value.</summary>
    internal static bool Push(SoftVcpu vcpu, int width, ulong value)
    {
        Span<ulong> storage = stackalloc ulong[1];
        StackFrame frame = new(StackTarget.Current(vcpu.Cpu), width, storage);
        frame.Push(value);
        if (!frame.Commit(vcpu))
        {
            return false;
        }

        SetPointer(vcpu.Cpu, frame.Pointer);
        return true;
    }

    /// <summary>Moves the stack pointer up.</summary>
    internal static void Release(CpuState* cpu, uint bytes) => SetPointer(cpu, cpu->Gpr[Gpr.Rsp] + bytes);

    /// <summary>Writes SP, ESP or RSP, as the stack's size says.</summary>
    internal static void SetPointer(CpuState* cpu, ulong pointer) =>
        Operands.WriteMasked(cpu, Gpr.Rsp, pointer, CpuMode.StackMask(cpu));
}
