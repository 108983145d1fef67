using System;
using Hull.Host;

namespace Hull.Files;

/// <summary>
/// One component of a path, checked: it names something in its folder and nowhere else. Bytes, as Linux has it, with a zero
/// behind them.
/// </summary>
internal readonly ref struct FileName
{
    /// <summary>Bytes of a name at the most, the zero included: the size of the buffer for <see cref="TryMake"/>.</summary>
    internal const int MostBytes = 256;

    private FileName(ReadOnlySpan<byte> withZero) => WithZero = withZero;

    /// <summary>The name and the zero.</summary>
    internal ReadOnlySpan<byte> WithZero { get; }

    /// <summary>Checks a name.</summary>
    /// <param name="text">What the guest sent, without a zero.</param>
    /// <param name="buffer">Gets the copy; <see cref="MostBytes"/>.</param>
    /// <param name="name">The name.</param>
    /// <returns>0, or the error that the guest gets.</returns>
    internal static int TryMake(scoped ReadOnlySpan<byte> text, Span<byte> buffer, out FileName name)
    {
        name = default;
        if (text.Length >= MostBytes)
        {
            return Errno.NameTooLong;
        }

        if (text.IsEmpty || text.IndexOfAny((byte)'/', (byte)0) >= 0 || text.SequenceEqual("."u8) || text.SequenceEqual(".."u8))
        {
            return Errno.Invalid;
        }

        text.CopyTo(buffer);
        buffer[text.Length] = 0;
        name = new FileName(buffer[..(text.Length + 1)]);
        return 0;
    }

    /// <summary>Takes a string with a zero behind it off the front of what the guest sent.</summary>
    internal static bool TrySplit(ref ReadOnlySpan<byte> body, out ReadOnlySpan<byte> text)
    {
        int end = body.IndexOf((byte)0);
        text = end < 0 ? default : body[..end];
        body = end < 0 ? body : body[(end + 1)..];
        return end >= 0;
    }
}
