using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Hull.Engine;

namespace Hull.Xen.Hypercalls;

/// <summary>Numbers of hypercalls. Xen, public/xen.h, "HYPERCALLS".</summary>
internal enum HypercallNumber
{
    PlatformOp = 7,
    MemoryOp = 12,
    Multicall = 13,
    SetTimerOp = 15,
    XenVersion = 17,
    ConsoleIo = 18,
    GrantTableOp = 20,
    VmAssist = 21,
    VcpuOp = 24,
    MmuextOp = 26,
    SchedOp = 29,
    EventChannelOp = 32,
    PhysdevOp = 33,
    HvmOp = 34,
    Sysctl = 35,
    Domctl = 36,
    XenpmuOp = 40,
    DmOp = 41,
    HypfsOp = 42,
    PagingDomctl = 49,
}

/// <summary>Numbers of domains in arguments. Xen, public/xen.h, "DOMID_*".</summary>
internal static class DomainNumber
{
    /// <summary>DOMID_SELF: the caller's own.</summary>
    internal const ushort Self = 0x7FF0;

    /// <summary>The domain that has all privileges, and the back ends.</summary>
    internal const ushort Control = 0;
}

/// <summary>
/// One hypercall: who calls, the arguments, and the way to the caller's memory. A structure is copied once; what is
/// checked is the copy.
/// </summary>
internal readonly ref struct Hypercall(Domain domain, DomainVcpu vcpu, IHypercallRegisters registers, ReadOnlySpan<ulong> arguments)
{
    private readonly ReadOnlySpan<ulong> _arguments = arguments;

    /// <summary>The caller's domain.</summary>
    internal Domain Domain => domain;

    /// <summary>The caller.</summary>
    internal DomainVcpu Vcpu => vcpu;

    /// <summary>The caller's registers and memory.</summary>
    internal IHypercallRegisters Registers => registers;

    /// <summary>Argument <paramref name="index"/>, from 0.</summary>
    internal ulong this[int index] => _arguments[index];

    /// <summary>Argument <paramref name="index"/> as the 32 bits that most sub-operations are.</summary>
    internal uint Word(int index) => (uint)_arguments[index];

    /// <summary>True when a domain's number means the caller's own domain.</summary>
    internal bool IsOwn(ushort number) => number == DomainNumber.Self || number == domain.Id;

    /// <summary>
    /// What is said to a caller that asks for a domain: 0 for its own, <paramref name="denied"/> for dom0, which is none of its business,
    /// and for others that there is no such domain.
    /// </summary>
    internal long CheckDomain(ushort number, long denied = XenError.NotPermitted) =>
        IsOwn(number) ? 0 : number == DomainNumber.Control ? denied : XenError.NoSuchDomain;

    /// <summary>A call of the same caller with other arguments.</summary>
    internal Hypercall With(ReadOnlySpan<ulong> arguments) => new(domain, vcpu, registers, arguments);

    /// <summary>Copies bytes from the address in an argument.</summary>
    internal bool TryLoad(int index, Span<byte> bytes) => registers.TryLoad(_arguments[index], bytes);

    /// <summary>Copies one of the caller's long words from an address.</summary>
    internal bool TryLoadWordAt(ulong address, out ulong value)
    {
        value = 0;
        return registers.TryLoad(address, MemoryMarshal.AsBytes(new Span<ulong>(ref value))[..WordBytes]);
    }

    /// <summary>Copies a structure from the address in an argument.</summary>
    /// <returns>False: the result is <see cref="XenError.Fault"/>.</returns>
    internal bool TryLoad<T>(int index, out T value)
        where T : unmanaged
    {
        Unsafe.SkipInit(out value);
        return registers.TryLoad(_arguments[index], MemoryMarshal.AsBytes(new Span<T>(ref value)));
    }

    /// <summary>Bytes of the caller's pointers and long words.</summary>
    internal int WordBytes => registers.Is64Bit ? sizeof(ulong) : sizeof(uint);

    /// <summary>Copies one of them, so many bytes behind the address in an argument.</summary>
    /// <returns>False: the result is <see cref="XenError.Fault"/>.</returns>
    internal bool TryLoadWord(int index, int offset, out ulong value)
    {
        value = 0;
        Span<byte> bytes = MemoryMarshal.AsBytes(new Span<ulong>(ref value))[..WordBytes];
        return registers.TryLoad(_arguments[index] + (ulong)offset, bytes);
    }

    /// <summary>Copies a structure to the address in an argument.</summary>
    /// <returns>False: the result is <see cref="XenError.Fault"/>.</returns>
    internal bool TryStore<T>(int index, in T value)
        where T : unmanaged =>
        registers.TryStore(_arguments[index], MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    /// <summary>Copies bytes to the address in an argument.</summary>
    internal bool TryStore(int index, ReadOnlySpan<byte> bytes) => registers.TryStore(_arguments[index], bytes);
}
