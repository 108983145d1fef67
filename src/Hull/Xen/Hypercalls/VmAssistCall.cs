namespace Hull.Xen.Hypercalls;

/// <summary>vm_assist: what a guest may ask of Xen; in an HVM guest only flags of its runstate. Xen, public/xen.h, "VMASST_*".</summary>
internal static class VmAssistCall
{
    private const uint Enable = 0;
    private const uint Disable = 1;
    private const uint RunstateUpdateFlag = 5;

    internal static long Do(in Hypercall call)
    {
        uint command = call.Word(0);
        if (command is not (Enable or Disable) || call.Word(1) != RunstateUpdateFlag)
        {
            return XenError.Invalid;
        }

        call.Domain.MarksRunstateUpdates = command == Enable;
        return 0;
    }
}
