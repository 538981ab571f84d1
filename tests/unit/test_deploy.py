"""The manifests under `deploy/`: well formed, of one piece, with the rights that are needed and the flags that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from deploy_schemas import SCHEMAS

from policies.kube.plugins import DEFAULTS
from policies.serving.metrics import Metrics
from policies.serving.needs import NEEDS
from policies.serving.scheduler_metrics import SchedulerMetrics
from sim.kube_configuration import load_kube_configuration
from sim.serve_commands import serve

DEPLOY = Path(__file__).parents[2] / "deploy"
CONFIGURATION = DEPLOY / "kube-scheduler" / "configuration.yaml"
FILES = sorted(path for path in DEPLOY.rglob("*.yaml") if path != CONFIGURATION)
FOLDERS = [path.parent for path in FILES if path.name == "kustomization.yaml"]
ADAPTED = {"best-effort-fifo:place=best-fit", "easy:place=best-fit"}

Item = dict[str, Any]


def relative(path: Path) -> str:
    return path.relative_to(DEPLOY).as_posix()


def documents(path: Path) -> list[Item]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each is not None]


def built(folder: Path, *, components: bool = False) -> list[Item]:
    """The objects of a kustomization: what its resources list, folders too."""
    said = documents(folder / "kustomization.yaml")[0]
    names = [*said.get("resources", ()), *(["bind"] if components and (folder / "bind").exists() else ())]
    found: list[Item] = []
    for name in names:
        path = folder / name
        found += built(path) if path.is_dir() else documents(path)
    return found


def of_kind(items: list[Item], *kinds: str) -> list[Item]:
    return [item for item in items if item["kind"] in kinds]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_object_keeps_its_schema(path):
    for item in documents(path):
        jsonschema.validate(item, SCHEMAS[item["kind"]], jsonschema.Draft202012Validator)


def test_the_schemas_find_what_the_api_server_would():
    deployment = of_kind(built(DEPLOY / "extender"), "Deployment")[0]
    for spoil in (
        lambda spec: spec["containers"][0].pop("image"),
        lambda spec: spec["containers"][0].update(livenesProbe={}),
        lambda spec: spec["containers"][0].update(args="serve"),
        lambda spec: spec.update(volumes=[{"name": "x", "emptydir": {}}]),
        lambda spec: spec["containers"][0]["resources"].update(limits={"memory": 1}),
    ):
        copy = yaml.safe_load(yaml.safe_dump(deployment))
        spoil(copy["spec"]["template"]["spec"])
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(copy, SCHEMAS["Deployment"])


def test_every_file_is_part_of_a_kustomization():
    listed = {CONFIGURATION}
    for folder in FOLDERS:
        said = documents(folder / "kustomization.yaml")[0]
        assert all((folder / name).exists() for name in said.get("resources", ())), folder
        listed |= {(folder / name).resolve() for name in said.get("resources", ())}
        listed |= {folder / "kustomization.yaml"}
        listed |= {folder / name for each in said.get("configMapGenerator", ()) for name in each["files"]}
    assert {path for path in FILES if path not in listed} == set()


@pytest.mark.parametrize("folder", [each for each in FOLDERS if each.name != "bind"], ids=relative)
def test_what_belongs_together_has_the_same_names(folder):
    items = built(folder, components=True)
    accounts = {each["metadata"]["name"] for each in of_kind(items, "ServiceAccount")}
    roles = {(each["kind"], each["metadata"]["name"]) for each in of_kind(items, "Role", "ClusterRole")}
    maps = {each["name"] for each in documents(folder / "kustomization.yaml")[0].get("configMapGenerator", ())}
    for binding in of_kind(items, "RoleBinding", "ClusterRoleBinding"):
        role = (binding["roleRef"]["kind"], binding["roleRef"]["name"])
        assert role in roles or role[1].startswith("system:")
        assert all(each["name"] in accounts for each in binding["subjects"])
    for deployment in of_kind(items, "Deployment"):
        template = deployment["spec"]["template"]
        labels, pod = template["metadata"]["labels"], template["spec"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert pod["serviceAccountName"] in accounts
        volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
        ports = {port["name"] for container in pod["containers"] for port in container["ports"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert container.get(probe, {}).get("httpGet", {}).get("port") in ports | {None}
        assert {volume["configMap"]["name"] for volume in volumes.values() if "configMap" in volume} <= maps
        for kind, key in (
            ("Service", "selector"),
            ("PodDisruptionBudget", "selector"),
            ("NetworkPolicy", "podSelector"),
        ):
            for other in of_kind(items, kind):
                chosen = other["spec"][key]
                assert chosen.get("matchLabels", chosen).items() <= labels.items(), (kind, chosen)


@pytest.mark.parametrize("folder", [each for each in FOLDERS if (each / "deployment.yaml").exists()], ids=relative)
def test_no_pod_may_more_than_it_must(folder):
    items = built(folder)
    (deployment,) = of_kind(items, "Deployment")
    assert deployment["spec"]["replicas"] >= 2
    assert of_kind(items, "PodDisruptionBudget")
    pod = deployment["spec"]["template"]["spec"]
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        assert {"readinessProbe", "livenessProbe"} <= container.keys()
    (account,) = of_kind(items, "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    (namespace,) = of_kind(items, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def granted(items: list[Item]) -> set[tuple[bool, str, str, str]]:
    """(in its own namespace only, group, resource, verb) of all roles."""
    return {
        (role["kind"] == "Role", group, resource, verb)
        for role in of_kind(items, "Role", "ClusterRole")
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def needed(command: str, *, conditional: bool) -> set[tuple[bool, str, str, str]]:
    return {
        (need.own_namespace, need.group, need.resource, verb)
        for need in NEEDS[command]
        for verb in need.verbs
        if conditional or not need.only_if
    }


@pytest.mark.parametrize("command", NEEDS)
def test_rights_are_those_that_the_code_uses(command):
    assert granted(built(DEPLOY / command)) == needed(command, conditional=False)
    assert granted(built(DEPLOY / command, components=True)) == needed(command, conditional=True)


def served() -> list[tuple[str, list[str]]]:
    """The command lines of `rehearse` in the manifests, with their files."""
    return [
        (relative(path), container["args"])
        for path in FILES
        for item in of_kind(documents(path), "Deployment")
        for container in item["spec"]["template"]["spec"]["containers"]
        if container["image"] == "rehearse"
    ]


@pytest.mark.parametrize(("path", "args"), served(), ids=[path for path, _ in served()])
def test_every_flag_exists_and_takes_its_value(path, args):
    group, name, *words = args
    assert group == "serve"
    command = serve.get_command(None, name)
    context = command.make_context(name, list(words))
    assert context.params["policy"] in ADAPTED
    assert context.params["in_cluster"] is True
    pod = documents(DEPLOY / path)[0]["spec"]["template"]["spec"]
    mounted = [Path(mount["mountPath"]) for mount in pod["containers"][0]["volumeMounts"]]
    for value in context.params.values():
        if isinstance(value, Path):
            assert any(value.is_relative_to(mount) for mount in mounted), f"{value} is on no volume"
    ports = [port["containerPort"] for port in pod["containers"][0]["ports"]]
    assert ports == [context.params["port"]]
    annotations = documents(DEPLOY / path)[0]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports[0])


def test_the_configuration_is_one_that_kube_scheduler_runs():
    configuration = load_kube_configuration(CONFIGURATION)
    (extender,) = configuration.extenders
    assert extender.node_cache_capable
    assert not extender.ignorable
    assert configuration.percentage == 100
    assert not extender.preempt_verb, "the policy of the manifest does not preempt"
    service = of_kind(built(DEPLOY / "extender"), "Service")[0]["spec"]["ports"][0]["port"]
    assert extender.url_prefix == f"https://rehearse-extender.rehearse.svc:{service}"
    in_tree = 100 * sum(plugin.weight for plugin in DEFAULTS.values() if "score" in plugin.points)
    assert in_tree == 1500, "the comment in the file names it"
    assert 10 * extender.weight > in_tree, "one rank more than all plugins together"
    deployment = of_kind(built(DEPLOY / "kube-scheduler"), "Deployment")[0]["spec"]["template"]["spec"]
    mounts = {mount["mountPath"] for mount in deployment["containers"][0]["volumeMounts"]}
    assert str(Path(extender.tls.ca_file).parent) in mounts
    lease = yaml.safe_load(CONFIGURATION.read_text())["leaderElection"]
    roles = of_kind(built(DEPLOY / "kube-scheduler"), "Role")
    assert [lease["resourceName"]] in [rule.get("resourceNames") for role in roles for rule in role["rules"]]


def test_the_image_is_built_of_what_is_there():
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    assert re.search(r"^ARG BASE=", text, re.MULTILINE)
    assert re.search(r"^USER (?!0)\d+:\d+$", text, re.MULTILINE)
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        *sources, _ = line.split()
        assert all((DEPLOY.parent / source).exists() for source in sources), line
    assert not re.search(r"^(ADD|RUN curl)", text, re.MULTILINE)


GUIDE = (DEPLOY.parent / "docs" / "how-to" / "deploy-a-policy.md").read_text(encoding="utf-8")


def test_the_guide_speaks_of_what_is_there():
    for named in re.findall(r"\bdeploy/[\w./-]+", GUIDE):
        assert (DEPLOY.parent / named).exists(), named
    metrics = Metrics()
    SchedulerMetrics(metrics)
    counted = metrics.text().decode()
    for metric in re.findall(r"`(rehearse_\w+)", GUIDE):
        assert re.search(rf"^# TYPE {metric} ", counted, re.MULTILINE), metric
    weight = load_kube_configuration(CONFIGURATION).extenders[0].weight
    assert f"weight {weight}: one rank outweighs all plugins" in GUIDE
