using System;
using System.Globalization;
using System.Runtime.InteropServices;
using Hull.Engine;
using Hull.Host;
using Hull.Kvm.Abi;
using Hull.Memory;

namespace Hull.Kvm;

/// <summary>Between the engine-neutral <see cref="ArchState"/> and KVM's structures. Only while the vCPU does not run.</summary>
internal sealed class KvmArchState
{
    private const int Es = 0;
    private const int Cs = 1;
    private const int Ss = 2;
    private const int Ds = 3;
    private const int Fs = 4;
    private const int Gs = 5;
    private const int XstateHeader = 512;
    private const int YmmHighAt = 576;
    private const ulong X87AndSse = 3;
    private const ulong Avx = 4;
    private const int MxcsrAt = 24;
    private const int BytesShown = 15;

    private readonly KvmFile _vcpu;
    private readonly KvmEngine _engine;
    private readonly ulong[] _msrs;

    /// <summary>Prepares.</summary>
    /// <param name="vcpu">The kernel's vCPU.</param>
    /// <param name="engine">The machine.</param>
    /// <param name="msrs">What <see cref="MsrPolicy"/> keeps where KVM keeps nothing.</param>
    internal KvmArchState(KvmFile vcpu, KvmEngine engine, ulong[] msrs)
    {
        _vcpu = vcpu;
        _engine = engine;
        _msrs = msrs;
    }

    /// <summary>The whole state.</summary>
    internal ArchState Get()
    {
        ArchState state = new();
        GetRegisters(state);
        GetSpecialRegisters(state);
        GetDebugRegisters(state);
        GetExtendedState(state);
        GetMsrs(state);
        KvmVcpuEvents events = default;
        _vcpu.Call(KvmRequests.GetVcpuEvents, ref events);
        KvmEvents.Read(events, state);
        KvmMpState mp = GetMpState();
        state.Halted = mp == KvmMpState.Halted;
        state.WaitingForStartup = mp is KvmMpState.Uninitialized or KvmMpState.InitReceived;
        return state;
    }

    /// <summary>Replaces the whole state.</summary>
    /// <exception cref="HullException">KVM does not take a value; the message names the ioctl or the MSR.</exception>
    internal void Set(ArchState state)
    {
        // Special registers first: what the others may be depends on the mode.
        SetSpecialRegisters(state);
        SetRegisters(state);
        SetDebugRegisters(state);
        SetExtendedState(state);
        SetMsrs(state);
        KvmVcpuEvents events = KvmEvents.From(state);
        _vcpu.Call(KvmRequests.SetVcpuEvents, ref events);
        uint mp = (uint)(state.WaitingForStartup ? KvmMpState.Uninitialized
            : state.Halted ? KvmMpState.Halted : KvmMpState.Runnable);
        _vcpu.Call(KvmRequests.SetMpState, ref mp);
    }

    /// <summary>The registers of the local APIC, as they lie in its page.</summary>
    internal KvmLapic GetLapic()
    {
        KvmLapic lapic = default;
        _vcpu.Call(KvmRequests.GetLapic, ref lapic);
        return lapic;
    }

    /// <summary>Replaces the registers of the local APIC.</summary>
    internal void SetLapic(KvmLapic lapic) => _vcpu.Call(KvmRequests.SetLapic, ref lapic);

    /// <summary>What the vCPU does.</summary>
    internal KvmMpState GetMpState()
    {
        uint mp = 0;
        _vcpu.Call(KvmRequests.GetMpState, ref mp);
        return (KvmMpState)mp;
    }

    /// <summary>" (rip 0x..., bytes ...)", for messages.</summary>
    internal string DescribePlace()
    {
        KvmRegs regs = default;
        KvmSregs sregs = default;
        if (_vcpu.TryCall(KvmRequests.GetRegs, ref regs, out _) < 0 || _vcpu.TryCall(KvmRequests.GetSregs, ref sregs, out _) < 0)
        {
            return "";
        }

        bool is64Bit = (sregs.Efer & 0x400) != 0 && sregs.Cs.L != 0;
        KvmTranslation translation = new() { Linear = is64Bit ? regs.Rip : (uint)(sregs.Cs.Base + regs.Rip) };
        _ = _vcpu.TryCall(KvmRequests.Translate, ref translation, out _);
        Span<byte> bytes = stackalloc byte[BytesShown];
        int room = (int)Math.Min(BytesShown, GuestMemory.PageSize - (translation.Physical & 0xFFF));
        string code = translation.Valid != 0 && _engine.Memory.TryRead(new GuestPhysical(translation.Physical), bytes[..room])
            ? Convert.ToHexStringLower(bytes[..room])
            : "not mapped";
        return string.Create(CultureInfo.InvariantCulture, $" (rip 0x{regs.Rip:x}, bytes there: {code})");
    }

    private void GetRegisters(ArchState state)
    {
        KvmRegs regs = default;
        _vcpu.Call(KvmRequests.GetRegs, ref regs);
        ReadOnlySpan<ulong> low = [regs.Rax, regs.Rcx, regs.Rdx, regs.Rbx, regs.Rsp, regs.Rbp, regs.Rsi, regs.Rdi];
        low.CopyTo(state.Gpr);
        ((ReadOnlySpan<ulong>)regs.R8To15).CopyTo(state.Gpr.AsSpan(8));
        state.Rip = regs.Rip;
        state.Rflags = regs.Rflags;
    }

    private void SetRegisters(ArchState state)
    {
        ulong[] gpr = state.Gpr;
        KvmRegs regs = new()
        {
            Rax = gpr[0],
            Rcx = gpr[1],
            Rdx = gpr[2],
            Rbx = gpr[3],
            Rsp = gpr[4],
            Rbp = gpr[5],
            Rsi = gpr[6],
            Rdi = gpr[7],
            Rip = state.Rip,
            Rflags = state.Rflags | 2,
        };
        gpr.AsSpan(8).CopyTo(regs.R8To15);
        _vcpu.Call(KvmRequests.SetRegs, ref regs);
    }

    private void GetSpecialRegisters(ArchState state)
    {
        KvmSregs sregs = default;
        _vcpu.Call(KvmRequests.GetSregs, ref sregs);
        state.Segments[Es] = KvmSegments.ToArch(sregs.Es);
        state.Segments[Cs] = KvmSegments.ToArch(sregs.Cs);
        state.Segments[Ss] = KvmSegments.ToArch(sregs.Ss);
        state.Segments[Ds] = KvmSegments.ToArch(sregs.Ds);
        state.Segments[Fs] = KvmSegments.ToArch(sregs.Fs);
        state.Segments[Gs] = KvmSegments.ToArch(sregs.Gs);
        state.Ldtr = KvmSegments.ToArch(sregs.Ldt);
        state.Tr = KvmSegments.ToArch(sregs.Tr);
        state.Gdtr = new DescriptorTableRegister(sregs.Gdt.Base, sregs.Gdt.Limit);
        state.Idtr = new DescriptorTableRegister(sregs.Idt.Base, sregs.Idt.Limit);
        state.Cr0 = sregs.Cr0;
        state.Cr2 = sregs.Cr2;
        state.Cr3 = sregs.Cr3;
        state.Cr4 = sregs.Cr4;
        state.Efer = sregs.Efer;
    }

    private void SetSpecialRegisters(ArchState state)
    {
        // What is the APIC's (its base, CR8) stays.
        KvmSregs sregs = default;
        _vcpu.Call(KvmRequests.GetSregs, ref sregs);
        sregs.Es = KvmSegments.FromArch(state.Segments[Es]);
        sregs.Cs = KvmSegments.FromArch(state.Segments[Cs]);
        sregs.Ss = KvmSegments.FromArch(state.Segments[Ss]);
        sregs.Ds = KvmSegments.FromArch(state.Segments[Ds]);
        sregs.Fs = KvmSegments.FromArch(state.Segments[Fs]);
        sregs.Gs = KvmSegments.FromArch(state.Segments[Gs]);
        sregs.Ldt = KvmSegments.FromArch(state.Ldtr);
        sregs.Tr = KvmSegments.FromArch(state.Tr);
        sregs.Gdt = new KvmTable { Base = state.Gdtr.Base, Limit = state.Gdtr.Limit };
        sregs.Idt = new KvmTable { Base = state.Idtr.Base, Limit = state.Idtr.Limit };
        sregs.Cr0 = state.Cr0;
        sregs.Cr2 = state.Cr2;
        sregs.Cr3 = state.Cr3;
        sregs.Cr4 = state.Cr4;
        sregs.Efer = state.Efer;
        sregs.InterruptBitmap = default;
        _vcpu.Call(KvmRequests.SetSregs, ref sregs);
    }

    private void GetDebugRegisters(ArchState state)
    {
        KvmDebugRegs debug = default;
        _vcpu.Call(KvmRequests.GetDebugRegs, ref debug);
        ReadOnlySpan<ulong> all = [debug.Dr0, debug.Dr1, debug.Dr2, debug.Dr3, 0, 0, debug.Dr6, debug.Dr7];
        all.CopyTo(state.DebugRegisters);
    }

    private void SetDebugRegisters(ArchState state)
    {
        ulong[] all = state.DebugRegisters;
        KvmDebugRegs debug = new() { Dr0 = all[0], Dr1 = all[1], Dr2 = all[2], Dr3 = all[3], Dr6 = all[6], Dr7 = all[7] };
        _vcpu.Call(KvmRequests.SetDebugRegs, ref debug);
    }

    // SDM vol. 1, "XSAVE Area": the standard form. A component whose bit is clear is in its initial state.
    private void GetExtendedState(ArchState state)
    {
        KvmXsave area = default;
        _vcpu.Call(KvmRequests.GetXsave, ref area);
        ReadOnlySpan<byte> bytes = area;
        bytes[..state.Fxsave.Length].CopyTo(state.Fxsave);
        if ((MemoryMarshal.Read<ulong>(bytes[XstateHeader..]) & Avx) != 0)
        {
            bytes.Slice(YmmHighAt, state.YmmHigh.Length).CopyTo(state.YmmHigh);
        }

        if (_engine.HasXcrs)
        {
            KvmXcrs xcrs = default;
            _vcpu.Call(KvmRequests.GetXcrs, ref xcrs);
            state.Xcr0 = xcrs.FirstValue;
        }
    }

    private void SetExtendedState(ArchState state)
    {
        if (_engine.HasXcrs)
        {
            KvmXcrs xcrs = new() { Count = 1, FirstValue = state.Xcr0 | 1 };
            _vcpu.Call(KvmRequests.SetXcrs, ref xcrs);
        }

        KvmXsave area = default;
        Span<byte> bytes = area;
        state.Fxsave.CopyTo(bytes);
        uint mxcsr = MemoryMarshal.Read<uint>(bytes[MxcsrAt..]) & _engine.Cpuid.MxcsrMask;
        MemoryMarshal.Write(bytes[MxcsrAt..], mxcsr);
        bool avx = state.YmmHigh.AsSpan().ContainsAnyExcept((byte)0);
        MemoryMarshal.Write(bytes[XstateHeader..], X87AndSse | (avx ? Avx : 0));
        state.YmmHigh.CopyTo(bytes[YmmHighAt..]);
        _vcpu.Call(KvmRequests.SetXsave, ref area);
    }

    private void GetMsrs(ArchState state)
    {
        foreach (uint index in KvmMsrPolicy.StateIndexes)
        {
            if (KvmMsrPolicy.TryGet(_vcpu, index, out ulong value))
            {
                state.Msrs[index] = value;
            }
        }

        foreach (uint index in MsrPolicy.StateIndexes)
        {
            MsrRule rule = MsrPolicy.Find(index, _engine.Cpuid);
            if (rule.Kind is MsrKind.State or MsrKind.MemoryTypes)
            {
                state.Msrs[index] = KvmMsrPolicy.TryGet(_vcpu, index, out ulong value) ? value : _msrs[rule.Slot];
            }
        }
    }

    private void SetMsrs(ArchState state)
    {
        foreach ((uint index, ulong value) in state.Msrs)
        {
            if (KvmMsrPolicy.TrySet(_vcpu, index, value))
            {
                continue;
            }

            if (!MsrPolicy.TryWrite(index, _engine.Cpuid, _msrs, value, out _))
            {
                throw new HullException($"KVM_SET_MSRS: this host's KVM does not take 0x{value:x} for MSR 0x{index:x}");
            }
        }
    }
}
