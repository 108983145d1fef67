using System.Globalization;
using System.Text;

namespace Hull.Cli.Guest;

/// <summary>How the guest's init uses the serial ports.</summary>
internal enum GuestMode
{
    /// <summary>A shell on the console, COM1.</summary>
    Console,

    /// <summary>A command with streams of its own.</summary>
    Command,

    /// <summary>A command on a terminal, COM2.</summary>
    Terminal,
}

/// <summary>What the guest's init needs to know: the file /hull/settings, in the shell's own language.</summary>
internal sealed record GuestSettings
{
    /// <summary>The use of the ports.</summary>
    internal GuestMode Mode { get; init; }

    /// <summary>True when the command reads the host's standard input.</summary>
    internal bool FeedInput { get; init; }

    /// <summary>Rows and columns of the terminal; 0 leaves them unknown.</summary>
    internal (int Rows, int Columns) Window { get; init; }

    /// <summary>The kind of terminal.</summary>
    internal string Term { get; init; } = "vt100";

    /// <summary>The guest's host name.</summary>
    internal string HostName { get; init; } = "hull";

    /// <summary>True when init sets up the network cards before anything else runs.</summary>
    internal bool HasNetwork { get; init; }

    /// <summary>The command's words.</summary>
    internal string[] Command { get; init; } = [];

    /// <summary>The text of the file.</summary>
    internal string ToShell()
    {
        StringBuilder text = new();
        text.Append(CultureInfo.InvariantCulture, $"mode={Mode.ToString().ToLowerInvariant()}\n");
        text.Append(CultureInfo.InvariantCulture, $"stdin={(FeedInput ? "feed" : "none")}\n");
        text.Append(CultureInfo.InvariantCulture, $"rows={Window.Rows}\ncolumns={Window.Columns}\n");
        text.Append(CultureInfo.InvariantCulture, $"hostname={Quote(HostName)}\nexport TERM={Quote(Term)}\n");
        text.Append(HasNetwork ? "network=dhcp\n" : "");
        text.Append("set --");
        foreach (string word in Command)
        {
            text.Append(' ').Append(Quote(word));
        }

        return text.Append('\n').ToString();
    }

    /// <summary>A word as the shell reads it back unchanged, whatever it holds.</summary>
    internal static string Quote(string word) => "'" + word.Replace("'", "'\\''", System.StringComparison.Ordinal) + "'";
}
