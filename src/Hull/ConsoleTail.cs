using System;
using System.Collections.Generic;
using System.Text;
using System.Threading;

namespace Hull;

/// <summary>
/// The last lines of a serial console, and what they say of the kernel's end: a panic and a reboot both look like a
/// reset to the hardware.
/// </summary>
internal sealed class ConsoleTail
{
    private const int LineLimit = 400;

    private static readonly byte[] PanicMark = "Kernel panic - not syncing"u8.ToArray();
    private static readonly byte[] PanicEndMark = "---[ end Kernel panic"u8.ToArray();
    private static readonly byte[] PanicWaitMark = "Rebooting in "u8.ToArray();
    private static readonly byte[] RestartMark = "reboot: Restarting system"u8.ToArray();

    private readonly Lock _lock = new();
    private readonly Queue<string> _lines = new();
    private readonly int _keep;
    private readonly byte[] _line = new byte[LineLimit];
    private int _length;

    internal ConsoleTail(int keep) => _keep = keep;

    /// <summary>What the kernel says it panicked of since the last <see cref="Clear"/>; null: it did not.</summary>
    internal string? Panic { get; private set; }

    /// <summary>
    /// The kernel that panicked has said that it stays as it is, or waits before it restarts. It comes to that only where no
    /// crash kernel takes over: one that does is a system that lives.
    /// </summary>
    internal bool PanicIsOver { get; private set; }

    /// <summary>The kernel has printed that it restarts since the last <see cref="Clear"/>.</summary>
    internal bool SawRestart { get; private set; }

    /// <summary>Takes output of the guest. Any thread.</summary>
    internal void Write(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            foreach (byte value in bytes)
            {
                if (value == '\n')
                {
                    EndLine();
                }
                else if (value != '\r' && _length < LineLimit)
                {
                    _line[_length++] = value;
                }
            }
        }
    }

    /// <summary>The lines kept, oldest first, with an unfinished one at the end.</summary>
    internal string[] ToArray()
    {
        lock (_lock)
        {
            List<string> lines = [.. _lines];
            if (_length > 0)
            {
                lines.Add(Printable(_line.AsSpan(0, _length)));
            }

            return [.. lines];
        }
    }

    /// <summary>Forgets all: the machine starts again.</summary>
    internal void Clear()
    {
        lock (_lock)
        {
            _lines.Clear();
            _length = 0;
            Panic = null;
            PanicIsOver = false;
            SawRestart = false;
        }
    }

    private void EndLine()
    {
        ReadOnlySpan<byte> line = _line.AsSpan(0, _length);
        int panic = line.IndexOf(PanicMark);
        if (panic >= 0 && Panic is null)
        {
            Panic = Printable(line[(panic + PanicMark.Length)..].TrimStart(": "u8));
        }

        PanicIsOver |= Panic is not null && (line.IndexOf(PanicEndMark) >= 0 || line.IndexOf(PanicWaitMark) >= 0);
        SawRestart |= line.IndexOf(RestartMark) >= 0;
        if (_lines.Count == _keep)
        {
            _lines.Dequeue();
        }

        _lines.Enqueue(Printable(line));
        _length = 0;
    }

    // The lines go to the user's terminal: what would steer it is shown as a dot.
    private static string Printable(ReadOnlySpan<byte> line)
    {
        StringBuilder text = new(line.Length);
        foreach (byte value in line)
        {
            text.Append(value is >= 0x20 and < 0x7F or (byte)'\t' ? (char)value : '.');
        }

        return text.ToString();
    }
}
