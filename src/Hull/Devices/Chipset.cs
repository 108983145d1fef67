using System;
using System.Collections.Generic;
using System.Text;
using Hull.Bus;
using Hull.Devices.Firmware;
using Hull.Devices.Input;
using Hull.Devices.Irq;
using Hull.Devices.Pci;
using Hull.Devices.Power;
using Hull.Devices.Serial;
using Hull.Devices.Test;
using Hull.Devices.Time;
using Hull.Memory;
using Hull.Platform;
using Hull.Timeline;

namespace Hull.Devices;

/// <summary>
/// The chips of the PC, wired: interrupt controllers, timers, serial ports, keyboard controller, ACPI registers, PCI.
/// Addresses and interrupts are <see cref="PlatformMap"/>'s.
/// </summary>
internal sealed class Chipset
{
    private static readonly (ushort Port, int Irq)[] SerialPlaces =
    [
        (PlatformMap.Com1Port, PlatformMap.Com1Irq),
        (PlatformMap.Com2Port, PlatformMap.Com2Irq),
        (PlatformMap.Com3Port, PlatformMap.Com1Irq),
        (PlatformMap.Com4Port, PlatformMap.Com2Irq),
    ];

    private readonly LocalApic[] _localApics = [];
    private readonly Uart16550[] _serial = new Uart16550[SerialPlaces.Length];
    private readonly AcpiPm1 _power;

    /// <summary>Makes the chips and puts them on the bus.</summary>
    internal Chipset(IoBus bus, ITimerQueue timers, ChipsetOptions options)
    {
        Pic = new PicPair();
        if (options.ExternalMessages is { } external)
        {
            Messages = external;
            IoApic = new IoApic(external);
            Pic.OutputChanged = () => PicOutputChanged?.Invoke();
        }
        else
        {
            ApicBus apics = new();
            Messages = new MsiRouter(apics);
            IoApic = new IoApic(Messages);
            apics.EndOfInterrupt = IoApic.EndOfInterrupt;
            _localApics = new LocalApic[options.Vcpus];
            for (int i = 0; i < _localApics.Length; i++)
            {
                _localApics[i] = new LocalApic((uint)i, timers, apics, i == 0 ? Pic : null);
            }

            Pic.OutputChanged = _localApics[0].Lint0Changed;
        }

        Pic.Map(bus);
        bus.MapMmio(new GuestPhysical(PlatformMap.IoApicBase), 0x1000, IoApic);
        Interrupts = new InterruptInputs(Pic, IoApic);

        new Pit8254(timers, Interrupts.CreateIsaLine(PlatformMap.PitIrq)).Map(bus);
        Rtc = new RtcMc146818(timers, Interrupts.CreateIsaLine(PlatformMap.RtcIrq));
        FirmwareCmos.SetMemorySize(Rtc, options.LowMemory, options.HighMemory);
        FirmwareCmos.SetVcpus(Rtc, options.Vcpus);
        Rtc.Map(bus);
        new Hpet(timers, Interrupts, Messages).Map(bus);
        bus.MapPorts(PlatformMap.AcpiPmTimerPort, 4, new AcpiPmTimer(timers.Clock));

        for (int i = 0; i < _serial.Length; i++)
        {
            (ushort serialPort, int irq) = SerialPlaces[i];
            ISerialOutput? output = i < options.SerialOutputs.Count ? options.SerialOutputs[i] : null;
            _serial[i] = new Uart16550(timers, Interrupts.CreateIsaLine(irq), output ?? NoSerialOutput.Instance);
            _serial[i].Map(bus, serialPort);
        }

        Keyboard = new I8042(Interrupts.CreateIsaLine(PlatformMap.KeyboardIrq), RequestReset);
        Keyboard.Map(bus);
        _power = new AcpiPm1(
            Interrupts.CreateIsaLine(PlatformMap.AcpiSciIrq), () => PoweredOff?.Invoke(),
            options.WakingVector is null ? null : Suspend, () => Resume(options.WakingVector!()));
        _power.Map(bus);
        Rtc.AlarmRaised = _power.RtcAlarm;
        bus.MapPorts(PlatformMap.PostPort, 1, new BytePorts(new PostPort(), 1));
        new ApmPorts().Map(bus);

        AcpiGpe events = new(Interrupts.CreateIsaLine(PlatformMap.AcpiSciIrq));
        events.Map(bus);
        Hotplug = new PciHotplugPorts(events);
        Hotplug.Map(bus);
        Pci = new PciBus(bus, Interrupts);
        ShadowMemory? shadow = options.Memory is null ? null : new ShadowMemory(options.Memory, bus);
        Pci.Attach(new HostBridge(Pci, shadow, isOpen: options.Memory is not { Rom.Size: > 0 }), 0, intx: false);
        new PciConfigPorts(Pci, RequestReset).Map(bus);
        FwCfg = CreateFwCfg(options);
        FwCfg.Map(bus);
        if (options.Memory is { Rom.Size: > 0 })
        {
            _ = new BiosRom(options.Memory, bus);
        }

        if (options.DebugOutput is not null)
        {
            new DebugConsole(options.DebugOutput).Map(bus);
        }

        if (options.TestDevice)
        {
            PcTestDevice.Map(bus, Interrupts);
        }

        if (options.ExitPort is ushort port)
        {
            ExitPort.Map(bus, port, value => Exited?.Invoke(value));
        }
    }

    /// <summary>The guest asked for soft off. On a vCPU's thread, which may run on for a while.</summary>
    internal event Action? PoweredOff;

    /// <summary>The guest asked for a reset. On a vCPU's thread, which may run on for a while.</summary>
    internal event Action? ResetRequested;

    /// <summary>The guest wrote a value to its exit port. On a vCPU's thread.</summary>
    internal event Action<uint>? Exited;

    /// <summary>With external local APICs: <see cref="PicPair.Output"/> of <see cref="Pic"/> may have changed. Any thread.</summary>
    internal event Action? PicOutputChanged;

    /// <summary>The local APICs by vCPU; empty when the engine has them.</summary>
    internal IReadOnlyList<LocalApic> LocalApics => _localApics;

    /// <summary>Where devices send message-signalled interrupts.</summary>
    internal IMsiSink Messages { get; }

    /// <summary>The board's interrupt inputs, for devices beyond the chips here.</summary>
    internal InterruptInputs Interrupts { get; }

    /// <summary>The 8259s.</summary>
    internal PicPair Pic { get; }

    /// <summary>The I/O APIC.</summary>
    internal IoApic IoApic { get; }

    /// <summary>The clock and CMOS RAM.</summary>
    internal RtcMc146818 Rtc { get; }

    /// <summary>COM1-COM4.</summary>
    internal IReadOnlyList<Uart16550> Serial => _serial;

    /// <summary>The keyboard controller.</summary>
    internal I8042 Keyboard { get; }

    /// <summary>PCI bus 0. When all functions are attached, <see cref="PciBus.AssignBars"/> gives them addresses.</summary>
    internal PciBus Pci { get; }

    /// <summary>What firmware reads; files are added before the machine starts.</summary>
    internal FwCfg FwCfg { get; }

    /// <summary>Tells the guest of PCI cards that come and go.</summary>
    internal PciHotplugPorts Hotplug { get; }

    /// <summary>Presses the power button. Any thread.</summary>
    /// <returns>False when the guest has not enabled the event, so nothing will come of it.</returns>
    internal bool PowerButton() => _power.PressPowerButton();

    private static FwCfg CreateFwCfg(ChipsetOptions options)
    {
        FwCfg config = new(options.Memory);
        config.Add64(FwCfgKey.RamSize, options.LowMemory + options.HighMemory);
        config.Add16(FwCfgKey.NoGraphic, 1);
        config.Add16(FwCfgKey.CpuCount, (ushort)options.Vcpus);
        config.Add16(FwCfgKey.MaximumCpus, (ushort)options.Vcpus);
        if (options.CommandLine.Length > 0)
        {
            byte[] line = [.. Encoding.UTF8.GetBytes(options.CommandLine), 0];
            config.Add32(FwCfgKey.CommandLineSize, (uint)line.Length);
            config.Add(FwCfgKey.CommandLine, line);
        }

        return config;
    }

    // QUIRK: suspended to RAM, the chips keep their state; hardware may forget it. Drivers set their chips up anew either way.
    private void Suspend()
    {
        // What firmware looks at to tell the end of a suspension from a start.
        const int ShutdownStatus = 0x0F;
        Rtc.SetCmos(ShutdownStatus, 0xFE);
        foreach (LocalApic apic in _localApics)
        {
            apic.Suspend();
        }
    }

    private void Resume(uint? at)
    {
        if (at == 0)
        {
            RequestReset(); // a system that cannot be resumed is started again
            return;
        }

        _localApics[0].Resume(at);
    }

    private void RequestReset() => ResetRequested?.Invoke();
}
