using System;
using System.Runtime.InteropServices;

namespace Hull.Host;

/// <summary>The host kernel's random bytes. The .NET library's would need OpenSSL, which a host may lack. getrandom(2).</summary>
internal static partial class HostRandom
{
    /// <summary>Fills a buffer.</summary>
    /// <exception cref="HullException">The kernel refused.</exception>
    internal static void Fill(Span<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            nint count = GetRandom(bytes, (nuint)bytes.Length, 0);
            if (count > 0)
            {
                bytes = bytes[(int)count..];
            }
            else if (Marshal.GetLastPInvokeError() != Errno.Interrupted)
            {
                throw new HullException($"getrandom failed: {Libc.LastErrorMessage()}");
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "getrandom", SetLastError = true)]
    private static partial nint GetRandom(Span<byte> bytes, nuint length, uint flags);
}
