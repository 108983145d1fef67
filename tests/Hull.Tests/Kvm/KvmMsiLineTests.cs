using System.IO;
using System.Threading;
using Hull.Bus;
using Hull.Devices;
using Hull.Devices.Pci;
using Hull.Devices.Virtio;
using Hull.Engine;
using Hull.Memory;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Hull.Tests.Kvm;

/// <summary>Vectors of cards, which the kernel signals by a descriptor once they are in use.</summary>
[Collection("Alone")]
public sealed class KvmMsiLineTests
{
    private const ulong ApicPage = 0xFEE0_0000;
    private const byte First = 0x50;
    private const byte Second = 0x51;
    private const int Enough = 12;                              // more than a line waits for before it takes a route

    [KvmFact]
    public void LineInUse_IsSignalledByTheKernel()
    {
        using KvmGuest guest = Start();
        using IMsiLine line = guest.Engine.OpenLine();
        for (int i = 0; i < Enough; i++)
        {
            SendAndRun(guest, line, First);
        }

        Assert.Equal((Enough, 0), Counts(guest));
        Assert.Equal((1, 1UL), (guest.Engine.Routes.Attached, guest.Engine.Routes.Made));
        Assert.InRange(guest.Engine.Routes.Signals, 2UL, (ulong)Enough - 1);
    }

    [KvmFact]
    public void VectorThatIsWrittenAnew_SendsWhatItHasNow()
    {
        using KvmGuest guest = Start();
        using IMsiLine line = guest.Engine.OpenLine();
        foreach (byte vector in (byte[])[First, Second, First])
        {
            for (int i = 0; i < Enough; i++)
            {
                SendAndRun(guest, line, vector);
            }
        }

        Assert.Equal((2 * Enough, Enough), Counts(guest));
        Assert.Equal(1UL, guest.Engine.Routes.Made);
        ulong signals = guest.Engine.Routes.Signals;
        for (int i = 0; i < Enough; i++)
        {
            SendAndRun(guest, line, i % 2 == 0 ? Second : First);
        }

        Assert.Equal((2 * Enough + (Enough / 2), Enough + (Enough / 2)), Counts(guest));
        Assert.Equal(signals, guest.Engine.Routes.Signals);     // what changes all the time costs no change of the table
    }

    [KvmFact]
    public void Card_SendsByTheKernel_WaitsWhileMasked_AndLeavesNothing()
    {
        using KvmGuest guest = Start();
        DeviceContext context = new() { Memory = guest.Memory, IsDeterministic = true };
        using VirtioDevice device = new RngSpec { Source = "/dev/zero" }.Create(context);
        VirtioPci card = new(device, guest.Engine);
        card.Attach(guest.Bus, null, 0);
        card.WriteConfig(0x10, 4, 0xD001_0000);
        card.WriteConfig(0x18, 4, 0xD000_0000);                 // BAR 2: the table
        card.WriteConfig(0x04, 2, 2);
        card.WriteConfig(0x42, 2, 0x8000);
        card.WriteMmio(0x1A, 2, 1);
        Table(guest, 16, ApicPage, 8);
        Table(guest, 24, First);
        Table(guest, 28, 0);
        for (int i = 0; i < Enough; i++)
        {
            card.RaiseQueue(0);
            Run(guest);
        }

        Assert.Equal((Enough, 0), Counts(guest));
        Assert.Equal(1, guest.Engine.Routes.Attached);
        Table(guest, 28, 1);
        card.RaiseQueue(0);
        Assert.Equal(2UL, guest.Bus.ReadMmio(new GuestPhysical(0xD000_0000 + MsixTable.PendingOffset), 4));
        Table(guest, 24, Second);
        Table(guest, 28, 0);
        Run(guest);
        Assert.Equal((Enough, 1), Counts(guest));
        card.Detach();
        Assert.Equal(0, guest.Engine.Routes.Attached);
        card.RaiseQueue(0);
        Run(guest);
        Assert.Equal((Enough, 2), Counts(guest));               // what is under way then is sent as any message
        Assert.Equal(0, guest.Engine.Routes.Attached);
    }

    [KvmFact]
    public void MoreLinesThanRoutes_AllSend()
    {
        using KvmGuest guest = Start();
        IMsiLine[] lines = new IMsiLine[guest.Engine.Routes.Room + 3];
        for (int i = 0; i < lines.Length; i++)
        {
            lines[i] = guest.Engine.OpenLine();
            for (int n = 0; n < Enough; n++)
            {
                lines[i].Send(new MsiMessage(ApicPage, First));
            }
        }

        Assert.Equal(guest.Engine.Routes.Room, guest.Engine.Routes.Attached);
        Run(guest);
        int before = Counts(guest).First;
        SendAndRun(guest, lines[^1], First);
        SendAndRun(guest, lines[0], First);
        Assert.Equal(before + 2, Counts(guest).First);
        lines[0].Dispose();
        for (int i = 0; i < Enough; i++)
        {
            SendAndRun(guest, lines[^1], First);
        }

        Assert.Equal(before + 2 + Enough, Counts(guest).First);
        Assert.Equal(guest.Engine.Routes.Room, guest.Engine.Routes.Attached);
    }

    [KvmFact]
    public void EndOfALevelInterrupt_ComesBackBesideLines()
    {
        using KvmGuest guest = Start();
        MsiMessage level = new(ApicPage, 0xC000u | Second);
        using IMsiLine line = guest.Engine.OpenLine();
        guest.Engine.Route(4, level);
        for (int i = 0; i < Enough; i++)
        {
            SendAndRun(guest, line, First);
        }

        guest.Engine.Send(level);
        Run(guest);
        SendAndRun(guest, line, First);                         // where kernel code is emulated the exit waits for the next entry
        Assert.Equal([Second], guest.Ends);
        Assert.Equal((Enough + 1, 1), Counts(guest));
    }

    [KvmFact]
    public void VectorThatIsWrittenWhileItSends_StaysItsMessages()
    {
        using KvmGuest guest = Start();
        IMsiLine line = guest.Engine.OpenLine();
        Thread[] senders = new Thread[2];
        for (int i = 0; i < senders.Length; i++)
        {
            byte vector = i == 0 ? First : Second;
            senders[i] = new Thread(() =>
            {
                for (int n = 0; n < 2000; n++)
                {
                    line.Send(new MsiMessage(ApicPage, vector));
                    if (n % 50 == 0)
                    {
                        Thread.Yield();
                    }
                }
            });
            senders[i].Start();
        }

        senders[0].Join();
        line.Dispose();
        senders[1].Join();
        Assert.Equal(0, guest.Engine.Routes.Attached);
        Run(guest);                                             // both wait in the local APIC: the higher first
        Run(guest);
        Assert.Equal((1, 1), Counts(guest));
    }

    [KvmFact]
    public void ManyLines_LeaveNoDescriptor()
    {
        Cycle(2);
        int before = Descriptors();
        Cycle(40);
        Assert.InRange(Descriptors() - before, -100, 4);
    }

    // Some lines end before their machine, some with it.
    private static void Cycle(int times)
    {
        for (int i = 0; i < times; i++)
        {
            using KvmGuest guest = Start();
            for (int n = 0; n < 10; n++)
            {
                IMsiLine line = guest.Engine.OpenLine();
                for (int sent = 0; sent < Enough; sent++)
                {
                    line.Send(new MsiMessage(ApicPage, First));
                }

                if (n % 2 == 0)
                {
                    line.Dispose();
                }
            }

            Assert.Equal(5, guest.Engine.Routes.Attached);
        }
    }

    private static void Table(KvmGuest guest, ulong at, ulong value, int size = 4) =>
        guest.Bus.WriteMmio(new GuestPhysical(0xD000_0000 + at), size, value);

    private static int Descriptors() => Directory.GetFileSystemEntries("/proc/self/fd").Length;

    private static void SendAndRun(KvmGuest guest, IMsiLine line, byte vector)
    {
        line.Send(new MsiMessage(ApicPage, vector));
        Run(guest);
    }

    // Until a handler has run.
    private static void Run(KvmGuest guest) => Assert.Equal(VcpuExit.Kicked, guest.Go());

    private static (int First, int Second) Counts(KvmGuest guest) =>
        ((int)guest[KvmGuest.DataAt], (int)guest[KvmGuest.DataAt + 8]);

    // Waits for interrupts; each handler counts, ends its interrupt, then the run.
    private static KvmGuest Start()
    {
        KvmGuest guest = new();
        guest.Vcpus[0].SetState(guest.Long(static c =>
        {
            Iced.Intel.Label again = c.CreateLabel();
            KvmInterruptTests.EnableApic(c, x2Apic: true);
            KvmGuest.End(c);
            c.sti();
            c.Label(ref again);
            c.hlt();
            c.jmp(again);
        }));
        PutHandler(guest, First, 0x9000, KvmGuest.DataAt);
        PutHandler(guest, Second, 0x9100, KvmGuest.DataAt + 8);
        Run(guest);                                             // a message is lost before the local APIC is on
        return guest;
    }

    private static void PutHandler(KvmGuest guest, byte vector, ulong at, ulong counter)
    {
        guest.Put(at, 64, c =>
        {
            c.inc(__qword_ptr[counter]);
            c.mov(ecx, 0x80B);
            c.xor(eax, eax);
            c.xor(edx, edx);
            c.wrmsr();
            KvmGuest.End(c);
            c.iretq();
        });
        ulong gate = 0x6000 + (16UL * vector);
        guest[gate] = at | (0x10UL << 16) | (0x8EUL << 40);
        guest[gate + 8] = 0;
    }
}
