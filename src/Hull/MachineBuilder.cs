using System;
using System.Collections.Generic;
using Hull.Boot;
using Hull.Boot.Acpi;
using Hull.Boot.Firmware;
using Hull.Bus;
using Hull.Cpu;
using Hull.Devices;
using Hull.Devices.Firmware;
using Hull.Devices.Irq;
using Hull.Devices.Serial;
using Hull.Devices.Virtio;
using Hull.Engine;
using Hull.Host;
using Hull.Kvm;
using Hull.Memory;
using Hull.Platform;
using Hull.Timeline;
using Hull.Xen;
using Hull.Xen.PvDevices;

namespace Hull;

/// <summary>Puts a machine together, top to bottom.</summary>
internal static class MachineBuilder
{
    /// <summary>Builds one life of a machine, ready to start.</summary>
    /// <exception cref="HullException">A file of the specification cannot work.</exception>
    internal static MachineParts Build(MachineSpec spec, int life, MachineHooks hooks)
    {
        // What is made so far, to be freed in reverse if a later step fails.
        Stack<IDisposable> made = new();
        try
        {
            GuestMemory memory = Keep(made, CreateMemory(spec));
            KernelLoading? loading = spec.Kernel is null ? null : Keep(made, new KernelLoading(memory, new BootRequest
            {
                Kernel = spec.Kernel,
                Initrd = spec.Initrd,
                Modules = spec.Modules,
                CommandLine = spec.CommandLine,
                VcpuCount = spec.VcpuCount,
                MmioDevices = CountMmio(spec),
                MemoryIsFresh = true,
                StartAsPvh = spec.Xen,
                HasS3 = HasS3(spec),
                Cache = spec.BootCache,
            }));
            IoBus bus = new();
            VirtualTimerQueue? virtualTimers = spec.Deterministic ? new VirtualTimerQueue(new VirtualClock()) : null;
            TimerQueue? realTimers = spec.Deterministic ? null : Keep(made, new TimerQueue(new MachineClock()));
            ITimerQueue timers = (ITimerQueue?)virtualTimers ?? realTimers!;

            // KVM has the local APICs, so the chips need it; the soft engine needs theirs.
            KvmEngine? kvm = spec.Engine == EngineKind.Kvm ? Keep(made, CreateKvmEngine(spec, memory, bus, timers)) : null;
            Chipset chipset = new(bus, timers, new ChipsetOptions
            {
                Vcpus = spec.VcpuCount,
                LowMemory = memory.LowSize,
                HighMemory = memory.HighSize,
                Memory = memory,
                CommandLine = spec.CommandLine,
                TestDevice = spec.TestDevice,
                ExitPort = spec.ExitPort,
                SerialOutputs = SerialOutputs(hooks),
                DebugOutput = spec.FirmwareLog is null ? null : new HookedOutput(0, (_, bytes) => spec.FirmwareLog(bytes)),
                ExternalMessages = kvm,
                WakingVector = !HasS3(spec) ? null : () => spec.Kernel is null ? null : AcpiTables.WakingVector(memory),
            });
            if (kvm is not null)
            {
                Connect(kvm, chipset);
            }

            if (virtualTimers is not null)
            {
                // First of all, so that nothing runs behind the instruction that ends the machine.
                chipset.PoweredOff += virtualTimers.Freeze;
                chipset.ResetRequested += virtualTimers.Freeze;
            }

            chipset.PoweredOff += hooks.PowerOff;
            chipset.ResetRequested += hooks.Reset;
            chipset.Exited += hooks.Exited;
            IInterruptInjector injector = kvm ?? (IInterruptInjector)new ApicInjector(chipset.LocalApics);
            Domain? domain = spec.Xen ? CreateDomain(spec, memory, timers, injector, hooks) : null;
            if (kvm is not null && domain is not null)
            {
                kvm.TakeHypercalls(new XenPersonality(domain), timers.Clock.TscOffset);
            }

            Func<DeviceSpec, DeviceContext, IOtherDevice?>? others = domain is null ? null : new PvBackends(domain).TryCreate;
            TerminalLink terminal = new(bytes => spec.Terminal?.Invoke(bytes));
            MachineDevices devices = Keep(made, new MachineDevices(spec, memory, bus, chipset, terminal, others));
            if (spec.Kernel is null)
            {
                DescribeMachine(spec, memory, chipset, devices.DiskSlots());
            }
            else
            {
                chipset.Pci.AssignBars();
            }

            IEngine engine = kvm ?? (IEngine)Keep(made, CreateSoftEngine(spec, memory, bus, timers, domain, chipset.Messages));
            VcpuThread[] vcpus = new VcpuThread[spec.VcpuCount];

            // The instruction that writes to the exit port is the last one: nothing more is printed.
            chipset.Exited += _ => Array.ForEach(vcpus, static vcpu => vcpu.RequestStop());
            LoadedKernel? kernel = loading?.Wait();
            if (kernel is { FollowsBios: true })
            {
                BiosChips.SetUp(bus);
            }

            for (int i = 0; i < vcpus.Length; i++)
            {
                LocalApic? apic = kvm is null ? chipset.LocalApics[i] : null;
                IVcpu vcpu = engine.CreateVcpu(i, apic);
                vcpus[i] = Keep(made, new VcpuThread(i, vcpu, hooks.VcpuEnded));
                apic?.Connect(vcpu);
                if (i == 0 && kernel is not null)
                {
                    vcpu.SetState(kernel.InitialState);
                }
            }

            if (virtualTimers is not null && spec.Checkpoints is { } checkpoints)
            {
                new Checkpoints(checkpoints, virtualTimers, (SoftEngine)engine, hooks.Stop).Start();
            }

            HostInput input = new(chipset, terminal, virtualTimers, domain);
            return new MachineParts(life, memory, realTimers, input, engine, vcpus)
            {
                Notice = kernel?.Notice,
                Devices = devices,
                Domain = domain,
            };
        }
        catch
        {
            while (made.TryPop(out IDisposable? part))
            {
                part.Dispose();
            }

            throw;
        }
    }

    private static Domain CreateDomain(
        MachineSpec spec, GuestMemory memory, ITimerQueue timers, IInterruptInjector interrupts, MachineHooks hooks) => new(new DomainOptions
        {
            Name = spec.Name,
            VcpuCount = spec.VcpuCount,
            Memory = memory,
            MemoryMap = E820.Build(memory).ConvertAll(
                static range => new MemoryMapEntry(range.Start, range.Length, (uint)range.Type)),
            Trace = spec.HypercallTrace,
            Timers = timers,
            VcpuTimes = spec.Deterministic ? null : new ThreadTimes(spec.VcpuCount).ReadOwn,
            Interrupts = interrupts,
            ConsoleOutput = bytes => hooks.SerialOutput(0, bytes),
            PoweredOff = hooks.PowerOff,
            Crashed = hooks.Crashed,
            ResetRequested = hooks.Reset,
        });

    private static GuestMemory CreateMemory(MachineSpec spec)
    {
        ulong fileBytes = FileBytes(spec);
        if (spec.Firmware is null)
        {
            return new GuestMemory(spec.MemoryBytes, sparePages: spec.Xen ? SpecialPages.SpareCount : 0, fileBytes: fileBytes);
        }

        byte[] rom = FirmwareLoader.Read(spec.Firmware);
        GuestMemory memory = new(spec.MemoryBytes, PlatformMap.FirmwareLowLimit, (ulong)rom.Length, fileBytes: fileBytes);
        memory.Rom.Write(0, rom);
        return memory;
    }

    // Files that are memory; an access to one that was cut is a signal.
    private static ulong FileBytes(MachineSpec spec)
    {
        ulong bytes = 0;
        foreach (DeviceSpec device in spec.Devices)
        {
            bytes += (device as PmemSpec)?.Room() ?? 0;
        }

        if (bytes > FileArea.Limit)
        {
            throw new HullException($"{bytes >> 30} GiB of persistent memory: a guest has up to {FileArea.Limit >> 30} GiB");
        }

        if (bytes > 0)
        {
            HostSignals.Ensure();
        }

        return bytes;
    }

    // Firmware finds all that it needs by itself, and gives the BARs their addresses; it starts as a processor after reset.
    private static void DescribeMachine(MachineSpec spec, GuestMemory memory, Chipset chipset, IReadOnlyList<int> disks)
    {
        foreach (FirmwareFile file in FirmwareLoader.Describe(memory, spec.VcpuCount, disks, CountMmio(spec), HasS3(spec)))
        {
            chipset.FwCfg.AddFile(file.Name, file.Content);
        }
    }

    // KVM's vCPUs are reset by KVM alone, and a guest of Xen asks Xen.
    private static bool HasS3(MachineSpec spec) => spec.Engine != EngineKind.Kvm && !spec.Xen;

    private static int CountMmio(MachineSpec spec)
    {
        int count = 0;
        foreach (DeviceSpec device in spec.Devices)
        {
            count += device.Mmio ? 1 : 0;
        }

        return count;
    }

    // These two are the only places that make an engine; EngineChoice has made one of the two of "auto".
    private static SoftEngine CreateSoftEngine(
        MachineSpec spec, GuestMemory memory, IoBus bus, ITimerQueue timers, Domain? domain, IMsiSink messages)
    {
        CpuidPolicy cpuid = CpuidPolicy.For(spec.Cpu, timers.Clock.TscHz, LocalApic.BusHz, spec.VcpuCount);
        IPersonality personality = domain is not null
            ? new XenPersonality(domain)
            : new KvmClockPersonality(memory, timers.Clock, spec.VcpuCount, LocalApic.BusHz) { Messages = messages };
        return new SoftEngine(memory, bus, timers.Clock, personality, cpuid, SoftEngine.CodeBytesFor(memory.Size))
        {
            Strict = spec.Strict,
            VirtualTimers = timers as VirtualTimerQueue,
            BlockLimit = spec.BlockLimit,
        };
    }

    private static KvmEngine CreateKvmEngine(MachineSpec spec, GuestMemory memory, IoBus bus, ITimerQueue timers)
    {
        KvmSystem system = new();
        try
        {
            CpuidPolicy cpuid = CpuidPolicy.ForKvm(
                spec.Cpu, system.Supported, timers.Clock.TscHz, LocalApic.BusHz, spec.VcpuCount);
            KvmClockPersonality clock = new(memory, timers.Clock, spec.VcpuCount, LocalApic.BusHz);
            return new KvmEngine(system, memory, bus, clock, cpuid);
        }
        catch
        {
            system.Dispose();
            throw;
        }
    }

    // A split irqchip: messages to the kernel's local APICs, their ends of interrupts and the 8259s' cycle to the board.
    private static void Connect(KvmEngine engine, Chipset chipset)
    {
        engine.Connect(chipset.Pic, chipset.IoApic.EndOfInterrupt);
        chipset.IoApic.Routes = engine;
        chipset.PicOutputChanged += engine.ExtIntChanged;
    }

    private static ISerialOutput[] SerialOutputs(MachineHooks hooks)
    {
        ISerialOutput[] outputs = new ISerialOutput[MachineSpec.SerialPortCount];
        for (int i = 0; i < outputs.Length; i++)
        {
            outputs[i] = new HookedOutput(i, hooks.SerialOutput);
        }

        return outputs;
    }

    private static T Keep<T>(Stack<IDisposable> made, T part)
        where T : IDisposable
    {
        made.Push(part);
        return part;
    }

    /// <summary>A serial port whose bytes go to the machine's hook.</summary>
    private sealed class HookedOutput(int port, PortOutput sink) : ISerialOutput
    {
        public void Put(byte value) => sink(port, [value]);
    }
}
