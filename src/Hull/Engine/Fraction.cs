using System;

namespace Hull.Engine;

/// <summary>A ratio of two frequencies with small terms.</summary>
internal static class Fraction
{
    /// <summary>The last convergent of a continued fraction with a numerator of at most <paramref name="most"/>.</summary>
    internal static (ulong Numerator, ulong Denominator) Approximate(ulong value, ulong divisor, ulong most)
    {
        ulong a = value;
        ulong b = divisor;
        (ulong p0, ulong q0, ulong p1, ulong q1) = (0, 1, 1, 0);
        while (b != 0)
        {
            ulong whole = a / b;
            UInt128 p2 = ((UInt128)whole * p1) + p0;
            UInt128 q2 = ((UInt128)whole * q1) + q0;
            if (p2 > most || q2 > uint.MaxValue)
            {
                break;
            }

            (p0, q0, p1, q1) = (p1, q1, (ulong)p2, (ulong)q2);
            (a, b) = (b, a - whole * b);
        }

        return q1 == 0 ? (Math.Min(most, Math.Max(1, value / divisor)), 1) : (p1, q1);
    }
}
