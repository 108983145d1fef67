using System;

namespace Hull.Host;

/// <summary>
/// The host or the user erred: the message says what failed, on what, and what to try. One line, no stack trace,
/// is shown to the user. Never used for what a guest does.
/// </summary>
public sealed class HullException : Exception
{
    /// <summary>Makes the exception with the line that the user reads.</summary>
    public HullException(string message)
        : base(message)
    {
    }

    /// <summary>Makes the exception with the line that the user reads and the cause below it.</summary>
    public HullException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
