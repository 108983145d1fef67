using System;
using System.Globalization;

namespace Hull.Cli.Debian;

/// <summary>Reads from mmdebstrap's words how far it is.</summary>
internal sealed class BootstrapProgress(Action<string, double> step)
{
    private const double InstallFrom = 0.3;
    private const double InstallTo = 0.8;
    private int _packages = 300;
    private int _done;

    /// <summary>The first thing that failed, in the words of the program; null: nothing.</summary>
    internal string? Error { get; private set; }

    /// <summary>Takes a line.</summary>
    internal void Follow(string line)
    {
        if (line.StartsWith("E: ", StringComparison.Ordinal))
        {
            Error ??= line[3..];
        }
        else if (line.StartsWith("I: running apt-get update", StringComparison.Ordinal))
        {
            step("fetching Debian's package lists", 0.02);
        }
        else if (line.StartsWith("I: downloading packages", StringComparison.Ordinal))
        {
            step("fetching packages", 0.05);
        }
        else if (line.StartsWith("I: extracting archives", StringComparison.Ordinal))
        {
            step("unpacking the base system", 0.2);
        }
        else if (line.StartsWith("I: running --customize-hook", StringComparison.Ordinal))
        {
            step("copying the system into the image", InstallTo);
        }
        else if (line.Contains(" newly installed", StringComparison.Ordinal))
        {
            CountPackages(line);
        }
        else if (line.StartsWith("Unpacking ", StringComparison.Ordinal) || line.StartsWith("Setting up ", StringComparison.Ordinal))
        {
            _done++;
            double share = Math.Min(1, _done / (2.0 * _packages));
            step("installing packages", InstallFrom + ((InstallTo - InstallFrom) * share));
        }
    }

    // "0 upgraded, 184 newly installed, 0 to remove and 0 not upgraded."
    private void CountPackages(string line)
    {
        string[] words = line.Split(' ');
        int at = Array.IndexOf(words, "newly");
        if (at > 0 && int.TryParse(words[at - 1], NumberStyles.None, CultureInfo.InvariantCulture, out int count))
        {
            _packages = Math.Max(count, 1);
        }
    }
}
