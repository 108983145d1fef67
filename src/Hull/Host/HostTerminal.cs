using System;
using System.Runtime.InteropServices;
using System.Threading;

namespace Hull.Host;

/// <summary>
/// The terminal on standard input, in raw mode while this object lives: every key goes to the guest. Its settings come
/// back on disposal, when the process exits and when an exception ends it, whichever is first.
/// </summary>
public sealed class HostTerminal : IDisposable
{
    private readonly byte[] _saved = new byte[LibcStreams.TermiosSize];
    private int _restored;

    private HostTerminal()
    {
    }

    /// <summary>Puts the terminal on standard input into raw mode.</summary>
    /// <returns>Null when standard input is no terminal.</returns>
    /// <exception cref="HullException">The terminal refuses.</exception>
    public static HostTerminal? TryEnterRawMode()
    {
        HostTerminal terminal = new();
        if (LibcStreams.IsATty(0) != 1 || LibcStreams.TcGetAttr(0, terminal._saved) != 0)
        {
            return null;
        }

        AppDomain.CurrentDomain.ProcessExit += terminal.OnEnd;
        AppDomain.CurrentDomain.UnhandledException += terminal.OnEnd;

        Span<byte> raw = stackalloc byte[LibcStreams.TermiosSize];
        terminal._saved.CopyTo(raw);
        LibcStreams.MakeRaw(raw);
        if (LibcStreams.TcSetAttr(0, LibcStreams.Now, raw) != 0)
        {
            string reason = Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError());
            throw new HullException($"cannot put the terminal into raw mode: {reason}");
        }

        return terminal;
    }

    /// <summary>Rows and columns of the terminal on standard input or output.</summary>
    /// <returns>False when there is none, or it does not know.</returns>
    public static bool TryGetSize(out int rows, out int columns)
    {
        // struct winsize: rows, columns, and the same in pixels.
        Span<ushort> size = stackalloc ushort[4];
        bool known = LibcStreams.Ioctl(0, LibcStreams.GetWindowSize, size) == 0
            || LibcStreams.Ioctl(1, LibcStreams.GetWindowSize, size) == 0;
        (rows, columns) = (size[0], size[1]);
        return known && rows > 0 && columns > 0;
    }

    /// <summary>Gives the terminal back as it was. Any thread; only the first call counts.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _restored, 1) == 0)
        {
            _ = LibcStreams.TcSetAttr(0, LibcStreams.Flush, _saved);
            AppDomain.CurrentDomain.ProcessExit -= OnEnd;
            AppDomain.CurrentDomain.UnhandledException -= OnEnd;
        }
    }

    private void OnEnd(object? sender, EventArgs arguments) => Dispose();
}
