using System;
using System.Collections.Generic;
using System.CommandLine;
using System.IO;
using System.Linq;
using Hull.Cli.Debian;
using Hull.Host;

namespace Hull.Cli.Commands;

/// <summary>`hull image debian`: arguments to a <see cref="DebianRequest"/>.</summary>
internal static class ImageDebianCommand
{
    internal static Command Create()
    {
        Argument<string> file = new("FILE")
        {
            Description = "The new image, raw or qcow2 by its ending; one that is there is replaced when the new one is ready.",
        };
        Option<string> size = new("--size")
        {
            Description = "The disk's size: 8G, 2048M. Without it: 8G.",
            HelpName = "SIZE",
            DefaultValueFactory = static _ => "8G",
        };
        Option<string> suite = new("--suite")
        {
            Description = "Debian's release. Without it: bookworm.",
            HelpName = "NAME",
            DefaultValueFactory = static _ => "bookworm",
        };
        Option<string[]> include = new("--include")
        {
            Description = "More packages, with commas between them. May be repeated.",
            HelpName = "PACKAGE,...",
            Arity = ArgumentArity.OneOrMore,
            AllowMultipleArgumentsPerToken = false,
        };
        Option<string> hostName = new("--hostname")
        {
            Description = "The system's name. Without it: debian.",
            HelpName = "NAME",
            DefaultValueFactory = static _ => "debian",
        };
        Option<string?> key = new("--ssh-key")
        {
            Description = "A file of public keys with which root may log in over the network, or 'none'. Without it: yours, ~/.ssh/*.pub.",
            HelpName = "FILE",
        };
        Command command = new("debian", "Builds a bootable Debian disk from Debian's packages. Root has no password, on the console.")
        {
            file, size, suite, include, hostName, key,
        };
        command.SetAction(result =>
        {
            DebianRequest request = new()
            {
                File = result.GetRequiredValue(file),
                Size = ImageCommand.ReadSize(result.GetRequiredValue(size)),
                Suite = result.GetRequiredValue(suite),
                Include = [.. (result.GetValue(include) ?? []).SelectMany(static text => text.Split(',', StringSplitOptions.RemoveEmptyEntries))],
                HostName = result.GetRequiredValue(hostName),
                Keys = ReadKeys(result.GetValue(key)),
            };
            request.Validate();
            using Interruption interruption = new();
            try
            {
                ImageReports.WithSteps(step => DebianImage.Build(request, step, interruption.Token));
            }
            catch (OperationCanceledException) when (interruption.Signal != 0)
            {
                Notice.Write($"stopped: {request.File} is as it was");
                return ExitStatus.Signal(interruption.Signal);
            }

            Notice.Write($"{request.File} is ready: hull run --disk {request.File} --publish 2222:22");
            return ExitStatus.Success;
        });
        return command;
    }

    private static string ReadKeys(string? wanted)
    {
        try
        {
            if (wanted is not null)
            {
                return wanted == "none" ? "" : File.ReadAllText(wanted);
            }

            string folder = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".ssh");
            IEnumerable<string> keys = Directory.Exists(folder) ? Directory.GetFiles(folder, "*.pub").Select(File.ReadAllText) : [];
            return string.Concat(keys.Select(static text => text.TrimEnd() + "\n"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new HullException($"cannot read the public keys: {e.Message} (--ssh-key none)", e);
        }
    }
}
