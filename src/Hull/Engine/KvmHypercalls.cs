using Hull.Bus;

namespace Hull.Engine;

/// <summary>
/// KVM's hypercalls: the number in RAX, arguments in RBX, RCX, RDX, RSI, the result in RAX. Linux, "Linux KVM
/// Hypercall". One is served, which suites for hypervisors call without a look at CPUID: an interrupt for many.
/// </summary>
internal static class KvmHypercalls
{
    private const ulong SendIpi = 10;

    private const long NotPermitted = -1;
    private const long Invalid = -22;
    private const long NoSuchCall = -1000;

    private const int Rax = 0;
    private const int Rcx = 1;
    private const int Rdx = 2;
    private const int Rbx = 3;
    private const int Rsi = 6;

    /// <summary>Answers a call.</summary>
    /// <param name="registers">The caller's.</param>
    /// <param name="messages">Where interrupts go; null: none are sent.</param>
    /// <param name="vcpus">Virtual processors; their APIC ids are 0, 1, 2 and so on.</param>
    internal static void Call(IHypercallRegisters registers, IMsiSink? messages, int vcpus)
    {
        ulong mask = registers.Is64Bit ? ulong.MaxValue : uint.MaxValue;
        long result = registers.Cpl != 0 ? NotPermitted
            : (registers[Rax] & mask) == SendIpi && messages is not null ? Send(registers, messages, mask, vcpus)
            : NoSuchCall;
        registers[Rax] = (ulong)result & mask;
    }

    // A bit for each APIC from the id in RDX on, in RBX and then in RCX; RSI is what the ICR's low half would be.
    private static long Send(IHypercallRegisters registers, IMsiSink messages, ulong mask, int vcpus)
    {
        const ulong logical = 1 << 11;
        const ulong shorthand = 3 << 18;
        const uint vectorAndDelivery = 0x7FF;
        ulong command = registers[Rsi] & mask;
        if ((command & (logical | shorthand)) != 0)
        {
            return Invalid;
        }

        int bits = registers.Is64Bit ? 64 : 32;
        uint first = (uint)registers[Rdx];
        long sent = 0;
        for (uint i = 0; i < 2 * bits && (ulong)first + i < (ulong)vcpus; i++)
        {
            if ((registers[i < bits ? Rbx : Rcx] >> (int)(i % bits) & 1) != 0)
            {
                messages.Send(new MsiMessage(0xFEE0_0000 | ((ulong)(first + i) << 12), (uint)command & vectorAndDelivery));
                sent++;
            }
        }

        return sent;
    }
}
