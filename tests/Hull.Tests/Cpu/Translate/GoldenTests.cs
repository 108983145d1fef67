using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Runtime.CompilerServices;
using Xunit;

namespace Hull.Tests.Cpu.Translate;

/// <summary>
/// What the translator emits, row by row, against the texts in Goldens. A change there is reviewed like code;
/// HULL_WRITE_GOLDENS=1 writes them anew.
/// </summary>
public sealed class GoldenTests
{
    private const string HeadMark = "== ";

    private static bool IsWriting => Environment.GetEnvironmentVariable("HULL_WRITE_GOLDENS") == "1";

    public static TheoryData<string> Names { get; } = [.. GoldenRows.All.Select(static row => row.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void Translation_IsTheGolden(string name)
    {
        if (IsWriting)
        {
            return;
        }

        GoldenRow row = GoldenRows.All.Single(one => one.Name == name);
        string golden = ReadRows(row.Topic).GetValueOrDefault(name, "(no golden)\n");
        string text = GoldenText.Of(row);
        Assert.True(
            text == golden,
            $"'{name}' is translated otherwise (HULL_WRITE_GOLDENS=1 accepts it).\n"
            + $"--- golden\n{golden}--- now\n{text}");
    }

    [Fact]
    public void Translation_IsTheSameAgain()
    {
        foreach (GoldenRow row in GoldenRows.All)
        {
            Assert.Equal(GoldenText.Of(row), GoldenText.Of(row));
        }
    }

    [Fact]
    public void Goldens_AreTheRowsInTheirOrder()
    {
        foreach (IGrouping<string, GoldenRow> topic in GoldenRows.All.GroupBy(static row => row.Topic))
        {
            if (IsWriting)
            {
                File.WriteAllText(PathOf(topic.Key), string.Join('\n', topic.Select(GoldenText.Of)));
            }

            Assert.Equal(topic.Select(static row => row.Name), ReadRows(topic.Key).Keys);
        }

        Assert.Equal(
            GoldenRows.All.Select(static row => row.Topic + ".txt").Distinct().Order(StringComparer.Ordinal),
            Directory.GetFiles(Folder()).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    /// <summary>The rows of a file by name, in its order.</summary>
    private static OrderedDictionary<string, string> ReadRows(string topic)
    {
        OrderedDictionary<string, string> rows = [];
        string path = PathOf(topic);
        string all = File.Exists(path) ? File.ReadAllText(path) : "";
        foreach (string row in ("\n" + all).Split("\n" + HeadMark, StringSplitOptions.RemoveEmptyEntries))
        {
            string text = $"{HeadMark}{row.TrimEnd('\n')}\n";
            rows[text[HeadMark.Length..text.IndexOf(" (", StringComparison.Ordinal)]] = text;
        }

        return rows;
    }

    private static string PathOf(string topic) => Path.Combine(Folder(), topic + ".txt");

    private static string Folder([CallerFilePath] string source = "") =>
        Path.Combine(Path.GetDirectoryName(source)!, "Goldens"); // a source file lies in a folder
}
