namespace Hull;

/// <summary>Which CPU engine runs the guest.</summary>
public enum EngineKind
{
    /// <summary>KVM, where it is there and measured to be fast and right; else the soft engine.</summary>
    Auto,

    /// <summary>The binary translator; needs nothing from the host.</summary>
    Soft,

    /// <summary>The host kernel's /dev/kvm.</summary>
    Kvm,
}
