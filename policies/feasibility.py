"""May this placement be applied now? The one check that the simulator and the production drivers share."""

from __future__ import annotations

from policies import bitset
from policies.api import DEVICE_MILLI, Placement, Request, Share
from policies.nodes import UNLIMITED, NodeTable


def why_not(request: Request, placement: Placement, nodes: NodeTable) -> str | None:
    """None if the whole gang fits on exactly these devices now; else the reason, for people."""
    try:
        if not isinstance(placement, tuple):
            raise TypeError  # noqa: TRY301  # because: everything malformed gets the one answer below
        return _first_fault(request, placement, nodes)
    except (TypeError, ValueError, AttributeError, IndexError):
        return f"not a placement: {placement!r} (a tuple of Share is needed)"


def _first_fault(request: Request, placement: Placement, nodes: NodeTable) -> str | None:
    used: dict[int, list[Share]] = {}
    eligible = request.eligible
    for raw in placement:
        node, mask, pods, group = raw
        share = Share(node, mask, pods, group)
        fault = _share_fault(request, share, nodes, eligible)
        if fault:
            return fault
        used.setdefault(share.node, []).append(share)
    fault = _missing_pods(request, placement)
    if fault:
        return fault
    for node, shares in used.items():
        fault = _node_fault(request, node, shares, nodes)
        if fault:
            return fault
    return None


def _missing_pods(request: Request, placement: Placement) -> str | None:
    missing = [group.pods for group in request.gang]
    for _, _, pods, group_number in placement:
        missing[group_number] -= pods
    for group, pods in zip(request.gang, missing, strict=True):
        if pods:
            verb = "lacks" if pods > 0 else "has too many:"
            return f"the gang {verb} {abs(pods)} of {group.pods} pods of {group.devices} devices"
    return None


def _share_fault(request: Request, share: Share, nodes: NodeTable, eligible: int) -> str | None:
    if not all(isinstance(part, int) for part in share):
        return f"not a placement: {share!r} has parts that are not integers"
    if not 0 <= share.node < len(nodes):
        return f"there is no server {share.node}"
    if not 0 <= share.group < len(request.gang):
        return f"the gang has no group {share.group}"
    if share.pods < 1:
        return f"{share.pods} pods on {nodes.topology.nodes[share.node].name}"
    if not eligible >> share.node & 1:
        return f"{nodes.topology.nodes[share.node].name} is of a kind that the job does not allow"
    needed = share.pods * request.gang[share.group].devices
    if share.device_mask < 0 or share.device_mask.bit_count() != needed:
        return f"{share.pods} pods need {needed} devices, the placement names {_devices(share)}"
    if share.device_mask >> nodes.topology.nodes[share.node].devices:
        name = nodes.topology.nodes[share.node].name
        return f"{name} has no device {share.device_mask.bit_length() - 1}"
    return None


def _node_fault(request: Request, node: int, shares: list[Share], nodes: NodeTable) -> str | None:
    name = nodes.topology.nodes[node].name
    taken: dict[int, int] = {}
    pods = cpu = memory = 0
    for share in shares:
        group = request.gang[share.group]
        pods += share.pods
        cpu += share.pods * group.cpu_milli
        memory += share.pods * group.memory_mib
        for device in bitset.bits(share.device_mask):
            taken[device] = taken.get(device, 0) + request.device_milli
    partial = nodes.partial.get(node, {})
    for device, milli in taken.items():
        left = partial.get(device, DEVICE_MILLI if nodes.idle_mask[node] >> device & 1 else 0)
        if milli > left:
            return f"device {device} of {name} has {left} of {DEVICE_MILLI} milli-devices left, {milli} are needed"
    for what, needed, left in (
        ("milli-cores", cpu, nodes.cpu_left[node]),
        ("MiB of memory", memory, nodes.memory_left[node]),
        ("pods", pods, nodes.pods_left[node]),
    ):
        if left < UNLIMITED and needed > left:
            return f"{name} has {left} {what} left, {needed} are needed"
    return None


def _devices(share: Share) -> str:
    return f"[{bitset.ranges(share.device_mask)}]" if share.device_mask > 0 else "none"
