using System;
using Hull.Bus;
using Hull.Engine;
using Hull.Memory;
using Hull.Tests.Cpu.Translate;
using Hull.Tests.Kvm;
using Xunit;

namespace Hull.Tests.Engine;

/// <summary>Events between their acceptance and their handler, as part of a state that goes from engine to engine.</summary>
public sealed class InFlightEventTests
{
    private const ulong HandlersAt = 0x8000;
    private const byte EndPort = 0xF4;

    [Theory]
    [EveryEngine]
    public void FaultWithACode_HasItsFrame(EngineKind engine) =>
        CheckHandler(engine, new InFlightEvent(InFlightKind.Exception, 13, 0x18));

    [Theory]
    [EveryEngine]
    public void FaultWithoutACode_HasItsFrame(EngineKind engine) =>
        CheckHandler(engine, new InFlightEvent(InFlightKind.Exception, 6));

    [Theory]
    [EveryEngine]
    public void AcknowledgedInterrupt_ComesWithInterruptsOff(EngineKind engine) =>
        CheckHandler(engine, new InFlightEvent(InFlightKind.External, 0x41));

    [Theory]
    [EveryEngine]
    public void NmiUnderWay_BlocksTheNext(EngineKind engine) =>
        CheckHandler(engine, new InFlightEvent(InFlightKind.Nmi, 2));

    [Theory]
    [EveryEngine]
    public void HeldNmi_ComesFirst(EngineKind engine)
    {
        using Place place = new(engine);
        ArchState state = FlatGuest.NewState();
        state.NmiPending = true;
        place.Vcpu.SetState(state);
        Assert.True(place.Vcpu.GetState().NmiPending);
        ArchState end = place.Run();
        Assert.Equal(HandlersAt + (2 * 16) + 2, end.Rip);
        Assert.True(end.NmiBlocked);
        Assert.False(end.NmiPending);
    }

    [Theory]
    [EveryEngine]
    public void NmiWhileBlocked_IsInTheState(EngineKind engine)
    {
        using Place place = new(engine);
        ArchState state = FlatGuest.NewState();
        state.NmiBlocked = true;
        place.Vcpu.SetState(state);
        place.Vcpu.Nmi();
        ArchState read = place.Vcpu.GetState();
        Assert.Equal((true, true), (read.NmiBlocked, read.NmiPending));

        // The same on the other engine, or on this one once more.
        using Place other = new(engine == EngineKind.Kvm ? EngineKind.Soft : engine);
        read.NmiBlocked = false;
        other.Vcpu.SetState(read);
        Assert.Equal(HandlersAt + (2 * 16) + 2, other.Run().Rip);
    }

    [Theory]
    [EveryEngine]
    public void State_KeepsEachShadowAndEvent(EngineKind engine)
    {
        using Place place = new(engine);
        foreach (InterruptShadow shadow in Enum.GetValues<InterruptShadow>())
        {
            ArchState state = FlatGuest.NewState();
            state.InterruptShadow = shadow;
            state.Rflags |= 0x200;
            place.Vcpu.SetState(state);
            InterruptShadow read = place.Vcpu.GetState().InterruptShadow;

            // AMD's virtual machine control block has one bit for both: KVM then says both, and the stronger is kept.
            Assert.True(read == shadow || (shadow == InterruptShadow.Sti && read == InterruptShadow.MovSs), $"{shadow}: {read}");
        }

        ArchState none = FlatGuest.NewState();
        place.Vcpu.SetState(none);
        Assert.Null(place.Vcpu.GetState().InFlight);
    }

    private static void CheckHandler(EngineKind engine, InFlightEvent accepted)
    {
        using Place place = new(engine);
        ArchState state = FlatGuest.NewState();
        state.InFlight = accepted;
        place.Vcpu.SetState(state);
        Assert.Equal(accepted, place.Vcpu.GetState().InFlight);
        ArchState end = place.Run();
        Assert.Equal(HandlersAt + (16u * accepted.Vector) + 2, end.Rip);
        int words = accepted.ErrorCode is null ? 5 : 6;
        Assert.Equal(FlatGuest.StackAt - (8u * (uint)words), end.Gpr[4]);
        Assert.Equal(FlatGuest.CodeAt, place.Memory.Read<ulong>(new GuestPhysical(FlatGuest.StackAt - 40)));
        if (accepted.ErrorCode is uint code)
        {
            Assert.Equal(code, place.Memory.Read<ulong>(new GuestPhysical(FlatGuest.StackAt - 48)));
        }

        Assert.Equal(accepted.Kind == InFlightKind.Nmi, end.NmiBlocked);
        Assert.Null(end.InFlight);
    }

    /// <summary>A vCPU with the flat guest's tables, on an engine; every handler writes to a port, which ends the run.</summary>
    private sealed class Place : IDisposable
    {
        private readonly IDisposable _guest;

        internal Place(EngineKind engine)
        {
            IoBus bus;
            if (engine == EngineKind.Kvm)
            {
                KvmGuest guest = new();
                (_guest, Memory, Vcpu, bus) = (guest, guest.Memory, guest.Vcpus[0], guest.Bus);
                FlatGuest.WriteTables(Memory);
            }
            else
            {
                FlatGuest guest = new();
                (_guest, Memory, Vcpu, bus) = (guest, guest.Memory, guest.Vcpu, guest.Bus);
                bus.MapPorts(EndPort, 1, new EndDevice(Vcpu));
            }

            Memory.TryWrite(new GuestPhysical(FlatGuest.CodeAt), [0x90, 0xEB, 0xFD]);
            for (uint vector = 0; vector < 256; vector++)
            {
                Memory.TryWrite(new GuestPhysical(HandlersAt + (16 * vector)), [0xE6, EndPort, 0xEB, 0xFE]); // out F4h, al; jmp $
            }
        }

        internal GuestMemory Memory { get; }

        internal IVcpu Vcpu { get; }

        internal ArchState Run()
        {
            VcpuExit exit = Vcpu.Run();
            return exit == VcpuExit.Kicked ? Vcpu.GetState()
                : throw new InvalidOperationException($"{exit}: {Vcpu.FailureMessage}");
        }

        public void Dispose() => _guest.Dispose();
    }

    private sealed class EndDevice(IVcpu vcpu) : IPortDevice
    {
        public uint ReadPort(ushort offset, int size) => 0;

        public void WritePort(ushort offset, int size, uint value) => vcpu.Kick();
    }
}
