using System.Collections.Generic;
using Xunit;

namespace Hull.Tests.Devices;

public sealed class I8042Tests
{
    private readonly TestPc _pc = new();

    [Fact]
    public void SelfTest_AnswersAtOnce()
    {
        _pc.Out(0x64, 0xAA);
        Assert.Equal(1, _pc.In(0x64) & 3);
        Assert.Equal(0x55, _pc.In(0x60));
        Assert.Equal(0, _pc.In(0x64) & 1);
    }

    [Fact]
    public void CommandByte_IsKept()
    {
        _pc.Out(0x64, 0x60);
        _pc.Out(0x60, 0x74);
        _pc.Out(0x64, 0x20);
        Assert.Equal(0x74, _pc.In(0x60));
    }

    [Fact]
    public void LinuxMouseTests_FindNone_WithoutWaiting()
    {
        _pc.Out(0x64, 0xD3);
        _pc.Out(0x60, 0x5A);
        Assert.Equal(0x01, _pc.In(0x64) & 0x21);
        _pc.In(0x60);
        _pc.Out(0x64, 0xA9);
        Assert.Equal(1, _pc.In(0x64) & 1);
        Assert.Equal(0x01, _pc.In(0x60));
    }

    [Fact]
    public void Keyboard_IdentifiesItselfAndResets()
    {
        _pc.Out(0x60, 0xF2);
        Assert.Equal([0xFA, 0xAB, 0x41], ReadAll());
        _pc.Out(0x60, 0xFF);
        Assert.Equal([0xFA, 0xAA], ReadAll());
        _pc.Out(0x60, 0xED);
        _pc.Out(0x60, 0x00);
        Assert.Equal([0xFA, 0xFA], ReadAll());
    }

    [Fact]
    public void Keys_InterruptForEachByte()
    {
        _pc.Route(1, 0x41, level: false);
        Assert.True(_pc.Chipset.Keyboard.Type([0x1E, 0x9E]));
        Assert.Equal([0x41], _pc.TakeAll());
        Assert.Equal(0x1E, _pc.In(0x60));
        Assert.Equal([0x41], _pc.TakeAll());
        Assert.Equal(0x9E, _pc.In(0x60));
        Assert.Empty(_pc.TakeAll());
    }

    [Fact]
    public void DisabledKeyboard_HoldsItsBytes()
    {
        _pc.Out(0x64, 0xAD);
        _pc.Chipset.Keyboard.Type([0x1E]);
        Assert.Equal(0, _pc.In(0x64) & 1);
        _pc.Out(0x64, 0xAE);
        Assert.Equal(0x1E, _pc.In(0x60));
    }

    [Fact]
    public void FullKeyboard_RefusesMore()
    {
        _pc.Out(0x64, 0xAD);
        Assert.True(_pc.Chipset.Keyboard.Type(new byte[64]));
        Assert.False(_pc.Chipset.Keyboard.Type([0x1E]));
    }

    [Fact]
    public void OutputPortWithResetLow_Resets()
    {
        _pc.Out(0x64, 0xD1);
        _pc.Out(0x60, 0xDF);
        Assert.Equal(0, _pc.Resets);
        _pc.Out(0x64, 0xD1);
        _pc.Out(0x60, 0xDE);
        Assert.Equal(1, _pc.Resets);
    }

    private List<byte> ReadAll()
    {
        List<byte> bytes = [];
        while ((_pc.In(0x64) & 1) != 0 && bytes.Count < 100)
        {
            bytes.Add(_pc.In(0x60));
        }

        return bytes;
    }
}
