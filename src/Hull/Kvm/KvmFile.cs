using System;
using System.ComponentModel;
using System.Runtime.InteropServices;
using Hull.Host;
using Hull.Kvm.Abi;

namespace Hull.Kvm;

/// <summary>An open file of KVM's (the device, a virtual machine, a vCPU) and its ioctls.</summary>
internal sealed unsafe class KvmFile : IDisposable
{
    private readonly HostDescriptor _descriptor;
    private bool _closed;

    /// <summary>Takes over an open descriptor.</summary>
    internal KvmFile(int fd)
    {
        Fd = fd;
        _descriptor = new HostDescriptor(fd);
    }

    /// <summary>The descriptor.</summary>
    internal int Fd { get; }

    /// <summary>An ioctl with a number, or none.</summary>
    /// <returns>What the kernel returned, not negative.</returns>
    /// <exception cref="HullException">The kernel refused; the message names the ioctl and the error.</exception>
    internal int Call(KvmRequest request, nuint argument = 0)
    {
        int result;
        do
        {
            // Making a virtual machine gives up when a signal arrives (the garbage collector's, for one).
            result = LibcKvm.Ioctl(Fd, request.Number, argument);
        }
        while (result < 0 && Marshal.GetLastPInvokeError() == Errno.Interrupted);
        return result < 0 ? throw Failure(request, Marshal.GetLastPInvokeError()) : result;
    }

    /// <summary>An ioctl with a structure.</summary>
    /// <exception cref="HullException">The kernel refused; the message names the ioctl and the error.</exception>
    internal int Call<T>(KvmRequest request, ref T argument)
        where T : unmanaged
    {
        int result = TryCall(request, ref argument, out int error);
        return result < 0 ? throw Failure(request, error) : result;
    }

    /// <summary>As <see cref="Call{T}"/>, for a list that a <see cref="KvmListHead"/> begins.</summary>
    /// <exception cref="HullException">The kernel refused; the message names the ioctl and the error.</exception>
    internal int CallList(KvmRequest request, Span<byte> list) => Call(request, ref MemoryMarshal.GetReference(list));

    /// <summary>An ioctl with a structure, whose failure is the caller's business.</summary>
    /// <returns>Negative when the kernel refused, with the error number.</returns>
    internal int TryCall<T>(KvmRequest request, ref T argument, out int error)
        where T : unmanaged
    {
        // SAFETY: the argument stays where it is for the call; the kernel touches as many bytes as the request's number
        // says, which is made of the structure's size (a list's caller keeps the entries behind the head).
        fixed (T* at = &argument)
        {
            int result = LibcKvm.Ioctl(Fd, request.Number, at);
            error = result < 0 ? Marshal.GetLastPInvokeError() : 0;
            return result;
        }
    }

    /// <summary>As <see cref="TryCall{T}"/>, for threads that may come when the file is closed already. Any thread.</summary>
    /// <returns>Negative when the kernel refused, or the file is closed.</returns>
    internal int TryCallAnytime<T>(KvmRequest request, ref T argument)
        where T : unmanaged
    {
        if (!_descriptor.TryAdd())
        {
            return -1;
        }

        try
        {
            return TryCall(request, ref argument, out _);
        }
        finally
        {
            _descriptor.Release();
        }
    }

    /// <summary>What there is of a capability: 0 is none.</summary>
    internal int Check(KvmCapability capability) => Call(KvmRequests.CheckExtension, (nuint)capability);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_closed)
        {
            _closed = true;
            _descriptor.Release();
        }
    }

    /// <summary>What is said of an ioctl that the kernel refused.</summary>
    internal static HullException Failure(KvmRequest request, int error)
    {
        // Only one hypervisor has the CPU; VirtualBox and VMware take it while one of their machines runs.
        string hint = error switch
        {
            Errno.Busy => ": another hypervisor may hold the CPU; end it, or use --engine soft",
            Errno.TooManyOpenHere => ": raise the limit of open files (ulimit -n), or give fewer vCPUs (-c)",
            _ => "",
        };
        return new HullException(
            $"{request.Name} failed: {Marshal.GetPInvokeErrorMessage(error)}{hint}", new Win32Exception(error));
    }
}
