using System;

namespace Hull.Host;

/// <summary>Memory for generated code: readable, writable and executable at one address.</summary>
internal sealed unsafe class ExecutableMemory : IDisposable
{
    /// <summary>Maps <paramref name="size"/> bytes; the host gives pages when they are touched.</summary>
    /// <exception cref="HullException">The host forbids writable and executable memory, or has none.</exception>
    internal ExecutableMemory(nuint size)
    {
        Size = size;
        Base = (byte*)Libc.MapOrThrow(
            size,
            Libc.ProtRead | Libc.ProtWrite | Libc.ProtExec,
            Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve,
            -1,
            "generated code (does a security policy forbid executable memory?)");
    }

    /// <summary>The first byte.</summary>
    internal byte* Base { get; }

    /// <summary>Bytes.</summary>
    internal nuint Size { get; }

    /// <inheritdoc/>
    public void Dispose() => _ = Libc.Munmap(Base, Size);
}
