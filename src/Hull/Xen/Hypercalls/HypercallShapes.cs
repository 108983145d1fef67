using System.Collections.Frozen;
using System.Collections.Generic;

namespace Hull.Xen.Hypercalls;

/// <summary>A sub-operation as a trace shows it.</summary>
/// <param name="Name">Its name in Xen's headers, in small letters.</param>
/// <param name="Fields">
/// The fields of its structure: "name:bytes" ("w": as many as the caller's words have), behind a "&gt;" if the call writes them, without a name if nobody needs them.
/// </param>
internal sealed record OperationShape(string Name, string Fields = "");

/// <summary>A hypercall as a trace shows it.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Structure">The argument that points to a sub-operation's structure; -1 when there is none.</param>
/// <param name="Arguments">Names of the arguments behind the sub-operation; "" for the structure's place.</param>
/// <param name="Operations">Its sub-operations, by number.</param>
internal sealed record HypercallShape(
    string Name, int Structure, string[] Arguments, IReadOnlyDictionary<uint, OperationShape> Operations);

/// <summary>Names and structures of the hypercalls that there are, and of those that guests try. Xen, public/*.h.</summary>
internal static class HypercallShapes
{
    private static readonly FrozenDictionary<ulong, HypercallShape> All = new Dictionary<ulong, HypercallShape>
    {
        [1] = new("mmu_update", -1, [], None),
        [7] = new("platform_op", -1, [], None),
        [12] = new("memory_op", 1, [""], new Dictionary<uint, OperationShape>
        {
            [0] = new("increase_reservation"),
            [1] = new("decrease_reservation"),
            [2] = new("maximum_ram_page"),
            [3] = new("current_reservation", "domid:2"),
            [4] = new("maximum_reservation", "domid:2"),
            [5] = new("machphys_mfn_list"),
            [6] = new("populate_physmap"),
            [7] = new("add_to_physmap", "domid:2 :2 space:4 idx:w gpfn:w"),
            [9] = new("memory_map", "nr_entries:4"),
            [11] = new("exchange"),
            [13] = new("set_memory_map", "domid:2"),
            [14] = new("maximum_gpfn", "domid:2"),
            [15] = new("remove_from_physmap", "domid:w gpfn:w"),
            [23] = new("add_to_physmap_batch", "domid:2 space:2 size:2"),
            [24] = new("claim_pages"),
            [26] = new("get_vnumainfo", "domid:2"),
            [28] = new("acquire_resource"),
        }),
        [13] = new("multicall", -1, ["nr_calls"], None),
        [15] = new("set_timer_op", -1, [], None),
        [17] = new("xen_version", 1, [""], new Dictionary<uint, OperationShape>
        {
            [0] = new("version"),
            [1] = new("extraversion"),
            [2] = new("compile_info"),
            [3] = new("capabilities"),
            [4] = new("changeset"),
            [5] = new("platform_parameters", ">virt_start:8"),
            [6] = new("get_features", "submap_idx:4 >submap:4"),
            [7] = new("pagesize"),
            [8] = new("guest_handle"),
            [9] = new("commandline"),
            [10] = new("build_id"),
        }),
        [18] = new("console_io", -1, ["count", "buffer"], new Dictionary<uint, OperationShape>
        {
            [0] = new("write"),
            [1] = new("read"),
        }),
        [20] = new("grant_table_op", 1, ["", "count"], new Dictionary<uint, OperationShape>
        {
            [0] = new("map_grant_ref", "host_addr:8 flags:4 ref:4 dom:2"),
            [1] = new("unmap_grant_ref", "host_addr:8 dev_bus_addr:8 handle:4"),
            [2] = new("setup_table", "dom:2 :2 nr_frames:4"),
            [5] = new("copy"),
            [6] = new("query_size", "dom:2 :2 >nr_frames:4 >max_nr_frames:4 >status:2"),
            [8] = new("set_version", "version:4"),
            [10] = new("get_version", "dom:2 :2 >version:4"),
            [11] = new("swap_grant_ref", "ref_a:4 ref_b:4 >status:2"),
        }),
        [21] = new("vm_assist", -1, ["type"], new Dictionary<uint, OperationShape>
        {
            [0] = new("enable"),
            [1] = new("disable"),
        }),
        [24] = new("vcpu_op", 2, ["vcpu", ""], new Dictionary<uint, OperationShape>
        {
            [0] = new("initialise"),
            [1] = new("up"),
            [2] = new("down"),
            [3] = new("is_up"),
            [4] = new("get_runstate_info"),
            [5] = new("register_runstate_memory_area", "addr:8"),
            [6] = new("set_periodic_timer", "period_ns:8"),
            [7] = new("stop_periodic_timer"),
            [8] = new("set_singleshot_timer", "timeout_abs_ns:8 flags:4"),
            [9] = new("stop_singleshot_timer"),
            [10] = new("register_vcpu_info", "mfn:8 offset:4"),
            [11] = new("send_nmi"),
            [12] = new("get_physid"),
            [13] = new("register_vcpu_time_memory_area", "addr:8"),
        }),
        [27] = new("xsm_op", -1, [], None),
        [29] = new("sched_op", 1, [""], new Dictionary<uint, OperationShape>
        {
            [0] = new("yield"),
            [1] = new("block"),
            [2] = new("shutdown", "reason:4"),
            [3] = new("poll", "ports:w nr_ports:4"),
            [4] = new("remote_shutdown", "domain_id:2 :2 reason:4"),
            [5] = new("shutdown_code", "reason:4"),
            [6] = new("watchdog", "id:4 timeout:4"),
            [7] = new("pin_override"),
        }),
        [32] = new("event_channel_op", 1, [""], new Dictionary<uint, OperationShape>
        {
            [0] = new("bind_interdomain", "remote_dom:2 :2 remote_port:4 >local_port:4"),
            [1] = new("bind_virq", "virq:4 vcpu:4 >port:4"),
            [2] = new("bind_pirq", "pirq:4 flags:4 >port:4"),
            [3] = new("close", "port:4"),
            [4] = new("send", "port:4"),
            [5] = new("status", "dom:2 :2 port:4 >status:4 >vcpu:4"),
            [6] = new("alloc_unbound", "dom:2 remote_dom:2 >port:4"),
            [7] = new("bind_ipi", "vcpu:4 >port:4"),
            [8] = new("bind_vcpu", "port:4 vcpu:4"),
            [9] = new("unmask", "port:4"),
            [10] = new("reset", "dom:2"),
            [11] = new("init_control", "control_gfn:8 offset:4 vcpu:4 >link_bits:1"),
            [12] = new("expand_array", "array_gfn:8"),
            [13] = new("set_priority", "port:4 priority:4"),
            [14] = new("reset_cont", "dom:2"),
        }),
        [33] = new("physdev_op", -1, [], None),
        [34] = new("hvm_op", 1, [""], new Dictionary<uint, OperationShape>
        {
            [0] = new("set_param", "domid:2 :2 index:4 value:8"),
            [1] = new("get_param", "domid:2 :2 index:4 >value:8"),
            [9] = new("pagetable_dying", "domid:2"),
            [5] = new("flush_tlbs"),
            [10] = new("get_time"),
            [11] = new("xentrace"),
            [15] = new("get_mem_type", "domid:2 >mem_type:2 :4 pfn:8"),
            [24] = new("guest_request_vm_event"),
            [25] = new("altp2m"),
            [23] = new("set_evtchn_upcall_vector", "vcpu:4 vector:1"),
        }),
        [35] = new("sysctl", -1, [], None),
        [36] = new("domctl", -1, [], None),
        [41] = new("dm_op", -1, [], None),
        [48] = new("mca", -1, [], None),
    }.ToFrozenDictionary();

    private static Dictionary<uint, OperationShape> None => [];

    /// <summary>The shape of a hypercall; null for one that nobody knows.</summary>
    internal static HypercallShape? Find(ulong number) => All.GetValueOrDefault(number);
}
