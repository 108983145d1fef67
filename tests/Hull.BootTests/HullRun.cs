using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Xunit;

namespace Hull.BootTests;

/// <summary>What a finished command left.</summary>
internal sealed record RunResult(int Status, byte[] Output, string Error)
{
    internal string Text => Encoding.UTF8.GetString(Output);

    /// <summary>Status and both streams, for a failed test.</summary>
    public override string ToString() => $"status {Status}\nstdout: {Text}\nstderr: {Error}";
}

/// <summary>A `hull` process. It is killed when it takes longer than any guest should.</summary>
internal sealed class HullRun : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(180);

    private readonly TimeSpan _limit;
    private readonly Process _process;
    private readonly MemoryStream _output = new();
    private readonly StringBuilder _error = new();
    private readonly Task _readers;

    private HullRun(
        string program,
        IEnumerable<string> arguments,
        IReadOnlyDictionary<string, string>? environment,
        TimeSpan? limit = null)
    {
        _limit = limit ?? Limit;
        ProcessStartInfo info = new(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach ((string name, string value) in environment ?? new Dictionary<string, string>())
        {
            info.Environment[name] = value;
        }

        _process = Process.Start(info)!; // a new process: never null
        _readers = Task.WhenAll(ReadOutput(), ReadError());
    }

    internal int Id => _process.Id;

    /// <summary>What the process has used of the host's processors so far.</summary>
    internal TimeSpan ProcessorTime
    {
        get
        {
            _process.Refresh();
            return _process.TotalProcessorTime;
        }
    }

    /// <summary>Runs `hull` with these arguments and no input.</summary>
    internal static RunResult Hull(params string[] arguments) => Start(arguments).Finish();

    /// <summary>Runs `hull` with bytes on standard input.</summary>
    internal static RunResult HullReading(byte[] input, params string[] arguments) => Start(arguments).Finish(input);

    /// <summary>Starts `hull`.</summary>
    internal static HullRun Start(params string[] arguments) => new(Checkout.Hull, arguments, null);

    /// <summary>Starts a program that starts `hull` in its turn.</summary>
    internal static HullRun StartProgram(string program, params string[] arguments) => new(program, arguments, null);

    /// <summary>Starts `hull` in another environment.</summary>
    internal static HullRun StartIn(IReadOnlyDictionary<string, string> environment, params string[] arguments) =>
        new(Checkout.Hull, arguments, environment);

    /// <summary>Starts `hull` on a pseudo-terminal; what is typed goes in through <see cref="Type"/>.</summary>
    internal static HullRun StartOnTerminal(string arguments) => StartScript($"exec {Checkout.Hull} {arguments}");

    /// <summary>Starts a shell command on a pseudo-terminal of 40 rows and 120 columns.</summary>
    /// <param name="command">The command.</param>
    /// <param name="limit">It is killed after this; null: after the time of any guest.</param>
    internal static HullRun StartScript(string command, TimeSpan? limit = null) =>
        new("script", ["-qfec", $"stty rows 40 cols 120; {command}", "/dev/null"], null, limit);

    /// <summary>Types on the terminal.</summary>
    internal void Type(string text)
    {
        _process.StandardInput.Write(text);
        _process.StandardInput.Flush();
    }

    /// <summary>Waits until a text has come out, and forgets everything up to its end.</summary>
    internal void WaitFor(string text)
    {
        DateTime end = DateTime.UtcNow + _limit;
        while (!TryTake(text))
        {
            // What a process says last may be read after its end.
            bool ended = _process.HasExited && _readers.Wait(TimeSpan.FromSeconds(10));
            if (ended && TryTake(text))
            {
                return;
            }

            Assert.True(DateTime.UtcNow < end && !ended, $"'{text}' did not come; there was: {Snapshot()}\nstderr: {_error}");
            Thread.Sleep(20);
        }
    }

    /// <summary>Sends a signal to the process.</summary>
    internal void Signal(string name)
    {
        using Process kill = Process.Start("kill", ["-s", name, Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
    }

    /// <summary>Closes standard output at our end, as `| head` does.</summary>
    internal void CloseOutput() => _process.StandardOutput.Close();

    /// <summary>Gives the rest of the input and waits for the end.</summary>
    internal RunResult Finish(byte[]? input = null)
    {
        try
        {
            _process.StandardInput.BaseStream.Write(input ?? []);
            _process.StandardInput.Close();
        }
        catch (IOException)
        {
            // The command ended without reading; its status tells the test.
        }

        return WaitForEnd();
    }

    /// <summary>Waits for the end with standard input left open.</summary>
    internal RunResult WaitForEnd()
    {
        if (!_process.WaitForExit(_limit))
        {
            _process.Kill(entireProcessTree: true);
            Assert.Fail($"hull did not end in {_limit.TotalSeconds} s; stdout: {Snapshot()}\nstderr: {_error}");
        }

        _readers.Wait(TimeSpan.FromSeconds(10));
        return new RunResult(_process.ExitCode, _output.ToArray(), _error.ToString());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
            _process.WaitForExit(); // its files and ports are free then
        }

        _process.Dispose();
    }

    private string Snapshot()
    {
        lock (_output)
        {
            return Encoding.UTF8.GetString(_output.ToArray());
        }
    }

    private bool TryTake(string text)
    {
        lock (_output)
        {
            byte[] all = _output.ToArray();
            byte[] wanted = Encoding.UTF8.GetBytes(text);
            int at = all.AsSpan().IndexOf(wanted);
            if (at < 0)
            {
                return false;
            }

            _output.SetLength(0);
            _output.Write(all.AsSpan(at + wanted.Length));
            return true;
        }
    }

    private async Task ReadOutput()
    {
        byte[] buffer = new byte[65536];
        try
        {
            int length;
            while ((length = await _process.StandardOutput.BaseStream.ReadAsync(buffer)) > 0)
            {
                lock (_output)
                {
                    _output.Write(buffer.AsSpan(0, length));
                }
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // The test closed our end.
        }
    }

    private async Task ReadError() => _error.Append(await _process.StandardError.ReadToEndAsync());
}
