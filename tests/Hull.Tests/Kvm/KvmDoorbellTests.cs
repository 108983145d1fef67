using System;
using System.IO;
using System.Threading;
using Hull.Bus;
using Hull.Memory;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Kvm;

/// <summary>Notifications that the kernel takes over: where they ring, and when they come to the device instead.</summary>
[Collection("Alone")]
public sealed class KvmDoorbellTests
{
    private const ulong DeviceAt = 0xD000_0000;
    private const ulong OtherAt = 0xD100_0000;

    [KvmFact]
    public void OpenDoorbell_RingsWithoutAnExit()
    {
        using KvmGuest guest = new();
        using Panel panel = new(guest.Bus);
        panel.Doorbells.Open();
        guest.Run(guest.Protected(static c => Write(c, DeviceAt, 3)));
        Assert.Equal(0, panel.Writes);
        Assert.Equal(3, panel.TakeRings(0));
        Assert.Equal(0, panel.TakeRings(1));
        Assert.Equal(0u, guest.Vcpus[0].Counters.MmioExits);
    }

    [KvmFact]
    public void ClosedDoorbell_IsAWriteToTheDevice()
    {
        using KvmGuest guest = new();
        using Panel panel = new(guest.Bus);
        guest.Run(guest.Protected(static c => Write(c, DeviceAt, 2)));
        panel.Doorbells.Open();
        panel.Doorbells.Close();
        guest.Run(guest.Protected(static c => Write(c, DeviceAt, 2)));
        Assert.Equal((4, 0), (panel.Writes, panel.TakeRings(0)));
        Assert.Equal(0, guest.Engine.Doorbells.Attached);
    }

    [KvmTheory]
    [InlineData(1, 1, 0)]
    [InlineData(2, 0, 1)]
    [InlineData(7, 0, 0)]
    public void ValuedDoorbell_TakesItsValueOnly(int value, int second, int third)
    {
        using KvmGuest guest = new();
        using Panel panel = new(guest.Bus);
        panel.Doorbells.Open();
        guest.Run(guest.Protected(c =>
        {
            c.mov(eax, value);
            c.mov(__dword_ptr[DeviceAt + 0x50], eax);
            KvmGuest.End(c);
        }));
        Assert.Equal((second, third), (panel.TakeRings(1), panel.TakeRings(2)));
        Assert.Equal(second + third == 0 ? 1 : 0, panel.Writes);
    }

    [KvmFact]
    public void DeviceThatMoves_TakesItsDoorbellsAlong()
    {
        using KvmGuest guest = new();
        using Panel panel = new(guest.Bus);
        panel.Doorbells.Open();
        guest.Bus.UnmapMmio(new GuestPhysical(DeviceAt));
        guest.Run(guest.Protected(static c => Write(c, DeviceAt, 1)));
        Assert.Equal(0, panel.TakeRings(0));
        Assert.True(guest.Bus.TryMapMmio(new GuestPhysical(OtherAt), 0x1000, panel));
        guest.Run(guest.Protected(static c => Write(c, OtherAt, 1)));
        Assert.Equal((0, 1), (panel.Writes, panel.TakeRings(0)));
        guest.Bus.UnmapMmio(new GuestPhysical(OtherAt));
        Assert.Equal(0, guest.Engine.Doorbells.Attached);
    }

    [KvmFact]
    public void ManyComingsAndGoings_LeaveNoDescriptor()
    {
        using KvmGuest guest = new();
        Cycle(guest, 5);
        int before = Descriptors();
        Cycle(guest, 200);
        Assert.InRange(Descriptors() - before, -100, 4);
        Assert.Equal(0, guest.Engine.Doorbells.Attached);
    }

    [Fact]
    public void Doorbell_WakesOneThreadForARing()
    {
        using Doorbell bell = new();
        using SemaphoreSlim woken = new(0);
        bool stop = false;
        Thread[] threads = new Thread[4];
        for (int i = 0; i < threads.Length; i++)
        {
            threads[i] = new Thread(() =>
            {
                for (bell.Wait(); !Volatile.Read(ref stop); bell.Wait())
                {
                    woken.Release();
                }

                bell.Ring();
            });
            threads[i].Start();
        }

        for (int i = 0; i < 1000; i++)
        {
            bell.Ring();
            Assert.True(woken.Wait(TimeSpan.FromSeconds(60)));
        }

        Assert.False(woken.Wait(0));
        Volatile.Write(ref stop, true);
        bell.Ring();
        Array.ForEach(threads, static thread => thread.Join());
    }

    private static void Cycle(KvmGuest guest, int times)
    {
        for (int i = 0; i < times; i++)
        {
            using Panel panel = new(guest.Bus);
            panel.Doorbells.Open();
            Assert.Equal(3, guest.Engine.Doorbells.Attached);
            guest.Bus.UnmapMmio(new GuestPhysical(DeviceAt));
        }
    }

    private static int Descriptors() => Directory.GetFileSystemEntries("/proc/self/fd").Length;

    private static void Write(Assembler c, ulong at, int times)
    {
        for (int i = 0; i < times; i++)
        {
            c.mov(__word_ptr[at], i);
        }

        KvmGuest.End(c);
    }

    /// <summary>A device with a doorbell for any write at 0, and two for values at 50h.</summary>
    private sealed class Panel : IDoorbellDevice, IDisposable
    {
        private readonly Doorbell[] _bells = [new(), new(), new()];

        internal Panel(IoBus bus)
        {
            Doorbells.Add(0, 0, null, _bells[0]);
            Doorbells.Add(0x50, 4, 1, _bells[1]);
            Doorbells.Add(0x50, 4, 2, _bells[2]);
            bus.MapMmio(new GuestPhysical(DeviceAt), 0x1000, this);
        }

        public DoorbellPanel Doorbells { get; } = new();

        internal int Writes { get; private set; }

        // eventfd(2): a read takes the count.
        internal int TakeRings(int bell)
        {
            Span<byte> count = stackalloc byte[8];
            return Hull.Host.LibcStreams.Read(_bells[bell].Descriptor, count, 8) == 8 ? (int)BitConverter.ToUInt64(count) : 0;
        }

        public ulong ReadMmio(ulong offset, int size) => 0;

        public void WriteMmio(ulong offset, int size, ulong value) => Writes++;

        public void Dispose() => Array.ForEach(_bells, static bell => bell.Dispose());
    }
}
