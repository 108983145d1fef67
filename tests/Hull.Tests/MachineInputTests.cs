using System;
using System.Threading.Tasks;
using Hull.Boot;
using Xunit;

namespace Hull.Tests;

/// <summary>What the host sends to a machine, at the wrong time.</summary>
public sealed class MachineInputTests
{
    [Fact]
    public async Task InputAfterTheEnd_IsNotTaken()
    {
        Machine machine = Machine.Start(new MachineSpec
        {
            MemoryBytes = 16 << 20,
            Kernel = BootBlob.FromBytes("kernel", Halting()),
            ExitPort = 0xF4,
        });
        await machine.DisposeAsync();

        Assert.Equal(0, machine.SendSerial(0, "late"u8));
        Assert.False(machine.PressPowerButton());
    }

    // Multiboot 1 with the address fields; then HLT and a jump to it.
    private static byte[] Halting()
    {
        const uint magic = 0x1BAD_B002;
        const uint flags = 0x1_0000;
        uint[] header = [magic, flags, unchecked(0 - magic - flags), 0x10_0000, 0x10_0000, 0, 0, 0x10_0020];
        byte[] file = new byte[64];
        Buffer.BlockCopy(header, 0, file, 0, 32);
        ((ReadOnlySpan<byte>)[0xF4, 0xEB, 0xFD]).CopyTo(file.AsSpan(32));
        return file;
    }
}
