using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using Xunit;

namespace Hull.Tests.Layers;

/// <summary>
/// QUIRKS.md is made from the sources: each deliberate difference from hardware has a comment that says so and why.
/// <c>HULL_WRITE_QUIRKS=1 dotnet test tests/Hull.Tests --filter QuirksTests</c> writes it anew.
/// </summary>
public sealed class QuirksTests
{
    private const string Tag = "// QUIRK:";

    private const string Preface = """
        # Quirks

        Where Hull differs from hardware on purpose, and why. Made from the `// QUIRK:` comments in `src` by
        `tests/Hull.Tests/Layers/QuirksTests.cs`; do not edit it. To write it anew:
        `HULL_WRITE_QUIRKS=1 dotnet test tests/Hull.Tests --filter QuirksTests`.

        """;

    [Fact]
    public void QuirksFile_SaysWhatTheSourcesSay()
    {
        string path = Path.Combine(SourceTree.Root, "QUIRKS.md");
        string expected = Generate();
        if (Environment.GetEnvironmentVariable("HULL_WRITE_QUIRKS") == "1")
        {
            File.WriteAllText(path, expected);
        }

        string actual = File.Exists(path) ? File.ReadAllText(path) : "";
        Assert.True(actual == expected, "QUIRKS.md is not what the sources say: run this test with HULL_WRITE_QUIRKS=1");
    }

    [Fact]
    public void Comment_OfSeveralLines_IsOneQuirk()
    {
        string[] lines =
        [
            "    // SAFETY: not this.",
            "    // QUIRK: a chip does",
            "    // otherwise.",
            "    // SAFETY: nor this.",
            "    int x;",
            "    // QUIRK: another.",
        ];
        Assert.Equal(["A chip does otherwise.", "Another."], Find(lines));
    }

    private static string Generate()
    {
        string source = Path.Combine(SourceTree.Root, "src");
        StringBuilder text = new(Preface);
        var files = SourceTree.CSharpFiles("src")
            .Select(path => (Name: Path.GetRelativePath(source, path), Quirks: Find(File.ReadAllLines(path))))
            .Where(file => file.Quirks.Count > 0)
            .OrderBy(file => file.Name, StringComparer.Ordinal)
            .GroupBy(file => Path.GetDirectoryName(file.Name));
        foreach (var folder in files)
        {
            text.Append('\n').Append("## ").Append(folder.Key).Append("\n\n");
            foreach ((string name, List<string> quirks) in folder)
            {
                foreach (string quirk in quirks)
                {
                    text.Append("* `").Append(Path.GetFileName(name)).Append("`: ").Append(quirk).Append('\n');
                }
            }
        }

        return text.ToString();
    }

    // A quirk ends where the comment does, or at the next tag (a word in capitals and a colon).
    private static List<string> Find(string[] lines)
    {
        List<string> quirks = [];
        bool inside = false;
        foreach (string line in lines.Select(line => line.Trim()))
        {
            if (line.StartsWith(Tag, StringComparison.Ordinal))
            {
                string first = line[Tag.Length..].Trim();
                quirks.Add(char.ToUpperInvariant(first[0]) + first[1..]);
                inside = true;
            }
            else if (inside && line.StartsWith("// ", StringComparison.Ordinal) && !IsTag(line))
            {
                quirks[^1] += " " + line[3..].Trim();
            }
            else
            {
                inside = false;
            }
        }

        return quirks;
    }

    private static bool IsTag(string line)
    {
        int colon = line.IndexOf(':', StringComparison.Ordinal);
        return colon > 3 && line[3..colon].All(char.IsAsciiLetterUpper);
    }
}
