using System;
using System.Runtime.InteropServices;
using System.Threading;
using Hull.Cpu.State;
using Hull.Cpu.Translate;
using Hull.Host;
using Hull.Memory;

namespace Hull.Cpu;

/// <summary>
/// Turns host exceptions inside generated code (a division by zero, a misaligned SSE operand) into a normal exit. Signals
/// belong to the process, so this is the one table that all machines share. The handlers are machine code and run no C#: they
/// look whether the interrupted pc is in a registered range, and then resume at that range's thunk; all other signals go to
/// the handler that was there before (.NET's). First of all, a SIGBUS at an address of <see cref="MappedFiles"/> is answered with
/// a page of zeros there, whoever made the access.
/// </summary>
internal static unsafe class HostSignals
{
    private const int Entries = 1024;
    private const int RipInContext = 168;
    private const int RspInContext = 160;
    private const int ErrorInContext = 192;
    private const int TrapInContext = 200;
    private const int Cr2InContext = 216;
    private const int AddressInInfo = 16;
    private const int MmapNumber = 9;
    private static readonly Lock Gate = new();
    private static readonly Range* Table = Install();

    /// <summary>Adds a range of generated code.</summary>
    /// <exception cref="HullException">Too many machines in one process.</exception>
    internal static void Register(byte* start, byte* end, byte* thunk)
    {
        lock (Gate)
        {
            for (int i = 0; i < Entries; i++)
            {
                if (Table[i].Length == 0)
                {
                    Table[i].Start = (ulong)start;
                    Table[i].Thunk = (ulong)thunk;
                    Volatile.Write(ref Table[i].Length, (ulong)(end - start));
                    return;
                }
            }
        }

        throw new HullException($"more than {Entries} machines in one process");
    }

    /// <summary>The handlers are there when this returns; for machines that run no generated code.</summary>
    internal static void Ensure() => System.Runtime.CompilerServices.RuntimeHelpers.RunClassConstructor(typeof(HostSignals).TypeHandle);

    /// <summary>Removes the range that starts at an address.</summary>
    internal static void Unregister(byte* start)
    {
        lock (Gate)
        {
            for (int i = 0; i < Entries; i++)
            {
                if (Table[i].Start == (ulong)start)
                {
                    Volatile.Write(ref Table[i].Length, 0);
                }
            }
        }
    }

    private static Range* Install()
    {
        Range* table = (Range*)NativeMemory.AllocZeroed(Entries, (nuint)sizeof(Range));
        ExecutableMemory memory = new(4096);
        Emitter e = new() { At = memory.Base };
        foreach (int signal in (ReadOnlySpan<int>)[Libc.SigIll, Libc.SigBus, Libc.SigFpe, Libc.SigSegv])
        {
            Libc.SignalAction action = default;
            if (Libc.SigAction(signal, null, &action) != 0)
            {
                throw new HullException($"cannot read the handler of signal {signal}: {Libc.LastErrorMessage()}");
            }

            action.Handler = (nint)EmitHandler(e, table, action.Handler, signal == Libc.SigBus);
            action.Flags |= Libc.SaSigInfo;
            if (Libc.SigAction(signal, &action, null) != 0)
            {
                throw new HullException($"cannot handle signal {signal}: {Libc.LastErrorMessage()}");
            }
        }

        return table;
    }

    // void handler(edi signal, rsi info, rdx context)
    private static byte* EmitHandler(Emitter e, Range* table, nint previous, bool isBus)
    {
        byte* start = e.At;
        if (isBus)
        {
            EmitFileFault(e);
        }

        e.Mem(true, 0x8B, HostRegister.Rax, HostRegister.Rdx, RipInContext);
        e.MoveImmediate(HostRegister.Rcx, (ulong)table);
        e.MoveImmediate(HostRegister.R8, Entries);
        byte* loop = e.At;
        e.Move(9, HostRegister.Rax);
        e.Mem(true, 0x2B, 9, HostRegister.Rcx, 0);              // sub r9, [start]
        e.Mem(true, 0x3B, 9, HostRegister.Rcx, 8);              // cmp r9, [length]
        byte* found = e.JumpForward(2);                         // jb
        e.Bytes(0x48, 0x83, 0xC1, (byte)sizeof(Range));         // add rcx, sizeof(Range)
        e.Bytes(0x41, 0xFF, 0xC8);                              // dec r8d
        byte* again = e.JumpForward(5);
        *(int*)again = (int)(loop - (again + 4));
        if (previous is 0 or 1)
        {
            // The default action: give it back and let the instruction fault again.
            e.MoveImmediate(HostRegister.Rax, (ulong)(nint)NativeLibrary.GetExport(NativeLibrary.Load("libc.so.6"), "abort"));
        }
        else
        {
            e.MoveImmediate(HostRegister.Rax, (ulong)previous);
        }

        e.Bytes(0xFF, 0xE0);                                    // jmp rax
        e.Patch(found);
        e.Mem(true, 0x8B, 10, HostRegister.Rdx, RspInContext);
        e.Mem(true, 0x89, HostRegister.Rax, 10, StateLayout.FaultPc - StateLayout.PointerBias);
        e.Mem(true, 0x8B, 9, HostRegister.Rdx, TrapInContext);
        e.Mem(true, 0x89, 9, 10, StateLayout.FaultSignal - StateLayout.PointerBias);
        e.Mem(true, 0x8B, 9, HostRegister.Rdx, ErrorInContext);
        e.Mem(true, 0x89, 9, 10, StateLayout.FaultError - StateLayout.PointerBias);
        e.Mem(true, 0x8B, 9, HostRegister.Rdx, Cr2InContext);
        e.Mem(true, 0x89, 9, 10, StateLayout.Scratch2 - StateLayout.PointerBias);
        e.Mem(true, 0x8B, HostRegister.Rax, HostRegister.Rcx, 16);
        e.Mem(true, 0x89, HostRegister.Rax, HostRegister.Rdx, RipInContext);
        e.Byte(0xC3);
        return start;
    }

    // The page that faulted becomes one of zeros, by mmap(2) itself: a handler may call no function of C#'s. Where that fails,
    // or the address is no file's, it goes on behind.
    private static void EmitFileFault(Emitter e)
    {
        e.Mem(true, 0x8B, HostRegister.Rax, HostRegister.Rsi, AddressInInfo);
        e.MoveImmediate(HostRegister.Rcx, (ulong)MappedFiles.Table);
        e.MoveImmediate(HostRegister.R8, MappedFiles.Lines);
        byte* loop = e.At;
        e.Move(9, HostRegister.Rax);
        e.Mem(true, 0x2B, 9, HostRegister.Rcx, 0);              // sub r9, [start]
        e.Mem(true, 0x3B, 9, HostRegister.Rcx, 8);              // cmp r9, [length]
        byte* found = e.JumpForward(2);                         // jb
        e.Bytes(0x48, 0x83, 0xC1, MappedFiles.LineBytes);       // add rcx, LineBytes
        e.Bytes(0x41, 0xFF, 0xC8);                              // dec r8d
        byte* again = e.JumpForward(5);
        *(int*)again = (int)(loop - (again + 4));
        byte* none = e.JumpForward(-1);
        e.Patch(found);
        e.Byte(0xF0);
        e.Mem(true, 0xFF, 0, HostRegister.Rcx, 16);             // lock inc qword [lost]
        e.Byte(0x57);                                           // push rdi
        e.Byte(0x56);                                           // push rsi
        e.Byte(0x52);                                           // push rdx
        e.Move(HostRegister.Rdi, HostRegister.Rax);
        e.Bytes(0x66, 0x81, 0xE7, 0x00);                        // and di, 0xF000
        e.Byte(0xF0);
        e.MoveImmediate(HostRegister.Rsi, GuestMemory.PageSize);
        e.MoveImmediate(HostRegister.Rdx, Libc.ProtRead | Libc.ProtWrite);
        e.MoveImmediate(10, Libc.MapPrivate | Libc.MapAnonymous | Libc.MapFixed);
        e.MoveImmediate(HostRegister.R8, ulong.MaxValue);
        e.MoveImmediate(9, 0);
        e.MoveImmediate(HostRegister.Rax, MmapNumber);
        e.Bytes(0x0F, 0x05);                                    // syscall
        e.Byte(0x5A);
        e.Byte(0x5E);
        e.Byte(0x5F);
        e.Bytes(0x48, 0x85, 0xC0);                              // test rax, rax
        byte* failed = e.JumpForward(8);                        // js
        e.Byte(0xC3);
        e.Patch(none);
        e.Patch(failed);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Range
    {
        internal ulong Start;
        internal ulong Length;
        internal ulong Thunk;
    }
}
