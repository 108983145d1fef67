using System.IO;

namespace Hull.Host;

/// <summary>
/// A stream that unpacks another one through a library of the host. Damaged input gives <see
/// cref="InvalidDataException"/>.
/// </summary>
internal abstract class NativeUnpacker : ForwardStream
{
    /// <summary>Bytes read from the packed input at once.</summary>
    protected const int InputChunk = 256 << 10;

    /// <summary>Makes the stream; the input is disposed with it.</summary>
    protected NativeUnpacker(Stream input) => Input = input;

    /// <summary>The packed bytes.</summary>
    protected Stream Input { get; }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            Input.Dispose();
        }

        base.Dispose(disposing);
    }
}
