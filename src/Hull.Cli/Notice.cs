using System;
using System.Text;
using Hull.Host;

namespace Hull.Cli;

/// <summary>What Hull itself has to say, on standard error; results go to standard output.</summary>
internal static class Notice
{
    /// <summary>Writes "hull: message" and a line end that is right in raw mode too.</summary>
    internal static void Write(string message)
    {
        string end = StandardStream.Error.IsTerminal ? "\r\n" : "\n";
        string text = message.ReplaceLineEndings(end);
        StandardStream.Error.TryWrite(Encoding.UTF8.GetBytes($"hull: {text}{end}"));
    }

    /// <summary>Writes a result to standard output.</summary>
    internal static void Result(string text) =>
        StandardStream.Output.TryWrite(Encoding.UTF8.GetBytes(text + Environment.NewLine));
}
