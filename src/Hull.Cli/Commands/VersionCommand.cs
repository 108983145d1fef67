using System.CommandLine;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace Hull.Cli.Commands;

/// <summary>`hull version`: what is installed.</summary>
internal static class VersionCommand
{
    internal static Command Create(string[] guestCommand)
    {
        _ = guestCommand;
        Option<OutputForm> form = OutputForms.CreateOption();
        Command command = new("version", "Shows Hull's version and what it runs on.") { form };
        command.SetAction(result => Show(result.GetValue(form)));
        return command;
    }

    private static int Show(OutputForm form)
    {
        Assembly assembly = typeof(Machine).Assembly;
        string version = assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion
            ?? "unknown";
        string code = RuntimeFeature.IsDynamicCodeCompiled ? "" : ", native code";
        VersionReport report = new(
            version, RuntimeInformation.FrameworkDescription + code, RuntimeInformation.OSDescription, ["soft", "kvm"]);
        Notice.Result(form == OutputForm.Json
            ? JsonSerializer.Serialize(report, CliJson.Default.VersionReport)
            : $"hull {report.Version}\nruntime {report.Runtime}\nhost {report.Host}\nengines {string.Join(' ', report.Engines)}");
        return ExitStatus.Success;
    }
}

/// <summary>What `hull version -o json` prints.</summary>
internal sealed record VersionReport(string Version, string Runtime, string Host, string[] Engines);
