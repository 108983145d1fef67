using System.CommandLine;

namespace Hull.Cli;

/// <summary>How a verb shows its result.</summary>
internal enum OutputForm
{
    /// <summary>For people.</summary>
    Text,

    /// <summary>For programs.</summary>
    Json,
}

/// <summary>The option -o, the same on every verb that has a result.</summary>
internal static class OutputForms
{
    internal static Option<OutputForm> CreateOption()
    {
        Option<OutputForm> option = new("--output", "-o")
        {
            Description = "The form of the result: text or json.",
            HelpName = "text|json",
            DefaultValueFactory = _ => OutputForm.Text,
        };
        return option;
    }
}
