using System;
using System.Globalization;
using System.IO;
using System.Text;
using Hull.Kvm;

namespace Hull;

/// <summary>Keeps one text from one process to the next; it may forget it at any time.</summary>
public interface IVerdictStore
{
    /// <summary>The text; null when there is none.</summary>
    string? Load();

    /// <summary>Replaces the text; a failure is no error.</summary>
    void Save(string text);
}

/// <summary>Whether this host's KVM is of use, and why (not).</summary>
/// <param name="IsUsable">Guests may run on it.</param>
/// <param name="Reason">The figures, or what is wrong.</param>
/// <param name="IsSettled">It would be the same tomorrow; false: it is not kept.</param>
public sealed record KvmVerdict(bool IsUsable, string Reason, bool IsSettled = true)
{
    // Hull's translator does better than this; a real CPU a hundred times as much.
    private const double LeastMillionInstructions = 30;
    private const double MostExitMicroseconds = 1000;

    // What was measured with another calibration guest, or judged by other limits, counts no more.
    private const string Version = "hull-kvm-4";

    // How often to measure until a refusal is settled.
    private const int Attempts = 3;

    /// <summary>What was measured since this host started, on this kernel and module; else measures (a few milliseconds).</summary>
    /// <param name="store">Where verdicts are kept; null measures.</param>
    /// <param name="isNew">True when it was measured now.</param>
    public static KvmVerdict Find(IVerdictStore? store, out bool isNew) => Find(store, KvmCalibration.Measure, out isNew);

    /// <summary>As <see cref="Find(IVerdictStore, out bool)"/>, with the way to measure.</summary>
    internal static KvmVerdict Find(IVerdictStore? store, Func<KvmMeasurement> measure, out bool isNew)
    {
        string key = Key();
        string[] lines = store?.Load()?.Split('\n') ?? [];
        if (lines.Length >= 3 && lines[0] == key && lines[1] is "usable" or "refused")
        {
            isNew = false;
            return new KvmVerdict(lines[1] == "usable", lines[2]);
        }

        isNew = true;
        KvmVerdict verdict = Judge(measure());
        for (int attempt = 1; attempt < Attempts && !verdict.IsSettled; attempt++)
        {
            verdict = Judge(measure());
        }

        if (verdict.IsSettled)
        {
            store?.Save($"{key}\n{(verdict.IsUsable ? "usable" : "refused")}\n{verdict.Reason}\n");
        }

        return verdict;
    }

    /// <summary>What follows from a measurement. A disturbed one is slower, so only a refusal may be for its disturbance.</summary>
    internal static KvmVerdict Judge(KvmMeasurement measured)
    {
        if (measured.MillionInstructions > 0 && measured.MillionInstructions < LeastMillionInstructions)
        {
            return Refuse($"it runs kernel code at {measured.MillionInstructions:0.#} million instructions a second, as an emulator does");
        }

        if (measured.Failure is not null)
        {
            return Refuse($"{measured.Failure}");
        }

        return measured.ExitMicroseconds > MostExitMicroseconds
            ? Refuse($"an exit takes {measured.ExitMicroseconds / 1000:0.#} ms")
            : new KvmVerdict(true, string.Create(
                CultureInfo.InvariantCulture,
                $"{measured.MillionInstructions:0.#} million kernel instructions a second, {measured.ExitMicroseconds:0.#} us an exit"));

        KvmVerdict Refuse(FormattableString reason) =>
            new(false, reason.ToString(CultureInfo.InvariantCulture), measured.IsSteady);
    }

    // A verdict holds for one start of the host, one kernel and what of KVM is loaded (what is built in is the kernel's).
    // On the path of every start: no LINQ, whose code would be compiled first.
    private static string Key()
    {
        StringBuilder key = new(Version);
        key.Append(' ').Append(Read("/proc/sys/kernel/random/boot_id").Trim());
        key.Append(' ').Append(Read("/proc/sys/kernel/osrelease").Trim());
        foreach (string line in Read("/proc/modules").Split('\n'))
        {
            if (line.StartsWith("kvm", StringComparison.Ordinal))
            {
                key.Append(' ').Append(line, 0, line.IndexOf(' ', StringComparison.Ordinal));
            }
        }

        return key.ToString();
    }

    private static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "?";
        }
    }
}
