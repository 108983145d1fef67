using System.Collections.Generic;
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

    /// <summary>True when init may ask for console ports for the command's streams.</summary>
    internal bool HasStreamPorts { get; init; }

    /// <summary>Rows and columns of the terminal; 0 leaves them unknown.</summary>
    internal (int Rows, int Columns) Window { get; init; }

    /// <summary>The kind of terminal.</summary>
    internal string Term { get; init; } = "vt100";

    /// <summary>The guest's host name.</summary>
    internal string HostName { get; init; } = "hull";

    /// <summary>True when init sets up the network cards before anything else runs.</summary>
    internal bool HasNetwork { get; init; }

    /// <summary>The terminal of <see cref="GuestMode.Console"/>.</summary>
    internal string Console { get; init; } = "/dev/ttyS0";

    /// <summary>Console ports with a name.</summary>
    internal int NamedPorts { get; init; }

    /// <summary>The command's words.</summary>
    internal string[] Command { get; init; } = [];

    /// <summary>Folders that init mounts.</summary>
    internal IReadOnlyList<GuestMount> Mounts { get; init; } = [];

    /// <summary>The guest's root; null: the initramfs.</summary>
    internal GuestRoot? Root { get; init; }

    /// <summary>The text of the file.</summary>
    internal string ToShell()
    {
        StringBuilder text = new();
        text.Append(CultureInfo.InvariantCulture, $"mode={Mode.ToString().ToLowerInvariant()}\n");
        text.Append(CultureInfo.InvariantCulture, $"stdin={(FeedInput ? "feed" : "none")}\n");
        text.Append(CultureInfo.InvariantCulture, $"rows={Window.Rows}\ncolumns={Window.Columns}\n");
        text.Append(CultureInfo.InvariantCulture, $"hostname={Quote(HostName)}\nexport TERM={Quote(Term)}\n");
        text.Append(CultureInfo.InvariantCulture, $"console={Console}\nports={NamedPorts}\n");
        text.Append(HasStreamPorts ? "streams=ports\n" : "");
        text.Append(HasNetwork ? "network=dhcp\n" : "");
        AppendShares(text);
        text.Append("set --");
        foreach (string word in Command)
        {
            text.Append(' ').Append(Quote(word));
        }

        return text.Append('\n').ToString();
    }

    private void AppendShares(StringBuilder text)
    {
        if (Root is not null)
        {
            text.Append(CultureInfo.InvariantCulture, $"root={Root.Type}\nroot_tag={Root.Tag}\n");
            text.Append(CultureInfo.InvariantCulture, $"directory={Quote(Root.Directory)}\nshell={Quote(Root.Shell)}\n");
            text.Append(CultureInfo.InvariantCulture, $"own_tmp={(Root.HasOwnTmp ? "yes" : "")}\n");
            foreach ((string name, string value) in Root.Environment)
            {
                text.Append(CultureInfo.InvariantCulture, $"export {name}={Quote(value)}\n");
            }
        }

        if (Mounts.Count > 0)
        {
            text.Append("mount_shares() {\n");
            foreach (GuestMount mount in Mounts)
            {
                string mode = mount.ReadOnly ? "ro" : "rw";
                text.Append(CultureInfo.InvariantCulture, $"    mount_share {mount.Type} {mount.Tag} {mode} \"$top\"{Quote(mount.Place)}\n");
            }

            text.Append("}\n");
        }
    }

    /// <summary>A word as the shell reads it back unchanged, whatever it holds.</summary>
    internal static string Quote(string word) => "'" + word.Replace("'", "'\\''", System.StringComparison.Ordinal) + "'";
}
