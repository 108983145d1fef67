namespace Hull.Xen;

/// <summary>The version that Hull is compatible with.</summary>
internal static class XenVersion
{
    internal const uint Major = 4;
    internal const uint Minor = 17;

    /// <summary>What follows "4.17" where Xen tells its whole version.</summary>
    internal const string Extra = ".7-hull";

    /// <summary>The guests that there can be.</summary>
    internal const string Capabilities = "hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64";
}
