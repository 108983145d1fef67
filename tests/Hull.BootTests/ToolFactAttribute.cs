using System;
using System.IO;
using System.Linq;
using Xunit;

namespace Hull.BootTests;

/// <summary>A fact that others' programs tell; skipped, with what is missing, where they are not installed.</summary>
public sealed class ToolFactAttribute : FactAttribute
{
    public ToolFactAttribute(params string[] tools)
    {
        Tools = tools;
        Skip = Reason(tools);
    }

    public string[] Tools { get; }

    internal static string? Reason(string[] tools)
    {
        string[] missing = [.. tools.Where(static tool => !IsThere(tool))];
        return missing.Length == 0 ? null : $"not installed here: {string.Join(", ", missing)}";
    }

    private static bool IsThere(string tool) =>
        $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin".Split(':').Any(folder => File.Exists(Path.Combine(folder, tool)));
}

/// <summary>The same for a fact with several cases.</summary>
public sealed class ToolTheoryAttribute : TheoryAttribute
{
    public ToolTheoryAttribute(params string[] tools)
    {
        Tools = tools;
        Skip = ToolFactAttribute.Reason(tools);
    }

    public string[] Tools { get; }
}
