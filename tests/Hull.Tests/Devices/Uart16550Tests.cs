using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using Hull.Devices.Serial;
using Xunit;

namespace Hull.Tests.Devices;

public sealed class Uart16550Tests
{
    private const int Com1 = 0x3F8;
    private readonly TestPc _pc = new();

    [Fact]
    public void Scratch_AndDivisor_KeepTheirBytes()
    {
        _pc.Out(Com1 + 7, 0xA5);
        _pc.Out(Com1 + 3, 0x83);
        _pc.Out(Com1, 0x01);
        _pc.Out(Com1 + 1, 0x02);
        Assert.Equal(0xA5, _pc.In(Com1 + 7));
        Assert.Equal(0x01, _pc.In(Com1));
        Assert.Equal(0x02, _pc.In(Com1 + 1));
        _pc.Out(Com1 + 3, 0x03);
        Assert.Equal(0, _pc.In(Com1 + 1));
    }

    [Fact]
    public void Send_ReachesTheOutput_AndTheTransmitterStaysEmpty()
    {
        foreach (byte value in "hull"u8)
        {
            Assert.Equal(0x60, _pc.In(Com1 + 5));
            _pc.Out(Com1, value);
        }

        Assert.Equal("hull"u8.ToArray(), _pc.Output.Bytes);
    }

    [Fact]
    public void LinuxAutoconfig_FindsA16550A()
    {
        _pc.Out(Com1 + 1, 0x0F);
        Assert.Equal(0x0F, _pc.In(Com1 + 1));
        _pc.Out(Com1 + 1, 0xFF);
        Assert.Equal(0x0F, _pc.In(Com1 + 1));
        _pc.Out(Com1 + 1, 0);
        _pc.Out(Com1 + 4, 0x1A);
        Assert.Equal(0x90, _pc.In(Com1 + 6) & 0xF0);
        _pc.Out(Com1 + 4, 0);
        _pc.Out(Com1 + 2, 0x01);
        Assert.Equal(3, _pc.In(Com1 + 2) >> 6);
        _pc.Out(Com1 + 2, 0x21);
        Assert.Equal(0, _pc.In(Com1 + 2) & 0x20);
    }

    [Fact]
    public void LinuxTransmitTest_SeesTheInterruptAgainAfterReenabling()
    {
        _pc.Out(Com1 + 1, 2);
        Assert.Equal(2, _pc.In(Com1 + 2) & 0x0F);
        Assert.Equal(1, _pc.In(Com1 + 2) & 0x0F);
        _pc.Out(Com1 + 1, 0);
        _pc.Out(Com1 + 1, 2);
        Assert.Equal(2, _pc.In(Com1 + 2) & 0x0F);
        _pc.Out(Com1, 'x');
        Assert.Equal(2, _pc.In(Com1 + 2) & 0x0F);
    }

    [Fact]
    public void Interrupt_NeedsOut2()
    {
        _pc.Route(4, 0x44, level: false);
        _pc.Out(Com1 + 1, 2);
        Assert.Empty(_pc.TakeAll());
        _pc.Out(Com1 + 4, 0x08);
        Assert.Equal([0x44], _pc.TakeAll());
    }

    [Fact]
    public void Input_WaitsForRts()
    {
        Assert.Equal(2, _pc.Chipset.Serial[0].Input.Offer("ab"u8));
        Assert.Equal(0, _pc.In(Com1 + 5) & 1);
        _pc.Out(Com1 + 4, 0x02);
        Assert.Equal(1, _pc.In(Com1 + 5) & 1);
        Assert.Equal((byte)'a', _pc.In(Com1));
    }

    [Fact]
    public void ReceiveInterrupt_NamesTriggerOrTimeout()
    {
        _pc.Route(4, 0x44, level: false);
        Open();
        _pc.Chipset.Serial[0].Input.Offer("abc"u8);
        Assert.Equal([0x44], _pc.TakeAll());
        Assert.Equal(0x0C, _pc.In(Com1 + 2) & 0x0F);
        _pc.Chipset.Serial[0].Input.Offer("0123456789abcdef"u8);
        Assert.Equal(0x04, _pc.In(Com1 + 2) & 0x0F);
    }

    [Fact]
    public void ReceiveInterrupt_HasPriorityOverTransmit()
    {
        Open();
        _pc.Out(Com1 + 1, 3);
        _pc.Chipset.Serial[0].Input.Offer("a"u8);
        Assert.Equal(0x0C, _pc.In(Com1 + 2) & 0x0F);
        _pc.In(Com1);
        Assert.Equal(0x02, _pc.In(Com1 + 2) & 0x0F);
    }

    [Fact]
    public void BigInput_ArrivesWhole_ThroughStopsOfRts()
    {
        Open();
        byte[] sent = new byte[300_000];
        new Random(5).NextBytes(sent);
        List<byte> received = [];
        int offered = 0;
        int rooms = 0;
        _pc.Chipset.Serial[0].Input.RoomAppeared += () => rooms++;
        Random random = new(6);
        for (int i = 0; received.Count < sent.Length && i < 1_000_000; i++)
        {
            offered += _pc.Chipset.Serial[0].Input.Offer(sent.AsSpan(offered));
            _pc.Out(Com1 + 4, random.Next(3) == 0 ? 0x09 : 0x0B);
            for (int burst = random.Next(100); burst > 0 && (_pc.In(Com1 + 5) & 1) != 0; burst--)
            {
                received.Add(_pc.In(Com1));
            }

            _pc.Time.AdvanceUs(random.Next(100));
        }

        Assert.Equal(sent, received);
        Assert.True(rooms > 0);
    }

    [Fact]
    public void Burst_EndsSoThatTheGuestCanRun()
    {
        Open();
        _pc.Chipset.Serial[0].Input.Offer(new byte[5000]);
        int count = 0;
        while ((_pc.In(Com1 + 5) & 1) != 0 && count < 5000)
        {
            _pc.In(Com1);
            count++;
        }

        Assert.InRange(count, 16, 512);
        _pc.Time.AdvanceUs(25);
        Assert.Equal(1, _pc.In(Com1 + 5) & 1);
    }

    [Fact]
    public void ClearedFifo_GivesItsBytesBackToTheHost()
    {
        _pc.Out(Com1 + 2, 0x01);
        _pc.Out(Com1 + 4, 0x0B);
        _pc.Chipset.Serial[0].Input.Offer("0123456789"u8);
        _pc.Time.AdvanceMs(10);
        Assert.Equal((byte)'0', _pc.In(Com1));
        _pc.Out(Com1 + 2, 0x07);
        _pc.Out(Com1 + 2, 0x00);
        Assert.Equal(0, _pc.In(Com1 + 5) & 1);
        _pc.In(Com1);
        _pc.Out(Com1 + 2, 0x01);
        _pc.Time.AdvanceMs(10);
        StringBuilder text = new();
        while ((_pc.In(Com1 + 5) & 1) != 0)
        {
            text.Append((char)_pc.In(Com1));
        }

        Assert.Equal("123456789", text.ToString());
    }

    [Fact]
    public void Loopback_ReturnsDataAndLines()
    {
        _pc.Out(Com1 + 4, 0x10);
        _pc.Out(Com1, 0x5A);
        Assert.Empty(_pc.Output.Bytes);
        Assert.Equal(1, _pc.In(Com1 + 5) & 1);
        Assert.Equal(0x5A, _pc.In(Com1));
        for (int lines = 0; lines < 16; lines++)
        {
            _pc.Out(Com1 + 4, 0x10 | lines);
            int expected = ((lines & 1) << 5) | ((lines & 2) << 3) | ((lines & 4) << 4) | ((lines & 8) << 4);
            Assert.Equal(expected, _pc.In(Com1 + 6) & 0xF0);
        }
    }

    [Fact]
    public void Loopback_Overrun_IsALineStatus()
    {
        _pc.Out(Com1 + 4, 0x10);
        _pc.Out(Com1, 1);
        _pc.Out(Com1, 2);
        Assert.Equal(2, _pc.In(Com1 + 5) & 2);
        Assert.Equal(0, _pc.In(Com1 + 5) & 2);
        Assert.Equal(1, _pc.In(Com1));
    }

    [Fact]
    public void ModemLines_AreAsserted_AndDeltasClearOnRead()
    {
        Assert.Equal(0xB0, _pc.In(Com1 + 6));
        _pc.Out(Com1 + 4, 0x10);
        Assert.Equal(0x0B, _pc.In(Com1 + 6));
        Assert.Equal(0x00, _pc.In(Com1 + 6));
    }

    [Fact]
    public void SecondPort_IsSeparate()
    {
        _pc.Out(0x2F8, 'z');
        Assert.Equal("z"u8.ToArray(), _pc.Output2.Bytes);
        Assert.Empty(_pc.Output.Bytes);
    }

    [Fact]
    public void Writer_HandsOverEverythingInOrder()
    {
        MemoryStream stream = new();
        int blocks = 0;
        using (SerialWriter writer = new("test", block =>
        {
            blocks++;
            stream.Write(block);
        }))
        {
            for (int i = 0; i < 200_000; i++)
            {
                writer.Put((byte)(i * 7));
            }

            Assert.True(writer.Flush());
            Assert.Equal(200_000, stream.Length);
        }

        byte[] bytes = stream.ToArray();
        for (int i = 0; i < bytes.Length; i++)
        {
            Assert.Equal((byte)(i * 7), bytes[i]);
        }

        Assert.InRange(blocks, 1, 20_000);
    }

    [Fact]
    public void Writer_DropsTheRest_WhenNobodyReadsAnyMore()
    {
        using SerialWriter writer = new("test", static _ => throw new IOException("gone"));
        for (int i = 0; i < 200_000; i++)
        {
            writer.Put(1);
        }
    }

    private void Open()
    {
        _pc.Out(Com1 + 2, 0x81);
        _pc.Out(Com1 + 1, 1);
        _pc.Out(Com1 + 4, 0x0B);
        _pc.Time.AdvanceMs(10);
    }
}
