using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using Hull.Cpu;
using Hull.Engine;
using Hull.Host;
using Hull.Memory;

namespace Hull.Tests.Fuzz;

/// <summary>What a campaign counted.</summary>
internal sealed class FuzzReport
{
    internal long Cases;
    internal long Shutdowns;
    internal long Blocks;

    /// <summary>What the engines counted, by name.</summary>
    internal SortedDictionary<string, ulong> Counters { get; } = new(StringComparer.Ordinal);

    /// <summary>The first defect found, with the way to see it again; null when there was none.</summary>
    internal string? Defect;
}

/// <summary>
/// Runs random code in every mode. Cases come in epochs: an epoch has a machine of its own and depends on nothing but
/// the seed and its number, so that a defect is found again by running its epoch alone.
/// </summary>
internal sealed class FuzzCampaign(ulong seed)
{
    internal const int CasesPerEpoch = 2000;
    private const int BlocksPerCase = 48;

    // An epoch takes a fifth of a second.
    private static readonly TimeSpan EpochLimit = TimeSpan.FromMinutes(2);
    private const int CasesPerWorld = 40;
    private const int Modes = (int)FuzzMode.LongUser + 1;

    /// <summary>What has been counted so far.</summary>
    internal FuzzReport Report { get; } = new();

    /// <summary>Told of each case before it runs: epoch and number in the epoch. For the hunt after a crash.</summary>
    internal Action<long, int>? Starting { get; set; }

    /// <summary>Runs one epoch, on a thread of its own: guest code leaves the x87 unit of the thread as it likes.</summary>
    internal void RunEpoch(long epoch)
    {
        Exception? failure = null;
        Thread thread = new(() =>
        {
            try
            {
                Epoch(epoch);
            }
#pragma warning disable CA1031 // a thread's root: it is rethrown below
            catch (Exception e)
#pragma warning restore CA1031
            {
                failure = e;
            }
        });
        thread.IsBackground = true; // one that hangs does not keep the process
        thread.Start();
        if (!thread.Join(EpochLimit))
        {
            Report.Defect ??= $"seed {seed} epoch {epoch}: hangs in case {(Report.Cases - 1) % CasesPerEpoch}";
        }
        else if (failure is not null)
        {
            Report.Defect ??= $"seed {seed} epoch {epoch}: {failure}";
        }
    }

    /// <summary>The counters of several campaigns, added up.</summary>
    internal static SortedDictionary<string, ulong> Sum(IEnumerable<FuzzCampaign> campaigns)
    {
        SortedDictionary<string, ulong> sums = new(StringComparer.Ordinal);
        foreach ((string name, ulong value) in campaigns.SelectMany(static c => c.Report.Counters))
        {
            sums[name] = sums.GetValueOrDefault(name) + value;
        }

        return sums;
    }

    private void Epoch(long epoch)
    {
        Random random = new(HashCode(seed, epoch));
        using FuzzMachine machine = new(random);
        using JoinedTimer kicker = new(machine.Vcpu.Kick, 1, 1);
        FuzzWorld world = new(machine, random);
        FuzzState states = new(random, machine.Features);
        FuzzCode codes = new(random);
        byte[] code = new byte[512];
        for (int i = 0; i < CasesPerEpoch && Report.Defect is null; i++)
        {
            if (i % CasesPerWorld == 0)
            {
                world.Build();
                world.Noise(FuzzWorld.Code, FuzzWorld.CodeSize);
            }

            FuzzMode mode = (FuzzMode)random.Next(Modes);
            int start = random.Next(4) == 0 ? random.Next(FuzzWorld.CodeSize) : random.Next(16) << 12;
            start = random.Next(8) == 0 ? (start | 0xFFF) - random.Next(15) : start;
            Span<byte> part = code.AsSpan(0, random.Next(2) == 0 ? 64 : code.Length);
            codes.Fill(part, mode >= FuzzMode.Long);
            machine.Memory.TryWrite(new GuestPhysical(FuzzWorld.Code + (ulong)start), part);
            ArchState state = states.Make(mode, start);
            Starting?.Invoke(epoch, i);
            machine.Vcpu.SetState(state);
            Report.Cases++;
            bool alive = random.Next(64) == 0 ? RunFreely(machine) : RunSteps(machine, random.Next(4) == 0 ? 40u : 2u);
            Report.Shutdowns += alive ? 0 : 1;
            if (machine.Vcpu.FailureMessage is string message)
            {
                Report.Defect = $"seed {seed} epoch {epoch} case {i} mode {mode}: {message}";
            }
        }

        foreach (EngineCounter counter in machine.Engine.ReadCounters())
        {
            Report.Counters[counter.Name] = Report.Counters.GetValueOrDefault(counter.Name) + counter.Value;
        }
    }

    // Attention is asked for before each step: linked code leaves at its first backward or indirect jump. Handlers of
    // noise fault again and again, which is worth a look in some cases only.
    private bool RunSteps(FuzzMachine machine, ulong exceptions)
    {
        SoftVcpu vcpu = machine.Vcpu;
        ulong last = vcpu.Counters.Events + exceptions;
        for (int i = 0; i < BlocksPerCase && vcpu.Counters.Events <= last; i++)
        {
            Report.Blocks++;
            vcpu.Kick();
            if (!vcpu.StepLinked())
            {
                return false;
            }
        }

        return true;
    }

    // The run loop with interrupts, until the timer kicks it.
    private bool RunFreely(FuzzMachine machine)
    {
        machine.Apic.Active = true;
        VcpuExit exit = VcpuExit.Kicked;
        for (int i = 0; i < 3 && exit == VcpuExit.Kicked; i++)
        {
            Report.Blocks++;
            machine.Vcpu.InterruptChanged();
            exit = machine.Vcpu.Run();
        }

        machine.Apic.Active = false;
        return exit == VcpuExit.Kicked;
    }

    private static int HashCode(ulong seed, long epoch)
    {
        ulong x = (seed + 0x9E37_79B9_7F4A_7C15) * ((ulong)epoch + 0xBF58_476D_1CE4_E5B9);
        return (int)(x ^ (x >> 29));
    }

    /// <summary>Bytes of this process in RAM.</summary>
    internal static long ResidentBytes()
    {
        using Process self = Process.GetCurrentProcess();
        return self.WorkingSet64;
    }
}
