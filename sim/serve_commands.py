"""`rehearse serve`: the policy that was rehearsed, deployed. `extender` answers kube-scheduler."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sim.console import note
from sim.run import InputError, choose_policy, close_policy
from sim.serve_journal import journal_of, journal_options

if TYPE_CHECKING:
    from policies.api import Policy, QueueView, Semantics
    from policies.catalogue import Parts
    from policies.deployability import Deployability
    from policies.kube.devices import DeviceKinds
    from policies.placement.fragmentation import TypicalPod
    from policies.serving.extender_server import ExtenderOptions

EXTRA: Final = frozenset(
    ("aiohttp", "httptools", "kubernetes_asyncio", "orjson", "prometheus_client", "starlette", "uvicorn")
)
"""What `rehearse[serve]` brings."""

MODULES: Final = {"extender": "sim.serve_commands", "scheduler": "sim.serve_scheduler_command"}
"""Command -> where it is defined. The last one is loaded when it is called."""


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of `MODULES`."""
        del ctx
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import it."""
        del ctx
        if cmd_name not in MODULES:
            return None
        command: click.Command = getattr(importlib.import_module(MODULES[cmd_name]), cmd_name)
        return command


@click.group(cls=_Group)
def serve() -> None:
    """Serve a policy to Kubernetes. Needs the extra `rehearse[serve]`."""


@click.command()
@click.option("--policy", required=True, help="Catalogue name with parameters, or package.module:Object.")
@click.option("--placement-only", is_flag=True, help="Serve where it places, though it also orders the queue.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8888, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--prefix", default="", help="Path before the verbs, as in urlPrefix.")
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), help="The API server whose pods and nodes are watched."
)
@click.option("--context", help="Of the kubeconfig.")
@click.option("--in-cluster", is_flag=True, help="The API server of the cluster that this runs in.")
@click.option("--queues", metavar="CLUSTER", help="Fleet whose queues give the entitlements of quota=keep.")
@click.option("--typical-pods", metavar="FILE", help="Pod list that gives the mix for place=fgd.")
@click.option("--seed", default=0, show_default=True, help="For placements that draw.")
@click.option(
    "--assume", default=0, type=click.IntRange(0, 60_000), metavar="MS", help="Count the best node as taken."
)
@journal_options
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate in PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its key.")
@click.option("--client-ca", type=click.Path(path_type=Path), help="Serve only clients that this authority signed.")
@click.option("--request-limit", default=4500, show_default=True, type=click.IntRange(100), metavar="MS")
@click.option("--body-limit", default=64, show_default=True, type=click.IntRange(1, 1024), metavar="MIB")
@click.option("--waiting", default=32, show_default=True, type=click.IntRange(1), help="Requests that may wait.")
@click.option("--connections", default=1024, show_default=True, type=click.IntRange(2), help="That may be open.")
def extender(policy: str, placement_only: bool, **flags: Any) -> None:
    """Answer kube-scheduler as an HTTP extender (v1: filter, prioritize, preempt, bind), until SIGTERM."""
    options = with_extra(lambda: _options(flags))
    chosen, deployed = _servable(policy, flags["typical_pods"], flags["seed"], placement_only=placement_only)
    try:
        queues = queues_for(policy, chosen.semantics(), flags["queues"])
        ended = _run(policy, chosen, deployed, options, queues, flags=flags)
    finally:
        close_policy(chosen)
    if not ended:
        sys.stdout.flush()
        os._exit(1)  # because: the thread of a policy that never ends would be waited for


def with_extra(load: Callable[[], Any]) -> Any:
    """What `load` gives. Raises `InputError` where the libraries of the extra are missing."""
    try:
        return load()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        raise InputError(f"serve needs the extra: pip install 'rehearse[serve]' ({error.name} is missing)") from None


def queues_for(spec: str, said: Semantics, given: str | None) -> dict[str, QueueView]:
    """The queues of anything that `--cluster` takes; a policy that keeps entitlements cannot do without."""
    if given is None:
        if said.quota != "not kept":
            raise InputError(f"--policy {spec}: it keeps entitlements, and --queues says which there are")
        return {}
    from sim.fleet.load import load_fleet
    from sim.fleet.table import queues_of

    queues = queues_of(load_fleet(given).fleet)
    if not queues:
        raise InputError(f"--queues {given}: this fleet has no queues")
    return queues


def parts_of(typical_pods: str | None, seed: int) -> Parts:
    """What placements are handed: random streams, and the mix of a pod list if there is one."""
    from policies.catalogue import Parts
    from policies.topology import DEVICES_MAX, Node, Topology
    from sim.metrics.fragmentation import own_mix
    from sim.streams import Streams
    from traces.registry import read_trace

    mix: tuple[TypicalPod, ...] = ()
    if typical_pods is not None:
        # because: the nodes are not known yet; a job that gives only a total of devices counts as one pod
        mix = own_mix(read_trace(Path(typical_pods), None).records, Topology([Node("any", devices=DEVICES_MAX)]))
    return Parts(generator=Streams(seed).generator, typical_pods=mix)


def _servable(
    spec: str, typical_pods: str | None, seed: int, *, placement_only: bool
) -> tuple[Policy, Deployability]:
    """The policy, if an extender can serve it. Raises `InputError` with the reason why not."""
    from policies.deployability import EXTENDER, deployability

    chosen = choose_policy(spec, parts_of(typical_pods, seed), oracle=True)
    found = deployability(chosen.policy, chosen.semantics)
    if EXTENDER in found.routes or (placement_only and found.placement_only):
        return chosen.policy, found
    close_policy(chosen.policy)
    hint = "; --placement-only serves where it places, and leaves the order to kube-scheduler"
    raise InputError(f"--policy {spec}: {found.text}{hint if found.placement_only else ''}")


def _options(flags: dict[str, Any]) -> ExtenderOptions:
    from policies.serving.extender_server import ExtenderOptions
    from policies.serving.http import Limits, Tls

    cert, key, client_ca = flags["tls_cert"], flags["tls_key"], flags["client_ca"]
    problems = []
    if (cert is None) != (key is None):
        problems.append("--tls-cert and --tls-key go together")
    if client_ca is not None and cert is None:
        problems.append("--client-ca needs --tls-cert and --tls-key")
    if flags["kubeconfig"] is not None and flags["in_cluster"]:
        problems.append("--kubeconfig and --in-cluster: give one of them")
    if flags["context"] is not None and flags["kubeconfig"] is None:
        problems.append("--context needs --kubeconfig")
    if not re.fullmatch(r"[A-Za-z0-9._~/-]*", flags["prefix"]):
        problems.append(f"--prefix {flags['prefix']}: letters, digits and ._~- between slashes")
    if problems:
        raise InputError("\n".join(problems))
    return ExtenderOptions(
        host=flags["host"],
        port=flags["port"],
        prefix="/".join(["", *filter(None, flags["prefix"].split("/"))]) if flags["prefix"].strip("/") else "",
        kubeconfig=flags["kubeconfig"],
        context=flags["context"],
        in_cluster=flags["in_cluster"],
        limits=Limits(
            body_bytes=flags["body_limit"] << 20,
            request_s=flags["request_limit"] / 1000,
            waiting=flags["waiting"],
            connections=flags["connections"],
            stop_s=flags["request_limit"] / 1000 + 1.5,
        ),
        tls=None if cert is None else Tls(cert=cert, key=key, client_ca=client_ca),
    )


def _run(
    spec: str,
    policy: Policy,
    deployed: Deployability,
    options: ExtenderOptions,
    queues: dict[str, QueueView],
    *,
    flags: dict[str, Any],
) -> bool:
    """Serve; True if everything ended that was in work."""
    import asyncio

    from policies.serving.api import ConnectionSetupError
    from policies.serving.clock import SystemClock
    from policies.serving.cluster import Cluster
    from policies.serving.desk import Desk
    from policies.serving.extender import PolicyExtender
    from policies.serving.extender_server import run_extender
    from policies.serving.http import ServerSetupError
    from policies.serving.logs import log_json
    from sim.fleet.kinds import device_kinds

    kinds: DeviceKinds = device_kinds()
    clock = SystemClock()
    cluster = Cluster(kinds, ours=lambda _: False, queues=queues)  # because: the queue is kube-scheduler's
    assume_ms = flags["assume"]
    recorder = journal_of(
        flags, driver="extender", policy=spec, cluster=cluster, configuration={"assume_ms": assume_ms}
    )
    desk = Desk(cluster, policy, clock=clock.now_ms, recorder=recorder)
    served = PolicyExtender(cluster, policy, kinds, assume_ms=assume_ms)
    log_json()

    def announce(url: str) -> None:
        click.echo(f"{spec} at {url}: filter, prioritize, preempt, bind")
        note(f"deployment: {deployed.text}")

    try:
        detail = {"deployment": deployed.text}
        return asyncio.run(run_extender(desk, served, options, announce=announce, detail=lambda: detail, clock=clock))
    except (ConnectionSetupError, ServerSetupError) as error:
        raise InputError(str(error)) from error
    finally:
        if recorder is not None:
            recorder.close()
