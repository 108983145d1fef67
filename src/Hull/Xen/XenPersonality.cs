using System;
using System.Buffers.Binary;
using Hull.Engine;
using Hull.Memory;

namespace Hull.Xen;

/// <summary>
/// Makes a guest see Xen 4.17: CPUID leaves, the hypercall page, and hypercalls by VMCALL and VMMCALL, which act on a
/// <see cref="Domain"/>.
/// </summary>
internal sealed class XenPersonality(Domain domain) : IPersonality
{
    private const int Rax = 0;
    private const int SlotSize = 32;

    // RDI, RSI, RDX, R10, R8 of a 64-bit caller; EBX, ECX, EDX, ESI, EDI of another.
    private static ReadOnlySpan<int> LongRegisters => [7, 6, 2, 10, 8];

    private static ReadOnlySpan<int> ShortRegisters => [3, 1, 2, 6, 7];

    /// <inheritdoc/>
    public uint HypercallMsr => XenCpuid.HypercallMsr;

    /// <inheritdoc/>
    public bool TryCpuid(int vcpu, uint leaf, uint subleaf, out CpuidResult result)
    {
        domain.NoteRunning(vcpu); // started processors ask who they are; KVM asks for all of them beforehand
        return XenCpuid.TryRead(domain, vcpu, leaf, subleaf, out result);
    }

    /// <inheritdoc/>
    public bool TryReadMsr(int vcpu, uint index, out ulong value)
    {
        value = 0;
        return index == XenCpuid.HypercallMsr;
    }

    /// <inheritdoc/>
    public bool TryWriteMsr(int vcpu, uint index, ulong value)
    {
        // Bits 11:0 are the index of a page; there is one.
        return index == XenCpuid.HypercallMsr && (value & 0xFFF) == 0 && TryWriteHypercallPage(new GuestPhysical(value));
    }

    /// <inheritdoc/>
    public bool TryHypercall(int vcpu, IHypercallRegisters registers)
    {
        if (registers.Cpl != 0)
        {
            registers[Rax] = unchecked((ulong)XenError.NotPermitted);
            return true;
        }

        Span<ulong> arguments = stackalloc ulong[5];
        bool is64 = registers.Is64Bit;
        ReadOnlySpan<int> places = is64 ? LongRegisters : ShortRegisters;
        for (int i = 0; i < places.Length; i++)
        {
            arguments[i] = is64 ? registers[places[i]] : (uint)registers[places[i]];
        }

        ulong number = is64 ? registers[Rax] : (uint)registers[Rax];
        long result = domain.Enter(vcpu, registers, number, arguments);
        registers[Rax] = is64 ? (ulong)result : (uint)result;
        return true;
    }

    /// <inheritdoc/>
    public void HaltedWithInterruptsOff(int vcpu) => domain.VcpuDown(vcpu);

    // Each slot: mov eax, number; vmcall; ret. Slot 23, iret, is for PV guests only: ud2.
    private bool TryWriteHypercallPage(GuestPhysical at)
    {
        Span<byte> page = stackalloc byte[GuestMemory.PageSize];
        page.Fill(0xCC);
        for (int number = 0; number < GuestMemory.PageSize / SlotSize; number++)
        {
            Span<byte> slot = page.Slice(number * SlotSize, SlotSize);
            slot[0] = 0xB8;
            BinaryPrimitives.WriteInt32LittleEndian(slot[1..], number);
            ReadOnlySpan<byte> call = [0x0F, 0x01, 0xC1, 0xC3];
            call.CopyTo(slot[5..]);
        }

        const int iret = 23;
        const ushort ud2 = 0x0B0F;
        BinaryPrimitives.WriteUInt16LittleEndian(page[(iret * SlotSize)..], ud2);

        return domain.Memory.TryWrite(at, page);
    }
}
