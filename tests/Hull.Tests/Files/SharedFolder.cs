using System;
using System.Diagnostics;
using System.IO;
using Hull.Files;

namespace Hull.Tests.Files;

/// <summary>A folder to share, with a secret beside it that nothing may lead to.</summary>
internal sealed class SharedFolder : IDisposable
{
    internal const string Secret = "not for the guest";
    private readonly string _top = Directory.CreateTempSubdirectory("hull-files-").FullName;

    internal SharedFolder()
    {
        Directory.CreateDirectory(Path);
        File.WriteAllText(System.IO.Path.Combine(_top, "secret"), Secret);
        Directory.CreateDirectory(Of("folder"));
        File.WriteAllText(Of("file"), "content\n");
        File.WriteAllText(Of("folder/inner"), "inner\n");
        File.CreateSymbolicLink(Of("up"), "../secret");
        Directory.CreateSymbolicLink(Of("root"), "/");
        Run("mkfifo", Of("fifo"));
    }

    internal string Path => System.IO.Path.Combine(_top, "share");

    /// <summary>The secret's path.</summary>
    internal string SecretPath => System.IO.Path.Combine(_top, "secret");

    internal string Of(string name) => System.IO.Path.Combine(Path, name);

    internal FileTree Open(bool readOnly = false) => FileTree.Open(new FileTreeOptions { Path = Path, ReadOnly = readOnly });

    internal static void Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(program, arguments);
        process.WaitForExit();
    }

    // Not .NET's, which cannot name what is no UTF-8.
    public void Dispose() => Run("rm", "-rf", _top);
}
