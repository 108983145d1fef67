using System;
using System.Buffers.Binary;

namespace Hull.Tests.Devices.Virtio;

/// <summary>First bytes of requests that a device of a kind may know, with random numbers in their fields.</summary>
internal static class RequestBytes
{
    internal static void Fill(string kind, int queue, Span<byte> head, Random random)
    {
        random.NextBytes(head);
        if (random.Next(8) == 0)
        {
            return;
        }

        switch (kind)
        {
            case "disk":
                Set32(head, 0, random.Next(16));
                Set64(head, 8, random.Next(4) == 0 ? ~0UL >> random.Next(16) : (ulong)random.Next(3000));
                break;
            case "pmem":
                Set32(head, 0, random.Next(3));
                break;
            case "net":
                Set16(head, 0, random.Next(8) | (random.Next(6) << 8));
                break;
            case "console":
                Set32(head, 0, random.Next(4));
                Set16(head, 4, random.Next(9));
                Set16(head, 6, random.Next(2));
                break;
            case "balloon":
                // Mostly runs of pages, as a driver gives them: each run is a call of the host's.
                int frame = random.Next(5000);
                for (int at = 0; at < head.Length; at += 4)
                {
                    frame = random.Next(16) == 0 ? random.Next(5000) : frame + 1;
                    Set32(head, at, queue == 2 ? random.Next(16) : frame);
                }

                break;
            case "vsock":
                FillSocket(head, random);
                break;
            case "fs":
                Set32(head, 0, random.Next(40, 97));
                Set32(head, 4, random.Next(52));
                Set64(head, 16, (ulong)random.Next(4));
                break;
            case "p9":
                Set32(head, 0, random.Next(7, 97));
                head[4] = (byte)(8 + (2 * random.Next(60)));
                Set32(head, 7, random.Next(4));
                break;
            default:
                break;
        }
    }

    private static void FillSocket(Span<byte> head, Random random)
    {
        Set64(head, 0, 3);
        Set64(head, 8, 2);
        Set32(head, 16, random.Next(4));
        Set32(head, 20, random.Next(4));
        Set32(head, 24, random.Next(60));
        Set16(head, 28, random.Next(16) == 0 ? 2 : 1);
        Set16(head, 30, random.Next(9));
        Set32(head, 32, random.Next(4));
    }

    private static void Set16(Span<byte> head, int at, int value) => BinaryPrimitives.WriteUInt16LittleEndian(head[at..], (ushort)value);

    private static void Set32(Span<byte> head, int at, int value) => BinaryPrimitives.WriteInt32LittleEndian(head[at..], value);

    private static void Set64(Span<byte> head, int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(head[at..], value);
}
