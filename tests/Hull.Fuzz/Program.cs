using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.IO.MemoryMappedFiles;
using System.Linq;
using System.Threading;
using Hull.Tests.Fuzz;

namespace Hull.Fuzz;

/// <summary>
/// The long run of the fuzzer: <c>dotnet run --project tests/Hull.Fuzz -c Release -- --cases 10000000 --seed 1</c>.
/// Prints progress; the status is 1 when a defect was found. A crash of the process leaves the case in the trace file,
/// and a case that hangs ends the process with its name.
/// </summary>
internal static class Program
{
    private const string Usage = """
        --cases N     cases in all (1000000)
        --seed N      seed (1)
        --epoch N     the first epoch (0); with --cases 1, that epoch alone
        --jobs N      epochs at a time (1)
        --trace FILE  where the running case is noted (hull-fuzz.trace in the temporary folder)
        """;

    // No case takes a hundredth of it, even on a busy machine.
    private static readonly TimeSpan HangLimit = TimeSpan.FromSeconds(60);

    private static int Main(string[] args)
    {
        if (args.Contains("--help"))
        {
            Console.WriteLine(Usage);
            return 0;
        }

        long cases = Number(args, "--cases", 1_000_000);
        ulong seed = (ulong)Number(args, "--seed", 1);
        long first = Number(args, "--epoch", 0);
        int jobs = (int)Number(args, "--jobs", 1);
        string trace = Option(args, "--trace") ?? Path.Combine(Path.GetTempPath(), "hull-fuzz.trace");
        long end = first + ((cases + FuzzCampaign.CasesPerEpoch - 1) / FuzzCampaign.CasesPerEpoch);
        Console.WriteLine($"seed {seed}, epochs {first} to {end - 1}, running cases in {trace}");
        using MemoryMappedFile file = MemoryMappedFile.CreateFromFile(trace, FileMode.Create, null, 16 * jobs);
        using MemoryMappedViewAccessor view = file.CreateViewAccessor();
        return Run(seed, first, end, jobs, view);
    }

    private static int Run(ulong seed, long first, long end, int jobs, MemoryMappedViewAccessor trace)
    {
        Stopwatch watch = Stopwatch.StartNew();
        long next = first;
        long resident = 0;
        FuzzCampaign[] campaigns = new FuzzCampaign[jobs];
        Thread[] threads = new Thread[jobs];
        for (int i = 0; i < jobs; i++)
        {
            int job = i;
            FuzzCampaign campaign = campaigns[i] = new FuzzCampaign(seed)
            {
                Starting = (epoch, number) =>
                {
                    trace.Write(16 * job, epoch);
                    trace.Write((16 * job) + 8, (long)number);
                },
            };
            threads[i] = new Thread(() =>
            {
                long epoch;
                while ((epoch = Interlocked.Increment(ref next) - 1) < end && campaign.Report.Defect is null)
                {
                    campaign.RunEpoch(epoch);
                }
            });
            threads[i].Start();
        }

        long[] seen = new long[jobs];
        TimeSpan[] since = new TimeSpan[jobs];
        for (double shown = 0; threads.Any(static t => t.IsAlive); Thread.Sleep(100))
        {
            for (int i = 0; i < jobs; i++)
            {
                if (campaigns[i].Report.Cases != seen[i] || !threads[i].IsAlive)
                {
                    (seen[i], since[i]) = (campaigns[i].Report.Cases, watch.Elapsed);
                }
                else if (watch.Elapsed - since[i] > HangLimit)
                {
                    Environment.FailFast(
                        $"seed {seed} epoch {trace.ReadInt64(16 * i)} case {trace.ReadInt64((16 * i) + 8)} hangs");
                }
            }

            if (watch.Elapsed.TotalSeconds - shown > 20)
            {
                shown = watch.Elapsed.TotalSeconds;
                resident = resident == 0 ? FuzzCampaign.ResidentBytes() : resident;
                Show(campaigns, watch, FuzzCampaign.ResidentBytes() - resident);
            }
        }

        Show(campaigns, watch, resident == 0 ? 0 : FuzzCampaign.ResidentBytes() - resident);
        foreach ((string name, ulong value) in FuzzCampaign.Sum(campaigns))
        {
            Console.WriteLine($"{value,14} {name}");
        }

        foreach (FuzzCampaign campaign in campaigns.Where(static c => c.Report.Defect is not null))
        {
            Console.WriteLine(campaign.Report.Defect);
        }

        return campaigns.All(static c => c.Report.Defect is null) ? 0 : 1;
    }

    private static void Show(FuzzCampaign[] campaigns, Stopwatch watch, long growth)
    {
        long cases = campaigns.Sum(static c => c.Report.Cases);
        Console.WriteLine($"{cases} cases, {campaigns.Sum(static c => c.Report.Shutdowns)} shutdowns, "
            + $"{campaigns.Sum(static c => c.Report.Blocks)} entries, {cases / watch.Elapsed.TotalSeconds:f0}/s, "
            + $"{growth >> 20} MiB grown");
    }

    private static long Number(string[] args, string name, long otherwise) =>
        Option(args, name) is string text ? long.Parse(text, CultureInfo.InvariantCulture) : otherwise;

    private static string? Option(string[] args, string name)
    {
        int at = Array.IndexOf(args, name);
        return at >= 0 && at + 1 < args.Length ? args[at + 1] : null;
    }
}
