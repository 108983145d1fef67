using System;
using Hull.Host;

namespace Hull.Cpu.State;

/// <summary>
/// Host instructions that C# cannot say, in one executable page: FXSAVE64, FXRSTOR64, FNSTSW. The page is written once at start
/// and is never writable afterwards.
/// </summary>
internal static unsafe class HostStubs
{
    private static readonly byte* Page = Emit(out SaveStub, out LoadStub, out StatusStub);
    private static readonly delegate* unmanaged[SuppressGCTransition]<void*, void> SaveStub;
    private static readonly delegate* unmanaged[SuppressGCTransition]<void*, void> LoadStub;
    private static readonly delegate* unmanaged[SuppressGCTransition]<uint> StatusStub;

    /// <summary>FXSAVE64 to 512 bytes, 16-aligned.</summary>
    internal static void Fxsave(void* image) => SaveStub(image);

    /// <summary>FXRSTOR64 of the x87 part from 512 bytes, 16-aligned; the thread's own MXCSR stays.</summary>
    internal static void Fxrstor(void* image) => LoadStub(image);

    /// <summary>FNSTSW: the x87 status word.</summary>
    internal static uint Fnstsw() => StatusStub();

    /// <summary>Where the code is; null never happens (the host refuses with an exception).</summary>
    internal static byte* Code => Page;

    private static byte* Emit(
        out delegate* unmanaged[SuppressGCTransition]<void*, void> save,
        out delegate* unmanaged[SuppressGCTransition]<void*, void> load,
        out delegate* unmanaged[SuppressGCTransition]<uint> status)
    {
        // fxsave64 [rdi]; ret
        ReadOnlySpan<byte> saveCode = [0x48, 0x0F, 0xAE, 0x07, 0xC3];
        // stmxcsr [rdi + 24]; fxrstor64 [rdi]; ret   (XMM registers are the caller's to save)
        ReadOnlySpan<byte> loadCode = [0x0F, 0xAE, 0x5F, 0x18, 0x48, 0x0F, 0xAE, 0x0F, 0xC3];
        // fnstsw ax; movzx eax, ax; ret
        ReadOnlySpan<byte> statusCode = [0xDF, 0xE0, 0x0F, 0xB7, 0xC0, 0xC3];
        byte* page = (byte*)Libc.MapOrThrow(
            4096, Libc.ProtRead | Libc.ProtWrite, Libc.MapPrivate | Libc.MapAnonymous, -1, "host stubs");
        // SAFETY: the three stubs together take less than the 4096 bytes just mapped.
        saveCode.CopyTo(new Span<byte>(page, 64));
        loadCode.CopyTo(new Span<byte>(page + 64, 64));
        statusCode.CopyTo(new Span<byte>(page + 128, 64));
        if (Libc.Mprotect(page, 4096, Libc.ProtRead | Libc.ProtExec) != 0)
        {
            throw new HullException($"cannot make host stubs executable: {Libc.LastErrorMessage()}");
        }

        save = (delegate* unmanaged[SuppressGCTransition]<void*, void>)page;
        load = (delegate* unmanaged[SuppressGCTransition]<void*, void>)(page + 64);
        status = (delegate* unmanaged[SuppressGCTransition]<uint>)(page + 128);
        return page;
    }
}
