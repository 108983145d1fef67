using System;
using System.Collections.Generic;
using System.ComponentModel;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Hull.Host;

namespace Hull.Cli.Store;

/// <summary>What a finished command left.</summary>
internal sealed record CommandResult(int ExitCode, string Output, string Error)
{
    /// <summary>The last line that says something, for a message.</summary>
    internal string Reason
    {
        get
        {
            string text = Error.Length > 0 ? Error : Output;
            string[] lines = text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
            return lines.Length == 0 ? $"exit code {ExitCode}" : lines[^1].Trim();
        }
    }
}

/// <summary>Runs programs of the host, in the C locale, and ends them when the caller gives up.</summary>
internal static class HostCommand
{
    // Not in the path of a user who is not root; the tools for disks are there.
    private static readonly string[] SystemFolders = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <summary>True when the program is in the search path or with the system's tools.</summary>
    internal static bool Exists(string program) => Find(program) is not null;

    /// <summary>Runs a program to its end and collects what it writes.</summary>
    /// <exception cref="HullException">It cannot be started.</exception>
    internal static async Task<CommandResult> RunAsync(
        string program,
        IReadOnlyList<string> arguments,
        string? directory,
        CancellationToken cancellation)
    {
        using Process process = Start(program, arguments, directory);
        try
        {
            Task<string> output = process.StandardOutput.ReadToEndAsync(cancellation);
            Task<string> error = process.StandardError.ReadToEndAsync(cancellation);
            await process.WaitForExitAsync(cancellation).ConfigureAwait(false);
            return new CommandResult(
                process.ExitCode,
                await output.ConfigureAwait(false),
                await error.ConfigureAwait(false));
        }
        finally
        {
            End(process);
        }
    }

    /// <summary>Runs a program to its end and gives each line that it writes, on either stream, to a listener.</summary>
    /// <param name="program">Its name, or path.</param>
    /// <param name="arguments">Other users of the host can read them.</param>
    /// <param name="environment">Variables beyond Hull's own; nobody else's to read.</param>
    /// <param name="listener">Gets the lines, one at a time.</param>
    /// <param name="cancellation">Ends the program.</param>
    /// <returns>With the last lines only, as its errors.</returns>
    /// <exception cref="HullException">It cannot be started.</exception>
    internal static async Task<CommandResult> FollowAsync(
        string program,
        IReadOnlyList<string> arguments,
        IReadOnlyDictionary<string, string> environment,
        Action<string> listener,
        CancellationToken cancellation)
    {
        const int kept = 20;
        Queue<string> last = new();
        Lock gate = new();
        async Task Follow(StreamReader reader)
        {
            while (await reader.ReadLineAsync(cancellation).ConfigureAwait(false) is { } line)
            {
                lock (gate)
                {
                    last.Enqueue(line);
                    if (last.Count > kept)
                    {
                        last.Dequeue();
                    }

                    listener(line);
                }
            }
        }

        using Process process = Start(program, arguments, null, environment);
        try
        {
            await Task.WhenAll(Follow(process.StandardOutput), Follow(process.StandardError)).ConfigureAwait(false);
            await process.WaitForExitAsync(cancellation).ConfigureAwait(false);
            return new CommandResult(process.ExitCode, "", string.Join('\n', last));
        }
        finally
        {
            End(process);
        }
    }

    /// <summary>Runs a program and gives its standard output to a reader while it runs.</summary>
    /// <exception cref="HullException">It cannot be started, or it fails.</exception>
    internal static async Task ReadAsync(
        string program,
        IReadOnlyList<string> arguments,
        Func<Stream, CancellationToken, Task> read,
        CancellationToken cancellation)
    {
        using Process process = Start(program, arguments, null);
        try
        {
            Task<string> error = process.StandardError.ReadToEndAsync(cancellation);
            await read(process.StandardOutput.BaseStream, cancellation).ConfigureAwait(false);
            await process.StandardOutput.BaseStream.CopyToAsync(Stream.Null, cancellation).ConfigureAwait(false);
            await process.WaitForExitAsync(cancellation).ConfigureAwait(false);
            CommandResult result = new(process.ExitCode, "", await error.ConfigureAwait(false));
            if (result.ExitCode != 0)
            {
                throw new HullException($"{program} failed on {arguments[^1]}: {result.Reason}");
            }
        }
        finally
        {
            End(process);
        }
    }

    private static IEnumerable<string> SearchPath() =>
        (Environment.GetEnvironmentVariable("PATH") ?? "/usr/bin:/bin").Split(':', StringSplitOptions.RemoveEmptyEntries).Union(SystemFolders);

    private static string? Find(string program) =>
        SearchPath().Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);

    private static Process Start(
        string program,
        IReadOnlyList<string> arguments,
        string? directory,
        IReadOnlyDictionary<string, string>? environment = null)
    {
        ProcessStartInfo info = new(Find(program) ?? program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = directory ?? "",
        };
        info.Environment["LC_ALL"] = "C";
        foreach ((string name, string value) in environment ?? new Dictionary<string, string>())
        {
            info.Environment[name] = value;
        }

        info.Environment["PATH"] = string.Join(':', SearchPath());
        info.Environment["DEBIAN_FRONTEND"] = "noninteractive";
        try
        {
            Process process = Process.Start(info) ?? throw new HullException($"cannot start {program}");
            process.StandardInput.Close();
            return process;
        }
        catch (Win32Exception e)
        {
            throw new HullException($"cannot start {program}: {e.Message}", e);
        }
    }

    // First in a way that lets it remove what it has made, mounts and temporary folders among that.
    private static void End(Process process)
    {
        if (!process.HasExited)
        {
            HostProcess.Terminate(process.Id);
            if (!process.WaitForExit(Patience))
            {
                process.Kill(entireProcessTree: true);
            }
        }
    }
}
