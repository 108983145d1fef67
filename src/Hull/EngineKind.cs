namespace Hull;

/// <summary>Which CPU engine runs the guest.</summary>
public enum EngineKind
{
    /// <summary>The best that this host has.</summary>
    Auto,

    /// <summary>The binary translator; needs nothing from the host.</summary>
    Soft,

    /// <summary>The host kernel's /dev/kvm.</summary>
    Kvm,
}
