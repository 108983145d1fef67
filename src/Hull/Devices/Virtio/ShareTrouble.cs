using System;
using System.Runtime.InteropServices;
using System.Threading;
using Hull.Files;
using Hull.Host;

namespace Hull.Devices.Virtio;

/// <summary>
/// Tells the user when a shared folder lets the guest down: no room, a file system that takes no writes any more, or the folder
/// itself removed. The guest has the error; this is which folder of the host's it is. Any thread.
/// </summary>
internal sealed class ShareTrouble(FileTree tree, Action<string> notice)
{
    private const long LookMs = 500;

    private readonly HostTrouble _folder = new(notice, $"the shared folder {tree.Path}");
    private readonly HostTrouble _reading = new(notice, $"reading the shared folder {tree.Path}");
    private readonly HostTrouble _writing = new(notice, $"writing the shared folder {tree.Path}");
    private long _lookedAt;

    /// <summary>A request has ended.</summary>
    /// <param name="isChange">It was to change something.</param>
    /// <param name="error">Its error; 0: none.</param>
    internal void Ended(bool isChange, int error)
    {
        bool isFull = error is Errno.NoSpace or Errno.OverQuota || (error == Errno.ReadOnly && !tree.IsReadOnly);
        if (isFull || error == Errno.InputOutput)
        {
            (isFull || isChange ? _writing : _reading).Failed(Marshal.GetPInvokeErrorMessage(error));
        }
        else if (error == 0)
        {
            (isChange ? _writing : _reading).Worked();
        }

        long now = Environment.TickCount64;
        if (now - Volatile.Read(ref _lookedAt) >= LookMs)
        {
            Volatile.Write(ref _lookedAt, now);
            LookForFolder();
        }
    }

    private void LookForFolder()
    {
        if (tree.TryKeepRoot())
        {
            _folder.Worked();
        }
        else
        {
            _folder.Failed("it was removed");
        }
    }
}
