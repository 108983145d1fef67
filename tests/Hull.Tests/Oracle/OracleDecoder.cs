using Hull.Cpu;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>Decodes as the host does: the vendors read some encodings differently in 64-bit mode.</summary>
internal static class OracleDecoder
{
    /// <summary>What the host's vendor changes.</summary>
    internal static DecoderOptions Options { get; } = HostCpu.IsIntel ? DecoderOptions.None : DecoderOptions.AMD;

    /// <summary>A decoder for a bitness.</summary>
    internal static Decoder Create(int bits, CodeReader reader) => Decoder.Create(bits, reader, Options);
}
