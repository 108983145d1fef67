using System.Numerics;
using System.Runtime.CompilerServices;

namespace Hull.Devices.Irq;

/// <summary>A set of the 256 interrupt vectors: IRR, ISR and TMR. SDM vol. 3A, "Interrupt Acceptance for Fixed Interrupts".</summary>
[InlineArray(4)]
internal struct VectorSet
{
    private ulong _first;

    /// <summary>The highest member, or -1.</summary>
    internal readonly int Highest
    {
        get
        {
            for (int i = 3; i >= 0; i--)
            {
                if (this[i] != 0)
                {
                    return (i * 64) + 63 - BitOperations.LeadingZeroCount(this[i]);
                }
            }

            return -1;
        }
    }

    internal readonly bool Contains(int vector) => (this[(vector >> 6) & 3] >> vector & 1) != 0;

    internal void Add(int vector) => this[(vector >> 6) & 3] |= 1UL << vector;

    internal void Remove(int vector) => this[(vector >> 6) & 3] &= ~(1UL << vector);

    internal void Clear() => this = default;

    /// <summary>The register that holds vectors 32 * index and up.</summary>
    internal readonly uint Register(int index) => (uint)(this[(index >> 1) & 3] >> ((index & 1) * 32));
}
