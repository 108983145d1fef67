using System;
using System.Collections.Generic;

namespace Hull.Cli.Store;

/// <summary>Orders version strings as dpkg does. Debian Policy, "Version".</summary>
internal sealed class DebianVersion : IComparer<string>
{
    /// <inheritdoc/>
    public int Compare(string? x, string? y)
    {
        (int epochX, string restX) = SplitEpoch(x ?? "");
        (int epochY, string restY) = SplitEpoch(y ?? "");
        return epochX != epochY ? epochX.CompareTo(epochY) : CompareParts(restX, restY);
    }

    private static (int Epoch, string Upstream) SplitEpoch(string version)
    {
        int colon = version.IndexOf(':', StringComparison.Ordinal);
        return colon > 0 && int.TryParse(version[..colon], out int epoch)
            ? (epoch, version[(colon + 1)..])
            : (0, version);
    }

    /// <summary>Text and numbers take turns; '~' sorts before the end, letters before other signs.</summary>
    private static int CompareParts(ReadOnlySpan<char> x, ReadOnlySpan<char> y)
    {
        while (!x.IsEmpty || !y.IsEmpty)
        {
            while (Weight(x) != 0 || Weight(y) != 0)
            {
                int text = Weight(x).CompareTo(Weight(y));
                if (text != 0)
                {
                    return text;
                }

                x = x[1..];
                y = y[1..];
            }

            ReadOnlySpan<char> numberX = TakeNumber(ref x);
            ReadOnlySpan<char> numberY = TakeNumber(ref y);
            int number = numberX.Length != numberY.Length
                ? numberX.Length.CompareTo(numberY.Length)
                : numberX.SequenceCompareTo(numberY);
            if (number != 0)
            {
                return number;
            }
        }

        return 0;
    }

    private static int Weight(ReadOnlySpan<char> text) => text.IsEmpty || char.IsAsciiDigit(text[0])
        ? 0
        : text[0] == '~' ? -1 : char.IsAsciiLetter(text[0]) ? text[0] : text[0] + 256;

    private static ReadOnlySpan<char> TakeNumber(ref ReadOnlySpan<char> text)
    {
        int length = 0;
        while (length < text.Length && char.IsAsciiDigit(text[length]))
        {
            length++;
        }

        ReadOnlySpan<char> number = text[..length].TrimStart('0');
        text = text[length..];
        return number;
    }
}
