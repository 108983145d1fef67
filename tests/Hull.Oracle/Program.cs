using System;
using System.Diagnostics;
using System.Globalization;
using System.Linq;
using Hull.Cpu.Mmu;
using Hull.Tests.Oracle;
using Iced.Intel;

namespace Hull.Oracle;

/// <summary>
/// The long run of the native oracle: <c>dotnet run --project tests/Hull.Oracle -c Release -- --count 200000000 --seed 1</c>.
/// Prints progress and differences; the status is 1 when there was a difference.
/// </summary>
internal static class Program
{
    private const string Usage = """
        --count N      comparisons (1000000)
        --seed N       seed (1)
        --sets A,B     Integer BitManipulation X87 Mmx Sse Crypto Avx SegmentBases Privileged Segments Xsave All
        --mode32       32-bit compatibility mode
        --filter TEXT  only forms whose name contains TEXT
        --faults N     memory operands in a thousand that are meant to fault (8)
        --segments N   32-bit encodings in a thousand with segments that are not flat (0)
        --states N     states for each encoding (8)
        --shown N      differences printed for each form (1)
        --mode M       Single, Block or Linked: how the soft engine runs a test
        --sequences    random programs instead of single instructions
        --gaps         count the known gaps apart
        --self         native against native: tests the oracle
        --list         forms without a test
        --windows      accesses go through windows (64-bit mode)
        """;

    private static int Main(string[] args)
    {
        if (args.Contains("--help"))
        {
            Console.WriteLine(Usage);
            return 0;
        }

        CampaignOptions options = new()
        {
            Seed = ulong.Parse(Option(args, "--seed") ?? "1", CultureInfo.InvariantCulture),
            Count = long.Parse(Option(args, "--count") ?? "1000000", CultureInfo.InvariantCulture),
            Sets = Enum.Parse<FormSets>(Option(args, "--sets") ?? "All", true),
            Filter = Option(args, "--filter") ?? "",
            FaultsPerThousand = int.Parse(Option(args, "--faults") ?? "8", CultureInfo.InvariantCulture),
            SegmentsPerThousand = int.Parse(Option(args, "--segments") ?? "0", CultureInfo.InvariantCulture),
            StatesPerEncoding = int.Parse(Option(args, "--states") ?? "8", CultureInfo.InvariantCulture),
            ShownPerForm = int.Parse(Option(args, "--shown") ?? "1", CultureInfo.InvariantCulture),
            Mode32 = args.Contains("--mode32"),
            PassKnownGaps = args.Contains("--gaps"),
        };
        using NativeRunner native = new();
        SoftMode mode = Enum.Parse<SoftMode>(Option(args, "--mode") ?? "Single", true);
        using SoftRunner soft = new(mode, args.Contains("--windows") ? WindowUse.Always : WindowUse.Never);
        IInstructionRunner subject = args.Contains("--self") ? native : soft;
        return args.Contains("--sequences")
            ? RunSequences(options, native, [subject])
            : Run(options, native, subject, args.Contains("--list"));
    }

    private static int RunSequences(CampaignOptions options, NativeRunner native, IInstructionRunner[] subjects)
    {
        using SequenceCampaign campaign = new(options, native, subjects, Console.Out);
        Stopwatch watch = Stopwatch.StartNew();
        campaign.Run();
        Console.WriteLine($"seed {options.Seed}: {campaign.Comparisons} programs, {campaign.Faults} exceptions, "
            + $"{campaign.Differences} differences, {campaign.Comparisons / watch.Elapsed.TotalSeconds:f0}/s");
        foreach ((string gap, long count) in campaign.Gaps.OrderByDescending(static g => g.Value))
        {
            Console.WriteLine($"{count,8} known: {gap}");
        }

        return campaign.Differences == 0 ? 0 : 1;
    }

    private static int Run(CampaignOptions options, NativeRunner native, IInstructionRunner subject, bool list)
    {
        using Campaign campaign = new(options, native, subject, Console.Out);
        Stopwatch watch = Stopwatch.StartNew();
        double shown = 0;
        campaign.Progress = c =>
        {
            if (watch.Elapsed.TotalSeconds - shown > 10)
            {
                shown = watch.Elapsed.TotalSeconds;
                Console.Error.WriteLine($"{c.Comparisons} comparisons, {c.Differences} differences, {c.Comparisons / shown:f0}/s");
            }
        };
        campaign.Run();
        Console.WriteLine($"seed {options.Seed}: {campaign.Comparisons} comparisons, {campaign.Faults} exceptions, "
            + $"{campaign.Differences} differences, {campaign.Comparisons / watch.Elapsed.TotalSeconds:f0}/s");
        foreach ((Code code, int count) in campaign.DifferencesByForm.OrderByDescending(static d => d.Value).Take(40))
        {
            Console.WriteLine($"{count,8} {code}");
        }

        foreach ((string gap, long count) in campaign.Gaps.OrderByDescending(static g => g.Value))
        {
            Console.WriteLine($"{count,8} known: {gap}");
        }

        if (list)
        {
            Console.WriteLine($"untested forms: {string.Join(' ', campaign.Untested)}");
        }

        return campaign.Differences == 0 ? 0 : 1;
    }

    private static string? Option(string[] args, string name)
    {
        int at = Array.IndexOf(args, name);
        return at >= 0 && at + 1 < args.Length ? args[at + 1] : null;
    }
}
