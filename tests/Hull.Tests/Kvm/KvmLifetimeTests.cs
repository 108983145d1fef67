using System;
using System.IO;
using Hull.Engine;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Kvm;

/// <summary>What a process holds after many machines.</summary>
[Collection("Alone")]
public sealed class KvmLifetimeTests
{
    [KvmFact]
    public void ThousandMachines_LeaveNoDescriptorThreadOrMapping()
    {
        Cycle(20); // what is made once in a process
        int descriptors = Count("/proc/self/fd");
        int threads = Count("/proc/self/task");
        int mappings = KvmMappings();
        Cycle(1000);
        Assert.Equal(0, KvmMappings() - mappings);
        Assert.InRange(Count("/proc/self/fd") - descriptors, -1000, 4);
        Assert.InRange(Count("/proc/self/task") - threads, -1000, 8);
    }

    [KvmFact]
    public void MachineThatCannotBeMade_LeavesNothing()
    {
        int mappings = KvmMappings();
        for (int i = 0; i < 50; i++)
        {
            Assert.Throws<Hull.Host.HullException>(() => new KvmGuest(1, dirtyRingEntries: 1 << 28));
        }

        Assert.Equal(0, KvmMappings() - mappings);
    }

    private static void Cycle(int times)
    {
        for (int i = 0; i < times; i++)
        {
            using KvmGuest guest = new(2);
            ArchState end = guest.Run(guest.Protected(static c =>
            {
                c.mov(eax, 7);
                KvmGuest.End(c);
            }));
            Assert.Equal(7u, end.Gpr[0]);
        }
    }

    private static int Count(string folder) => Directory.GetFileSystemEntries(folder).Length;

    private static int KvmMappings() => Array.FindAll(
        File.ReadAllLines("/proc/self/maps"),
        static line => line.Contains("kvm", StringComparison.Ordinal) || line.Contains("hull-ram", StringComparison.Ordinal)).Length;
}
