using Hull.Net;

namespace Hull.Devices.Virtio;

/// <summary>Feature bits of a network card. Virtio 1.2 section 5.1.3, "Feature bits".</summary>
internal static class NetFeature
{
    internal const ulong Checksum = 1UL << 0;
    internal const ulong GuestChecksum = 1UL << 1;
    internal const ulong ControlGuestOffloads = 1UL << 2;
    internal const ulong Mtu = 1UL << 3;
    internal const ulong Mac = 1UL << 5;
    internal const ulong GuestTcp4 = 1UL << 7;
    internal const ulong GuestTcp6 = 1UL << 8;
    internal const ulong GuestEcn = 1UL << 9;
    internal const ulong HostTcp4 = 1UL << 11;
    internal const ulong HostTcp6 = 1UL << 12;
    internal const ulong HostEcn = 1UL << 13;
    internal const ulong MergeableBuffers = 1UL << 15;
    internal const ulong Status = 1UL << 16;
    internal const ulong ControlQueue = 1UL << 17;
    internal const ulong ControlReceive = 1UL << 18;
    internal const ulong ControlVlan = 1UL << 19;
    internal const ulong ControlReceiveExtra = 1UL << 20;
    internal const ulong GuestAnnounce = 1UL << 21;
    internal const ulong Queues = 1UL << 22;
    internal const ulong ControlMac = 1UL << 23;

    /// <summary>What a guest can do itself that the features say (GUEST_...).</summary>
    internal static OffloadAbility GuestAble(ulong features) => Able(features, GuestChecksum, GuestTcp4, GuestTcp6, GuestEcn);

    /// <summary>What a guest may leave to do.</summary>
    internal static OffloadAbility HostAble(ulong features) => Able(features, Checksum, HostTcp4, HostTcp6, HostEcn);

    private static OffloadAbility Able(ulong features, ulong checksum, ulong tcp4, ulong tcp6, ulong ecn) =>
        ((features & checksum) != 0 ? OffloadAbility.Checksum : 0)
        | ((features & tcp4) != 0 ? OffloadAbility.Tcp4 : 0)
        | ((features & tcp6) != 0 ? OffloadAbility.Tcp6 : 0)
        | ((features & ecn) != 0 ? OffloadAbility.Ecn : 0);
}
