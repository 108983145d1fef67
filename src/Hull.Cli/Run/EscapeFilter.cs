using System;

namespace Hull.Cli.Run;

/// <summary>What the user asked of Hull with the escape key.</summary>
internal enum EscapeAction
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Ctrl-A x: leave.</summary>
    Quit,

    /// <summary>Ctrl-A h: show the keys.</summary>
    Help,
}

/// <summary>Takes the escape key, Ctrl-A, out of what is typed; everything else goes to the guest.</summary>
internal sealed class EscapeFilter
{
    private const byte EscapeKey = 1;

    private bool _escaped;

    /// <summary>The keys, for the user.</summary>
    internal const string Help = """
        Ctrl-A x  leave: the guest stops at once
        Ctrl-A h  this help
        Ctrl-A a  send Ctrl-A to the guest (or Ctrl-A twice)
        """;

    /// <summary>Filters typed bytes up to the first action.</summary>
    /// <param name="typed">What was typed.</param>
    /// <param name="forGuest">Room of at least two bytes more than typed.</param>
    /// <param name="length">Bytes for the guest.</param>
    /// <param name="used">Bytes of <paramref name="typed"/> that are dealt with.</param>
    internal EscapeAction Filter(ReadOnlySpan<byte> typed, Span<byte> forGuest, out int length, out int used)
    {
        length = 0;
        for (used = 0; used < typed.Length; used++)
        {
            byte key = typed[used];
            if (!_escaped)
            {
                _escaped = key == EscapeKey;
                if (!_escaped)
                {
                    forGuest[length++] = key;
                }

                continue;
            }

            _escaped = false;
            switch (key)
            {
                case (byte)'x' or (byte)'X':
                    used++;
                    return EscapeAction.Quit;
                case (byte)'h' or (byte)'H' or (byte)'?':
                    used++;
                    return EscapeAction.Help;
                case (byte)'a' or EscapeKey:
                    forGuest[length++] = EscapeKey;
                    break;
                default:
                    // Not an escape: both keys are the guest's, as if Hull were not there.
                    forGuest[length++] = EscapeKey;
                    forGuest[length++] = key;
                    break;
            }
        }

        return EscapeAction.None;
    }
}
