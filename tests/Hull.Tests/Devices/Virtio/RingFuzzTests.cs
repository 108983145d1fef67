using System;
using System.Buffers.Binary;
using Hull.Devices.Virtio;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

/// <summary>
/// Random rings, requests, registers and resets on every device, from fixed seeds: nothing throws, nothing hangs, and the
/// device works again behind a reset. A request's first bytes are often what its device may know. The
/// million of a device is three quarters split rings, one quarter packed.
/// </summary>
public sealed class RingFuzzTests : IDisposable
{
    private const int ShortRun = 20_000;
    private const int LongRun = 1_000_000;
    private const ulong Data = VirtioDriver.DataAt;
    private readonly HostileDevices _devices = new();

    public static TheoryData<string, bool> Kinds => HostileDevices.Both();

    [Theory]
    [MemberData(nameof(Kinds))]
    public void RandomRequests_DoNoHarm(string kind, bool packed) => Run(kind, packed, 1, ShortRun);

    [Theory]
    [Trait("Category", "Long")]
    [MemberData(nameof(Kinds))]
    public void AMillionRandomRequests_DoNoHarm(string kind, bool packed) => Run(kind, packed, 2, packed ? LongRun / 4 : LongRun * 3 / 4);

    public void Dispose() => _devices.Dispose();

    private void Run(string kind, bool packed, int seed, int cases)
    {
        Random random = new(seed);
        using VirtioDriver driver = _devices.Create(kind, packed);
        Restart(driver, kind, random);
        for (int i = 0; i < cases; i++)
        {
            if (driver.NeedsReset || random.Next(200) == 0)
            {
                Restart(driver, kind, random);
            }

            Step(driver, kind, random);
        }

        driver.Start();
        Assert.False(driver.NeedsReset);
    }

    private static void Restart(VirtioDriver driver, string kind, Random random)
    {
        ulong features = driver.Device.DeviceFeatures | VirtioFeature.Common;
        driver.Start(random.Next(2) == 0 ? features : VirtioFeature.Version1 | HostileDevices.Features(kind) | (features & (ulong)random.NextInt64()));
    }

    private static void Step(VirtioDriver driver, string kind, Random random)
    {
        int queue = random.Next(driver.Device.Queues.Length);
        switch (random.Next(16))
        {
            case 0:
                driver.WriteRegister((ulong)random.Next(0x40), 1 << random.Next(4), Number(random));
                break;
            case 1:
                driver.WriteRegister(0x2000 + (ulong)random.Next(64), 1 << random.Next(4), Number(random));
                driver.Read(0x2000 + (ulong)random.Next(64), 1 << random.Next(4));
                break;
            case 2:
                driver.Memory.Write(new GuestPhysical(VirtioDriver.Table(queue) + (ulong)random.Next(0xD000)), (ushort)Number(random));
                driver.WriteRegister(0x3000 + (ulong)random.Next(128), 2, (ulong)random.Next(32));
                break;
            case 3:
                driver.WriteRegister(0x16, 2, (ulong)queue);
                driver.WriteRegister(0x3A, 2, 1);
                driver.SetUpQueue(queue, 16);
                driver.Forget(queue);
                break;
            default:
                Request(driver, kind, queue, random);
                break;
        }
    }

    // A chain of a few buffers, most of them sane; now and then behind an indirect descriptor.
    private static void Request(VirtioDriver driver, string kind, int queue, Random random)
    {
        Span<byte> head = stackalloc byte[96];
        RequestBytes.Fill(kind, queue, head, random);
        driver.Memory.TryWrite(new GuestPhysical(Data), head);
        int readable = random.Next(4);
        int count = Math.Max(readable + random.Next(4), 1);
        bool indirect = random.Next(8) == 0;
        const ulong table = Data + 0x8_0000;
        for (int i = 0; i < count; i++)
        {
            bool odd = random.Next(64) == 0;
            ulong address = odd ? Number(random) : i == 0 ? Data : Data + (ulong)random.Next(0x1_0000);
            uint length = odd ? (uint)Number(random) : i == 0 && readable > 0 ? (uint)random.Next(8, 97) : (uint)random.Next(random.Next(16) == 0 ? 0x1_0000 : 600);
            int flags = (i >= readable ? VirtioDriver.Write : 0) | (i + 1 < count ? VirtioDriver.Next : 0);
            if (indirect)
            {
                driver.DescribeAt(table + ((ulong)i * 16), address, length, flags, i + 1);
            }
            else
            {
                driver.Describe(queue, i, address, length, flags, i + 1);
            }
        }

        if (indirect)
        {
            driver.Describe(queue, 0, table, (uint)(random.Next(32) == 0 ? random.Next(400) : count * 16), VirtioDriver.Indirect);
        }

        driver.Offer(queue, 0);
    }

    private static ulong Number(Random random)
    {
        Span<byte> raw = stackalloc byte[8];
        random.NextBytes(raw);
        ulong value = BinaryPrimitives.ReadUInt64LittleEndian(raw);
        return random.Next(3) == 0 ? ulong.MaxValue << random.Next(64) : value >> random.Next(64);
    }
}
