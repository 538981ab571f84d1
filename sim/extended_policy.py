"""`extender:C.yaml`: kube-default with that KubeSchedulerConfiguration, which must name an extender."""

from __future__ import annotations

from pathlib import Path

from policies.api import Policy
from policies.catalogue import Parts, make_policy
from sim.kube_configuration import read_kube_configuration
from sim.run import InputError


def extended_policy(spec: str, parts: Parts) -> tuple[Policy, dict[str, str]]:
    """The policy, which is to be closed, and its parameters. Raises `InputError` with everything that is wrong."""
    path = Path(spec.partition(":")[2])
    found = read_kube_configuration(path)
    if not found.configuration.extenders:
        raise InputError(f"--policy {spec}: {path} has no extenders; kube-default with --scheduler-config needs none")
    policy = make_policy("kube-default", found.into(parts))
    policy.name = spec
    return policy, {
        "configuration": found.path,
        "sha256": found.sha256,
        "extenders": ", ".join(each.url_prefix for each in found.configuration.extenders),
    }
