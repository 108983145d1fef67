namespace Hull.Xen.Hypercalls;

/// <summary>vm_assist: what a guest may ask of Xen; in an HVM guest only flags of its runstate. Xen, public/xen.h, "VMASST_*".</summary>
internal static class VmAssistCall
{
    private const uint Enable = 0;
    private const uint Disable = 1;
    private const uint RunstateUpdateFlag = 5;

    internal static long Do(in Hypercall call) => call.Word(0) switch
    {
        Enable or Disable when call.Word(1) == RunstateUpdateFlag => 0,
        Enable or Disable => XenError.Invalid,
        _ => XenError.NoSystemCall,
    };
}
