using System;
using System.Collections.Generic;
using System.IO;

namespace Hull.Tests.Layers;

/// <summary>The checkout that the tests were built from.</summary>
internal static class SourceTree
{
    /// <summary>The repository's root: the folder above the test binary that holds Hull.slnx.</summary>
    internal static string Root { get; } = FindRoot();

    /// <summary>Every C# file below a folder of the repository.</summary>
    internal static IEnumerable<string> CSharpFiles(string folder) =>
        Directory.EnumerateFiles(Path.Combine(Root, folder), "*.cs", SearchOption.AllDirectories);

    private static string FindRoot()
    {
        for (DirectoryInfo? at = new(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            if (File.Exists(Path.Combine(at.FullName, "Hull.slnx")))
            {
                return at.FullName;
            }
        }

        throw new InvalidOperationException("no Hull.slnx above the test binary");
    }
}
