"""`rehearse serve scheduler`: a policy as a scheduler of its own, for pods that name it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from sim.console import note
from sim.run import InputError, choose_policy, close_policy
from sim.serve_commands import parts_of, queues_for, with_extra
from sim.serve_journal import journal_of, journal_options

if TYPE_CHECKING:
    from policies.api import Policy, QueueView
    from policies.serving.scheduler_server import ServeOptions


@click.command()
@click.option("--policy", required=True, help="Catalogue name with parameters, or package.module:Object.")
@click.option("--name", default="rehearse", show_default=True, help="schedulerName of the pods that it places.")
@click.option("--kubeconfig", type=click.Path(), help="Else KUBECONFIG, ~/.kube/config, or the account of the pod.")
@click.option("--context", help="Of the kubeconfig.")
@click.option("--in-cluster", is_flag=True, help="The account of the pod that this runs in.")
@click.option("--cycle", metavar="LENGTH", help="Decide at multiples of this only, such as 1s; else on each change.")
@click.option("--patience", default="5m", show_default=True, metavar="LENGTH", help="How long to wait for victims.")
@click.option("--leader-elect/--no-leader-elect", default=True, show_default=True, help="Of several, one decides.")
@click.option("--lease", default="kube-system/rehearse-scheduler", show_default=True, metavar="NAMESPACE/NAME")
@click.option("--lease-duration", default="15s", show_default=True, metavar="LENGTH")
@click.option("--renew-deadline", default="10s", show_default=True, metavar="LENGTH")
@click.option("--retry-period", default="2s", show_default=True, metavar="LENGTH")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of health and metrics.")
@click.option("--port", default=8889, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--queues", metavar="CLUSTER", help="Fleet whose queues give the entitlements of quota=keep.")
@click.option("--typical-pods", metavar="FILE", help="Pod list that gives the mix for place=fgd.")
@click.option("--seed", default=0, show_default=True, help="For placements that draw.")
@journal_options
def scheduler(policy: str, **flags: Any) -> None:
    """Schedule the pods that name this scheduler: order, gangs, placement and preemption by the policy, until SIGTERM."""
    options = with_extra(lambda: _options(flags))
    chosen = choose_policy(policy, parts_of(flags["typical_pods"], flags["seed"])).policy
    try:
        said = chosen.semantics()
        if said.peeks:
            raise InputError(f"--policy {policy}: it reads true run times, which no scheduler has")
        queues = queues_for(policy, said, flags["queues"])
        ended = _run(policy, chosen, options, queues, flags)
    finally:
        close_policy(chosen)
    if not ended:
        import os

        sys.stdout.flush()
        os._exit(1)  # because: the thread of a policy that never ends would be waited for


def _options(flags: dict[str, Any]) -> ServeOptions:
    """Everything that is wrong with the flags is said at once. Raises `InputError`."""
    from policies.serving.leader import LeaseTerms
    from policies.serving.scheduler import SchedulerOptions
    from policies.serving.scheduler_server import ServeOptions

    problems: list[str] = []
    ms = {key: _length_ms(flags, key, problems) for key in LENGTHS}
    namespace, slash, name = flags["lease"].partition("/")
    if not namespace or not slash or not name or "/" in name:
        problems.append(f"--lease {flags['lease']}: must be NAMESPACE/NAME")
    if flags["kubeconfig"] is not None and flags["in_cluster"]:
        problems.append("--kubeconfig and --in-cluster: give one of them")
    if flags["context"] is not None and flags["in_cluster"]:
        problems.append("--context is of a kubeconfig")
    lease = None
    if flags["leader_elect"] and not problems:
        try:
            lease = LeaseTerms(
                namespace=namespace,
                name=name,
                lease_s=ms["lease_duration"] / 1000,
                renew_s=ms["renew_deadline"] / 1000,
                retry_s=ms["retry_period"] / 1000,
            )
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return ServeOptions(
        host=flags["host"],
        port=flags["port"],
        kubeconfig=flags["kubeconfig"],
        context=flags["context"],
        in_cluster=flags["in_cluster"] or None,
        lease=lease,
        scheduler=SchedulerOptions(name=flags["name"], cycle_ms=ms["cycle"], patience_ms=ms["patience"]),
    )


LENGTHS = ("cycle", "patience", "lease_duration", "renew_deadline", "retry_period")


def _length_ms(flags: dict[str, Any], key: str, problems: list[str]) -> int:
    from sim.experiment.durations import parse_duration

    given = flags[key]
    if given is None:
        return 0
    try:
        found = parse_duration(given)
    except ValueError as error:
        problems.append(f"--{key.replace('_', '-')} {given}: {error}")
        return 0
    if found <= 0:
        problems.append(f"--{key.replace('_', '-')} {given}: must be longer than nothing")
    return found


def _run(
    spec: str, policy: Policy, options: ServeOptions, queues: dict[str, QueueView], flags: dict[str, Any]
) -> bool:
    """Serve; True if everything ended that was in work."""
    import asyncio

    from policies.serving.api import ConnectionSetupError
    from policies.serving.clock import SystemClock
    from policies.serving.desk import Desk
    from policies.serving.http import ServerSetupError
    from policies.serving.logs import log_json
    from policies.serving.rules import keeps_pod_rules
    from policies.serving.scheduler_cluster import cluster_for
    from policies.serving.scheduler_server import run_scheduler
    from sim.fleet.kinds import device_kinds

    clock = SystemClock()
    name = options.scheduler.name
    cluster = cluster_for(policy, name, device_kinds(), queues=queues)
    configuration = {
        "scheduler_name": name,
        "labels": keeps_pod_rules(policy),
        "cycle_ms": options.scheduler.cycle_ms,
        "patience_ms": options.scheduler.patience_ms,
    }
    recorder = journal_of(flags, driver="scheduler", policy=spec, cluster=cluster, configuration=configuration)
    desk = Desk(cluster, policy, clock=clock.now_ms, recorder=recorder)
    log_json()

    def announce(url: str, api_server: str) -> None:
        click.echo(f"{spec} schedules pods with schedulerName {name} of {api_server}")
        note(f"health and metrics at {url}")

    try:
        return asyncio.run(
            run_scheduler(desk, options, announce=announce, detail=lambda: {"spec": spec}, clock=clock)
        )
    except (ConnectionSetupError, ServerSetupError) as error:
        raise InputError(str(error)) from error
    finally:
        if recorder is not None:
            recorder.close()
