using System;

namespace Hull.Xen.Store;

/// <summary>Names of nodes. Xen, docs/misc/xenstore.txt, "Xenstore key namespace".</summary>
internal static class StorePath
{
    private const int MostAbsolute = 3072;
    private const int MostRelative = 2048;

    /// <summary>The whole path of a name, which may be relative to a domain's own node.</summary>
    /// <returns>Null when it is no name.</returns>
    internal static string? Resolve(int domain, string name)
    {
        bool isAbsolute = name.StartsWith('/');
        if (name.Length == 0 || name.Length > (isAbsolute ? MostAbsolute : MostRelative)
            || (name.Length > 1 && name.EndsWith('/')) || name.Contains("//", StringComparison.Ordinal))
        {
            return null;
        }

        foreach (char one in name)
        {
            if (!char.IsAsciiLetterOrDigit(one) && one is not ('-' or '/' or '_' or '@'))
            {
                return null;
            }
        }

        return isAbsolute ? name : $"{OfDomain(domain)}/{name}";
    }

    /// <summary>A domain's own node.</summary>
    internal static string OfDomain(int domain) =>
        string.Create(System.Globalization.CultureInfo.InvariantCulture, $"/local/domain/{domain}");

    /// <summary>The parts of a whole path.</summary>
    internal static string[] Split(string path) => path.Split('/', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>True when a path is another, or below it.</summary>
    internal static bool IsWithin(string path, string other) =>
        path == other || other == "/" || path.StartsWith(other + "/", StringComparison.Ordinal);
}
