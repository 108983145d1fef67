using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Text;
using System.Text.Json;
using Hull.Engine;
using Hull.Host;

namespace Hull.Cli.Run;

/// <summary>
/// What the engine counted in a run, for `--stat`. It goes to standard error, last of all, because standard output is
/// the guest's: as a table, or as one line of JSON, so that `tail -n 1` has it.
/// </summary>
internal sealed class StatReport(string engine, IReadOnlyList<EngineCounter> counters)
{
    /// <summary>Prints the report.</summary>
    internal void Print(OutputForm form) =>
        StandardStream.Error.TryWrite(Encoding.UTF8.GetBytes(form == OutputForm.Json ? Json() + "\n" : Table()));

    /// <summary>A counter a line: its name, then its number.</summary>
    internal string Table()
    {
        int name = counters.Max(static counter => counter.Name.Length);
        int value = counters.Max(static counter => Digits(counter.Value).Length);
        StringBuilder text = new();
        foreach (EngineCounter counter in counters)
        {
            text.Append(counter.Name.PadRight(name + 2)).Append(Digits(counter.Value).PadLeft(value)).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>An object: the engine, and the counters by name.</summary>
    internal string Json() => JsonSerializer.Serialize(
        new StatJson(engine, counters.ToDictionary(static counter => counter.Name, static counter => counter.Value)),
        LineJson.Default.StatJson);

    private static string Digits(ulong value) => value.ToString(CultureInfo.InvariantCulture);
}

/// <summary>What `hull run --stat -o json` prints.</summary>
internal sealed record StatJson(string Engine, Dictionary<string, ulong> Counters);
