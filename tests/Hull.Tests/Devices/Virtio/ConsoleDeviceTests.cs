using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.IO;
using System.Net.Sockets;
using System.Text;
using Hull.Devices;
using Hull.Devices.Virtio;
using Xunit;

namespace Hull.Tests.Devices.Virtio;

public sealed class ConsoleDeviceTests : IDisposable
{
    private const ulong Multiport = VirtioFeature.Version1 | 2;
    private readonly string _folder = Directory.CreateTempSubdirectory("hull-console").FullName;
    private readonly List<byte> _typed = [];

    [Fact]
    public void WhatTheGuestWrites_IsOnTheTerminal()
    {
        using VirtioDriver driver = OnTerminal(out _);
        driver.Request(1, "hello"u8, 0);
        Assert.Equal("hello", Encoding.ASCII.GetString([.. _typed]));
    }

    [Fact]
    public void WhatIsTyped_WaitsForTheGuestsBuffer()
    {
        using VirtioDriver driver = OnTerminal(out TerminalLink terminal);
        Assert.Equal(4, terminal.Send("keys"u8));
        Assert.Equal("keys"u8, driver.Request(0, [], 64)!);
    }

    [Fact]
    public void GuestThatReadsNothing_IsSentNoMoreThanABound()
    {
        using VirtioDriver driver = OnTerminal(out TerminalLink terminal);
        byte[] much = new byte[1 << 20];
        Assert.Equal(64 << 10, terminal.Send(much));
        Assert.Equal(0, terminal.Send(much));
    }

    [Fact]
    public void NewSize_IsInTheConfiguration_WithAnInterrupt()
    {
        using VirtioDriver driver = OnTerminal(out TerminalLink terminal);
        driver.TakeInterrupts();
        terminal.Resize(40, 120);
        Assert.Equal(2ul, driver.TakeInterrupts());
        Assert.Equal((40ul << 16) | 120, driver.Read(0x2000, 4));
    }

    [Fact]
    public void EmergencyWrite_WorksBeforeAnyDriver()
    {
        using VirtioDriver driver = OnTerminal(out _, start: false);
        driver.WriteRegister(0x2008, 4, 'X');
        Assert.Equal("X", Encoding.ASCII.GetString([.. _typed]));
    }

    [Fact]
    public void Ports_AreAnnouncedWithTheirNames()
    {
        using VirtioDriver driver = new VirtioDriver(new ConsoleSpec { Ports = "none org.hull.agent=none" }).Start(Multiport);
        Tell(driver, 0, 0, 1);
        Assert.Equal((0u, 1, 1, ""), Told(driver));
        Assert.Equal((1u, 1, 1, ""), Told(driver));
        Tell(driver, 1, 3, 1);
        Assert.Equal((1u, 7, 1, "org.hull.agent"), Told(driver));
        Tell(driver, 0, 3, 1);
        Assert.Equal((0u, 4, 1, ""), Told(driver));
    }

    [Fact]
    public void FloodOfSizes_IsOneMessage()
    {
        TerminalLink terminal = new(static _ => { });
        using VirtioDriver driver = Create("stdio agent=none", terminal).Start(Multiport);
        Tell(driver, 0, 0, 1);
        Tell(driver, 0, 3, 1);
        for (int i = 0; i < 100_000; i++)
        {
            terminal.Resize(i % 50, 80);
        }

        for (int i = 0; i < 10; i++)
        {
            driver.Describe(2, i, VirtioDriver.DataAt + ((ulong)i * 128), 72, VirtioDriver.Write);
            driver.Offer(2, (ushort)i);
        }

        // The two ports, the console and its one size.
        Assert.InRange(driver.Used(2), 3, 5);
    }

    [Fact]
    public void UnixSocket_TalksWithTheGuest()
    {
        string path = Path.Combine(_folder, "agent");
        using VirtioDriver driver = new VirtioDriver(new ConsoleSpec { Ports = $"none agent=unix:{path}" }, threads: true).Start(Multiport);
        using Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        socket.Send("question"u8);
        Assert.Equal("question"u8, driver.Request(4, [], 64)!);
        driver.Request(5, "answer"u8, 0);
        byte[] answer = new byte[64];
        Assert.Equal(6, socket.Receive(answer));
        Assert.Equal("answer"u8, answer.AsSpan(0, 6));
    }

    [Fact]
    public void Socket_IsItsUsersAlone_AndGoesWithTheDevice()
    {
        string path = Path.Combine(_folder, "agent");
        using (VirtioDriver driver = new(new ConsoleSpec { Ports = $"agent=unix:{path}" }, threads: true))
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        }

        Assert.False(File.Exists(path));
    }

    [Fact]
    public void ProgramsBytes_WaitUntilTheGuestHasThePortOpen()
    {
        ProgramEnd end = new(_ => { });
        using VirtioDriver driver = OnProgram(end);
        Assert.Equal(4, end.Send("keys"u8));
        driver.Describe(0, 1, VirtioDriver.DataAt, 64, VirtioDriver.Write);
        driver.Offer(0, 1);
        Assert.Equal(0, driver.Used(0));
        Tell(driver, 0, 6, 1);
        Assert.Equal(1, driver.Used(0));
        Tell(driver, 0, 6, 0);
        Assert.Equal(4, end.Send("more"u8));
        driver.Offer(0, 1);
        Assert.Equal(1, driver.Used(0));
    }

    [Fact]
    public void NameOfAPort_IsToldWhenItIsKnownToBeOpen()
    {
        using VirtioDriver driver = OnProgram(new ProgramEnd(_ => { }));
        Assert.Equal((0u, 6, 1, ""), Told(driver));
        Assert.Equal((0u, 7, 1, "p"), Told(driver));
    }

    [Fact]
    public void EndOfInput_ClosesThePortBehindItsLastByte()
    {
        ProgramEnd end = new(_ => { });
        using VirtioDriver driver = OnProgram(end);
        Assert.Equal(6, Told(driver).Event);
        Assert.Equal(7, Told(driver).Event);
        Tell(driver, 0, 6, 1);
        byte[] much = new byte[5000];
        new Random(1).NextBytes(much);
        Assert.Equal(much.Length, end.Send(much));
        end.EndInput();
        driver.Describe(2, 0, VirtioDriver.DataAt + 0x20_0000, 72, VirtioDriver.Write);
        driver.Offer(2, 0);
        int told = driver.Used(2);
        Assert.Equal(much[..4096], driver.Request(0, [], 4096)!);
        Assert.Equal(told, driver.Used(2));
        Assert.Equal(much[4096..], driver.Request(0, [], 4096)!);
        Assert.Equal(told + 1, driver.Used(2));
        Assert.Equal(6u, driver.Memory.Read<ushort>(new Hull.Memory.GuestPhysical(VirtioDriver.DataAt + 0x20_0004)));
        Assert.Equal(0u, driver.Memory.Read<ushort>(new Hull.Memory.GuestPhysical(VirtioDriver.DataAt + 0x20_0006)));
    }

    [Fact]
    public void Flush_TakesWhatTheDriverHasNotToldOf()
    {
        using VirtioDriver driver = OnProgram(new ProgramEnd(bytes => _typed.AddRange(bytes)));
        driver.Memory.TryWrite(new Hull.Memory.GuestPhysical(VirtioDriver.DataAt), "last words"u8);
        driver.Describe(1, 0, VirtioDriver.DataAt, 10, 0);
        driver.OfferQuietly(1, 0);
        Assert.Empty(_typed);
        ((ConsoleDevice)driver.Device).Flush();
        Assert.Equal("last words", Encoding.ASCII.GetString([.. _typed]));
    }

    [Fact]
    public void WriteOfGigabytes_BreaksTheDevice()
    {
        using VirtioDriver driver = OnProgram(new ProgramEnd(_ => { }));
        ulong table = VirtioDriver.DataAt + 0x10_0000;
        for (int i = 0; i < 9; i++)
        {
            driver.DescribeAt(table + ((ulong)i * 16), VirtioDriver.DataAt, 8 << 20, i < 8 ? VirtioDriver.Next : 0, i + 1);
        }

        driver.Describe(1, 0, table, 9 * 16, VirtioDriver.Indirect);
        driver.Offer(1, 0);
        Assert.True(driver.NeedsReset);
    }

    [Fact]
    public void ProgramsPort_NeedsAProgram_AndIsOnlyOne()
    {
        Assert.Throws<Hull.Host.HullException>(() => new VirtioDriver(new ConsoleSpec { Ports = "p=program" }));
        Assert.Throws<Hull.Host.HullException>(() => OnProgram(new ProgramEnd(_ => { }), "p=program p=program"));
    }

    [Theory]
    [InlineData("program")]
    [InlineData("pipe:x")]
    [InlineData("a/b=none")]
    [InlineData("=none")]
    [InlineData("unix:")]
    public void PortThatIsNone_IsRefused(string ports) =>
        Assert.Throws<Hull.Host.HullException>(() => new VirtioDriver(new ConsoleSpec { Ports = ports }));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static VirtioDriver Create(string ports, TerminalLink terminal) => new(
        context => new ConsoleSpec { Ports = ports }.Create(context with { Terminal = terminal }), threads: false);

    private VirtioDriver OnTerminal(out TerminalLink terminal, bool start = true)
    {
        terminal = new TerminalLink(bytes => _typed.AddRange(bytes));
        VirtioDriver driver = Create("stdio", terminal);
        return start ? driver.Start() : driver;
    }

    // The driver knows the port.
    private static VirtioDriver OnProgram(ProgramEnd end, string ports = "p=program")
    {
        Dictionary<string, ProgramEnd> ends = new() { ["p"] = end };
        VirtioDriver driver = new VirtioDriver(
            context => new ConsoleSpec { Ports = ports }.Create(context with { Ports = ends }), threads: false).Start(Multiport);
        Tell(driver, 0, 0, 1);
        Assert.Equal((0u, 1, 1, ""), Told(driver));
        Tell(driver, 0, 3, 1);
        return driver;
    }

    private static void Tell(VirtioDriver driver, uint port, ushort what, ushort value)
    {
        byte[] message = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(message, port);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(4), what);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(6), value);
        driver.Request(3, message, 0);
    }

    private static (uint Port, int Event, int Value, string Text) Told(VirtioDriver driver)
    {
        byte[] message = driver.Request(2, [], 72)!;
        return (BinaryPrimitives.ReadUInt32LittleEndian(message), BinaryPrimitives.ReadUInt16LittleEndian(message.AsSpan(4)),
            BinaryPrimitives.ReadUInt16LittleEndian(message.AsSpan(6)), Encoding.UTF8.GetString(message.AsSpan(8)));
    }
}
