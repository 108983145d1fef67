using System.Collections.Generic;
using Hull.Bus;
using Hull.Devices;
using Hull.Devices.Serial;
using Hull.Memory;
using Hull.Platform;
using Hull.Tests.Timeline;

namespace Hull.Tests.Devices;

/// <summary>A chipset on a stepped clock, driven through its bus as a vCPU would.</summary>
internal sealed class TestPc
{
    internal TestPc(int vcpus = 1)
    {
        Chipset = new Chipset(Bus, Time, new ChipsetOptions
        {
            Vcpus = vcpus,
            LowMemory = 512 << 20,
            SerialOutputs = [Output, Output2],
            WakingVector = () => WakingVector,
        });
        Signals = new RecordingSignals[vcpus];
        for (int i = 0; i < vcpus; i++)
        {
            Signals[i] = new RecordingSignals();
            Chipset.LocalApics[i].Connect(Signals[i]);
        }

        Chipset.PoweredOff += () => PowerOffs++;
        Chipset.ResetRequested += () => Resets++;
    }

    internal IoBus Bus { get; } = new();

    internal ManualTimeline Time { get; } = new();

    internal Chipset Chipset { get; }

    internal RecordingSignals[] Signals { get; }

    internal RecordingOutput Output { get; } = new();

    internal RecordingOutput Output2 { get; } = new();

    internal uint? WakingVector { get; set; } = 0x9A123;

    internal int PowerOffs { get; private set; }

    internal int Resets { get; private set; }

    internal byte In(int port) => (byte)Bus.ReadPort((ushort)port, 1);

    internal ushort In16(int port) => (ushort)Bus.ReadPort((ushort)port, 2);

    internal uint In32(int port) => Bus.ReadPort((ushort)port, 4);

    internal void Out(int port, int value) => Bus.WritePort((ushort)port, 1, (byte)value);

    internal void Out16(int port, int value) => Bus.WritePort((ushort)port, 2, (ushort)value);

    internal void Out32(int port, uint value) => Bus.WritePort((ushort)port, 4, value);

    internal uint ReadIoApic(int register)
    {
        Bus.WriteMmio(new GuestPhysical(PlatformMap.IoApicBase), 4, (ulong)register);
        return (uint)Bus.ReadMmio(new GuestPhysical(PlatformMap.IoApicBase + 0x10), 4);
    }

    internal void WriteIoApic(int register, uint value)
    {
        Bus.WriteMmio(new GuestPhysical(PlatformMap.IoApicBase), 4, (ulong)register);
        Bus.WriteMmio(new GuestPhysical(PlatformMap.IoApicBase + 0x10), 4, value);
    }

    /// <summary>Routes an I/O APIC input to APIC 0, and switches that APIC on and the 8259 off.</summary>
    internal void Route(int input, byte vector, bool level)
    {
        Chipset.LocalApics[0].WriteMmio(0xF0, 0x1FF);
        Chipset.LocalApics[0].WriteMmio(0x350, 0x10000);
        WriteIoApic(0x11 + (input * 2), 0);
        WriteIoApic(0x10 + (input * 2), vector | (level ? 0x8000u : 0));
    }

    /// <summary>Takes every interrupt that waits on APIC 0, with its EOI.</summary>
    internal List<int> TakeAll()
    {
        List<int> vectors = [];
        while (Chipset.LocalApics[0].HasInterrupt && vectors.Count < 1000)
        {
            int vector = Chipset.LocalApics[0].Acknowledge();
            if (vector >= 0)
            {
                vectors.Add(vector);
                Chipset.LocalApics[0].WriteMmio(0xB0, 0);
            }
        }

        return vectors;
    }

    /// <summary>Sets up both 8259s as Linux does, with these inputs open.</summary>
    internal void InitializePic(int open)
    {
        Out(0x20, 0x11);
        Out(0x21, 0x30);
        Out(0x21, 0x04);
        Out(0x21, 0x01);
        Out(0xA0, 0x11);
        Out(0xA1, 0x38);
        Out(0xA1, 0x02);
        Out(0xA1, 0x01);
        Out(0x21, ~open & 0xFF);
        Out(0xA1, ~open >> 8 & 0xFF);
    }
}

/// <summary>What a local APIC told its vCPU.</summary>
internal sealed class RecordingSignals : IVcpuSignals
{
    internal int Changes { get; private set; }

    internal int Nmis { get; private set; }

    internal int Inits { get; private set; }

    internal List<byte> Startups { get; } = [];

    internal int Suspends { get; private set; }

    internal List<uint?> Resumes { get; } = [];

    public void InterruptChanged() => Changes++;

    public void Nmi() => Nmis++;

    public void Init() => Inits++;

    public void Startup(byte vector) => Startups.Add(vector);

    public void Suspend() => Suspends++;

    public void Resume(uint? at) => Resumes.Add(at);
}

/// <summary>What a serial port sent.</summary>
internal sealed class RecordingOutput : ISerialOutput
{
    internal List<byte> Bytes { get; } = [];

    public void Put(byte value)
    {
        if (Bytes.Count < 100_000)
        {
            Bytes.Add(value);
        }
    }
}
