using System;
using System.Collections.Generic;
using System.Globalization;
using System.Net;
using System.Text.RegularExpressions;
using Hull.Host;

namespace Hull.Net;

/// <summary>A port of the host that leads to one of the guest's.</summary>
/// <param name="Address">The host's address; null: all.</param>
/// <param name="Host">The host's port.</param>
/// <param name="Guest">The guest's port.</param>
/// <param name="IsUdp">UDP, not TCP.</param>
internal sealed partial record PublishedPort(string? Address, ushort Host, ushort Guest, bool IsUdp)
{
    /// <summary>Reads several, with blanks between them.</summary>
    /// <exception cref="HullException">One is none.</exception>
    internal static IReadOnlyList<PublishedPort> ParseAll(string? text) => Array.ConvertAll(
        (text ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries), Parse);

    /// <summary>Reads "[ADDRESS:]HOST:GUEST[/tcp|/udp]"; an IPv6 address stands in brackets.</summary>
    /// <exception cref="HullException">It is no such text.</exception>
    internal static PublishedPort Parse(string text)
    {
        Match match = Form().Match(text);
        if (match.Success && TryPort(match.Groups["host"], out ushort host) && TryPort(match.Groups["guest"], out ushort guest))
        {
            string? address = match.Groups["four"].Success ? match.Groups["four"].Value
                : match.Groups["six"].Success ? match.Groups["six"].Value : null;
            if (address is null || IPAddress.TryParse(address, out _))
            {
                return new PublishedPort(address, host, guest, match.Groups["kind"].Value == "udp");
            }
        }

        throw new HullException($"--publish '{text}': give [ADDRESS:]HOST:GUEST[/udp], as in 8080:80 or 127.0.0.1:5353:53/udp");
    }

    /// <summary>The value of passt's -t or -u.</summary>
    internal string ToPasst() =>
        string.Create(CultureInfo.InvariantCulture, $"{(Address is null ? "" : Address + "/")}{Host}:{Guest}");

    private static bool TryPort(Group group, out ushort port) =>
        ushort.TryParse(group.Value, NumberStyles.None, CultureInfo.InvariantCulture, out port) && port != 0;

    [GeneratedRegex(@"^(?:(?<four>(?:[0-9]+\.){3}[0-9]+):|\[(?<six>[0-9a-fA-F:.]+)\]:)?(?<host>[0-9]+):(?<guest>[0-9]+)(?:/(?<kind>tcp|udp))?$")]
    private static partial Regex Form();
}
