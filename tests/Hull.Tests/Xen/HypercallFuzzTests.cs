using System;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Xen;

/// <summary>Hypercalls with wild arguments: each has one of Xen's results, and Hull's own memory stays bounded.</summary>
public sealed class HypercallFuzzTests
{
    private const int Cases = 1_000_000;
    private const int Seed = 20261126;

    private static readonly ulong[] Pointers =
    [
        0, 1, TestDomain.Argument, TestDomain.Argument + 4, 0x10_0FFC, TestDomain.Size - 8, TestDomain.Size - 1, TestDomain.Size,
        0xFEFF_C000, 0xFEFF_F800, 0xFEE0_0000, 0xC000_0000, 0x8000_0000_0000, 0xFFFF_8000_0000_0000, ulong.MaxValue - 7,
        ulong.MaxValue,
    ];

    private static readonly ulong[] Numbers = [7, 12, 13, 17, 18, 20, 21, 24, 27, 29, 32, 33, 34, 35, 36, 41, 48];

    [Fact]
    public void WildCalls_HaveXensResults()
    {
        Random random = new(Seed);
        using TestDomain domain = new();
        domain.Domain.Suspension.Dispose(); // nobody would wake it
        byte[] bytes = new byte[128];
        for (int i = 0; i < Cases; i++)
        {
            FillArgument(random, domain, bytes);
            ulong number = random.Next(20) == 0 ? Wild(random) : Numbers[random.Next(Numbers.Length)];
            domain.Cpl = random.Next(100) == 0 ? 3 : 0;
            domain.Is64Bit = random.Next(50) != 0;
            domain[0] = number;
            domain.Trace.Clear();
            ReadOnlySpan<int> places = [7, 6, 2, 10, 8, 3, 1];
            foreach (int place in places)
            {
                domain[place] = random.Next(3) == 0 ? Wild(random) : (ulong)random.Next(48);
            }

            // A list of calls (13) is seldom endless, or nothing else would be done.
            domain[6] = random.Next(number == 13 ? 40 : 4) == 0 ? Wild(random)
                : number == 13 ? (ulong)random.Next(4)
                : TestDomain.Argument;
            Assert.True(domain.Personality.TryHypercall(random.Next(2), domain));
            long result = domain.Is64Bit ? (long)domain[0] : (int)(uint)domain[0];
            bool isCount = number == 12 && result >= 0; // as many as were done before, says the caller
            bool isXens = isCount || result is >= 0 and <= 0x1_0000_0000 or >= -133 and < 0;
            Assert.True(isXens, $"seed {Seed}, case {i}: hypercall {number} gave {result}");
            Assert.True(domain.Cpl == 0 || result == -1, $"seed {Seed}, case {i}: from ring 3 it gave {result}");
        }

        Assert.InRange(domain.Domain.Events.Ports.Count, 1, 1024);
    }

    // Mostly small numbers, so that some calls succeed and the next ones find something.
    private static void FillArgument(Random random, TestDomain domain, byte[] bytes)
    {
        random.NextBytes(bytes);
        if (random.Next(3) != 0)
        {
            for (int i = 0; i < bytes.Length; i++)
            {
                bytes[i] = i % 4 == 0 ? (byte)random.Next(40) : (byte)0;
            }

            if (random.Next(2) == 0)
            {
                bytes[0] = 0xF0;
                bytes[1] = 0x7F; // DOMID_SELF
            }
        }

        domain.Memory.TryWrite(new GuestPhysical(TestDomain.Argument), bytes);
    }

    private static ulong Wild(Random random) => random.Next(3) switch
    {
        0 => Pointers[random.Next(Pointers.Length)],
        1 => (ulong)random.NextInt64(),
        _ => uint.MaxValue - (ulong)random.Next(4),
    };
}
