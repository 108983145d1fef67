using System.Globalization;

namespace Hull.Host;

/// <summary>Sizes as people write them.</summary>
public static class ByteSize
{
    /// <summary>Reads "512M", "1G", "65536K" or "512" (MiB).</summary>
    /// <returns>False when it is no size, or does not fit.</returns>
    public static bool TryParse(string text, out ulong bytes)
    {
        int shift = text.Length == 0 ? 0 : char.ToUpperInvariant(text[^1]) switch
        {
            'K' => 10,
            'M' => 20,
            'G' => 30,
            'T' => 40,
            _ => 0,
        };
        string digits = shift == 0 ? text : text[..^1];
        shift = shift == 0 ? 20 : shift;
        bool parsed = ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out ulong count);
        bytes = parsed && count <= ulong.MaxValue >> shift ? count << shift : 0;
        return bytes > 0;
    }
}
