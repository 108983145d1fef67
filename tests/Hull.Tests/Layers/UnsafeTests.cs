using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.RegularExpressions;
using Xunit;

namespace Hull.Tests.Layers;

public sealed partial class UnsafeTests
{
    private static readonly string[] Allowed = ["Host", "Memory", "Cpu", "Kvm"];

    [Fact]
    public void Unsafe_IsOnlyInHostMemoryCpuAndKvm()
    {
        List<string> wrong = [];
        foreach (string path in SourceTree.CSharpFiles("src"))
        {
            string relative = Path.GetRelativePath(Path.Combine(SourceTree.Root, "src"), path);
            if (Allowed.Any(module => relative.StartsWith($"Hull/{module}/", StringComparison.Ordinal)))
            {
                continue;
            }

            string[] lines = File.ReadAllLines(path);
            wrong.AddRange(lines.Select((line, index) => (line, index))
                .Where(item => UnsafeWord().IsMatch(CommentOrString().Replace(item.line, "")))
                .Select(item => $"{relative}:{item.index + 1}"));
        }

        Assert.True(wrong.Count == 0, "unsafe outside Host, Memory, Cpu and Kvm: " + string.Join(", ", wrong));
    }

    [GeneratedRegex(@"\bunsafe\b")]
    private static partial Regex UnsafeWord();

    [GeneratedRegex("//.*|\"[^\"]*\"")]
    private static partial Regex CommentOrString();
}
