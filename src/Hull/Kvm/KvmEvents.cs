using Hull.Engine;
using Hull.Kvm.Abi;

namespace Hull.Kvm;

/// <summary>Between KVM's word of a vCPU's events and the state: what is on its way, what waits, what holds it off.</summary>
internal static class KvmEvents
{
    private const byte MovSsShadow = 1;
    private const byte StiShadow = 2;
    private const byte NmiVector = 2;
    private const byte BreakpointVector = 3;
    private const byte OverflowVector = 4;

    /// <summary>Puts what KVM says into a state.</summary>
    internal static void Read(in KvmVcpuEvents events, ArchState state)
    {
        state.InterruptShadow = (events.InterruptShadow & MovSsShadow) != 0 ? InterruptShadow.MovSs
            : (events.InterruptShadow & StiShadow) != 0 ? InterruptShadow.Sti : InterruptShadow.None;
        state.NmiBlocked = events.NmiMasked != 0;
        state.NmiPending = events.NmiPending != 0;
        state.InFlight = InFlightOf(events);
    }

    /// <summary>What KVM is told of a state.</summary>
    internal static KvmVcpuEvents From(ArchState state)
    {
        KvmVcpuEvents events = new()
        {
            InterruptShadow = state.InterruptShadow switch
            {
                InterruptShadow.MovSs => MovSsShadow,
                InterruptShadow.Sti => StiShadow,
                _ => 0,
            },
            NmiMasked = state.NmiBlocked ? (byte)1 : (byte)0,
            NmiPending = state.NmiPending ? (byte)1 : (byte)0,
            Flags = KvmEventFlags.Shadow | KvmEventFlags.NmiPending,
        };
        switch (state.InFlight)
        {
            case { Kind: InFlightKind.Exception } exception:
                events.ExceptionInjected = 1;
                events.ExceptionVector = exception.Vector;
                events.ExceptionHasErrorCode = exception.ErrorCode is null ? (byte)0 : (byte)1;
                events.ExceptionErrorCode = exception.ErrorCode ?? 0;
                break;
            case { Kind: InFlightKind.External } external:
                events.InterruptInjected = 1;
                events.InterruptVector = external.Vector;
                break;
            case { Kind: InFlightKind.Nmi }:
                events.NmiInjected = 1;
                break;
            default:
                break;
        }

        return events;
    }

    // What INT n, INT3 and INTO raised is left out: RIP is still at them.
    private static InFlightEvent? InFlightOf(in KvmVcpuEvents events) =>
        events.ExceptionInjected != 0 && events.ExceptionVector is not (BreakpointVector or OverflowVector)
            ? new InFlightEvent(
                InFlightKind.Exception,
                events.ExceptionVector,
                events.ExceptionHasErrorCode != 0 ? events.ExceptionErrorCode : null)
        : events.NmiInjected != 0 ? new InFlightEvent(InFlightKind.Nmi, NmiVector)
        : events.InterruptInjected != 0 && events.InterruptSoft == 0
            ? new InFlightEvent(InFlightKind.External, events.InterruptVector)
        : null;
}
