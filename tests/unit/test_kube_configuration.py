"""KubeSchedulerConfiguration: read without change, and everything that is wrong said at once with its path."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from policies.kube.configuration import (
    Configuration,
    ConfigurationError,
    ExtenderConfig,
    ManagedResource,
    PreemptionArgs,
    Profile,
    ResourceWeight,
    ShapePoint,
    TlsConfig,
)
from policies.kube.configuration_reader import read_configuration
from policies.kube.fields import duration_ms
from policies.kube.terms import NodeTerm, PreferredNode, Requirement
from sim.kube_configuration import load_kube_configuration
from sim.run import InputError

HEAD = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}


def read(**more) -> Configuration:
    return read_configuration({**HEAD, **more})


def profile(**more) -> Profile:
    return read(profiles=[more]).profile()


def args(plugin, **values):
    return profile(pluginConfig=[{"name": plugin, "args": values}])


def faults(**more) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as error:
        read(**more)
    return {fault.path: fault.reason for fault in error.value.faults}


def test_nothing_said_is_the_default():
    found = read(leaderElection={"leaderElect": False}, parallelism=16, clientConnection={"qps": 50})
    assert found.profiles == (Profile(),)
    assert (found.percentage, found.backoff_initial_ms, found.backoff_max_ms) == (0, 1000, 10_000)
    assert found.extenders == ()
    assert [note.path for note in found.notes] == ["profiles"]
    assert "VolumeBinding" in found.notes[0].reason
    assert dict(Profile().scores)["TaintToleration"] == 3
    assert Profile().preempts


def test_the_whole_of_it():
    found = read(
        percentageOfNodesToScore=30,
        podInitialBackoffSeconds=2,
        podMaxBackoffSeconds=20,
        profiles=[{"schedulerName": "a"}, {"schedulerName": "b", "percentageOfNodesToScore": 0}],
    )
    assert [each.scheduler_name for each in found.profiles] == ["a", "b"]
    assert [found.percentage_of(each) for each in found.profiles] == [30, 0]
    assert found.profile("b") is found.profiles[1]
    with pytest.raises(KeyError):
        found.profile("c")
    assert (found.backoff_initial_ms, found.backoff_max_ms) == (2000, 20_000)


def test_arguments_of_plugins():
    ratio = {
        "type": "RequestedToCapacityRatio",
        "resources": [{"name": "nvidia.com/gpu", "weight": 3}, {"name": "cpu"}],
    }
    shape = [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]
    fit = args(
        "NodeResourcesFit",
        kind="NodeResourcesFitArgs",
        apiVersion="kubescheduler.config.k8s.io/v1",
        scoringStrategy={**ratio, "requestedToCapacityRatio": {"shape": shape}},
        ignoredResources=["example.com/a"],
        ignoredResourceGroups=["example.org"],
    ).fit
    assert fit.strategy == "RequestedToCapacityRatio"
    assert fit.resources == (ResourceWeight("nvidia.com/gpu", 3), ResourceWeight("cpu", 1))
    assert fit.shape == (ShapePoint(0, 0), ShapePoint(100, 10))
    assert fit.ignored_resources == {"example.com/a"}
    assert fit.ignored_groups == {"example.org"}
    balanced = args("NodeResourcesBalancedAllocation", resources=[{"name": "nvidia.com/gpu", "weight": 1}])
    assert balanced.balanced == (ResourceWeight("nvidia.com/gpu", 1),)
    affinity = args("InterPodAffinity", hardPodAffinityWeight=0, ignorePreferredTermsOfExistingPods=True)
    assert (affinity.hard_pod_affinity_weight, affinity.ignore_preferred_terms_of_existing) == (0, True)
    assert args("DefaultPreemption", minCandidateNodesPercentage=5).preemption == PreemptionArgs(
        min_candidate_percentage=5
    )
    expression = {"matchExpressions": [{"key": "k", "operator": "Exists"}]}
    added = args(
        "NodeAffinity",
        addedAffinity={
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [expression]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 3, "preference": expression}],
        },
    )
    term = NodeTerm((Requirement("k", "Exists"),))
    assert added.added_required == (term,)
    assert added.added_preferred == (PreferredNode(3, term),)


def test_default_spreading_is_noted():
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    found = read(
        profiles=[
            {
                "pluginConfig": [
                    {
                        "name": "PodTopologySpread",
                        "args": {"defaultConstraints": [constraint], "defaultingType": "List"},
                    },
                    {"name": "VolumeBinding", "args": {"bindTimeoutSeconds": 600}},
                ]
            }
        ]
    )
    assert found.profile().spread_defaults[0].topology_key == "zone"
    notes = {note.path: note.reason for note in found.notes}
    assert "no pod is spread by default" in notes["profiles[0].pluginConfig[0].args.defaultConstraints"]
    assert "VolumeBinding is not modelled" in notes["profiles[0].pluginConfig[1].args"]


# -- which plugins act ---------------------------------------------------------------------------------------------


def test_a_plugin_can_be_taken_out_everywhere_or_at_one_point():
    everywhere = profile(plugins={"multiPoint": {"disabled": [{"name": "TaintToleration"}]}})
    assert "TaintToleration" not in everywhere.filters
    assert "TaintToleration" not in dict(everywhere.scores)
    score = profile(plugins={"score": {"disabled": [{"name": "TaintToleration"}]}})
    assert "TaintToleration" in score.filters
    assert "TaintToleration" not in dict(score.scores)
    bare = profile(
        plugins={"score": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeResourcesFit", "weight": 7}]}}
    )
    assert bare.scores == (("NodeResourcesFit", 7),)
    assert not profile(plugins={"postFilter": {"disabled": [{"name": "*"}]}}).preempts


def test_a_plugin_that_is_named_again_loses_its_default_weight_and_keeps_its_place():
    found = profile(
        plugins={"multiPoint": {"enabled": [{"name": "NodeAffinity"}, {"name": "ImageLocality", "weight": 9}]}}
    )
    assert dict(found.scores)["NodeAffinity"] == 1
    assert dict(found.scores)["ImageLocality"] == 9
    assert found.filters == Profile().filters
    only = {
        "disabled": [{"name": "*"}],
        "enabled": [{"name": "PrioritySort"}, {"name": "NodeResourcesFit"}, {"name": "NodeName"}],
    }
    assert profile(plugins={"multiPoint": only}).filters == ("NodeResourcesFit", "NodeName")
    first = profile(plugins={"filter": {"enabled": [{"name": "NodePorts"}]}})
    assert first.filters[0] == "NodePorts"


# -- extenders -----------------------------------------------------------------------------------------------------


def test_extenders():
    found = read(
        extenders=[
            {
                "urlPrefix": "https://127.0.0.1:9443/scheduler",
                "filterVerb": "filter",
                "prioritizeVerb": "prioritize",
                "preemptVerb": "preempt",
                "bindVerb": "bind",
                "weight": 5,
                "enableHTTPS": True,
                "tlsConfig": {"insecure": True, "caFile": "ca.pem", "certData": "Zm9v"},
                "httpTimeout": "1m30.5s",
                "nodeCacheCapable": True,
                "managedResources": [
                    {"name": "nvidia.com/gpu", "ignoredByScheduler": True},
                    {"name": "nvidia.com/gpumem"},
                ],
                "ignorable": True,
            },
            {"urlPrefix": "http://127.0.0.1:8888"},
        ]
    )
    first = ExtenderConfig(
        url_prefix="https://127.0.0.1:9443/scheduler",
        filter_verb="filter",
        prioritize_verb="prioritize",
        preempt_verb="preempt",
        bind_verb="bind",
        weight=5,
        enable_https=True,
        tls=TlsConfig(insecure=True, ca_file="ca.pem", cert_data="Zm9v"),
        http_timeout_ms=90_500,
        node_cache_capable=True,
        managed_resources=(
            ManagedResource(name="nvidia.com/gpu", ignored_by_scheduler=True),
            ManagedResource(name="nvidia.com/gpumem"),
        ),
        ignorable=True,
    )
    assert found.extenders == (first, ExtenderConfig(url_prefix="http://127.0.0.1:8888"))
    assert found.profile().fit.ignored_resources == {"nvidia.com/gpu"}


def test_durations_of_go():
    cases = {
        "5s": 5000,
        "1m30s": 90_000,
        "250ms": 250,
        "1.5h": 5_400_000,
        "1us": 1,
        "0": 0,
        "": None,
        "5": None,
        "5 s": None,
    }
    assert {text: duration_ms(text) for text in cases} == cases


# -- what is wrong ---------------------------------------------------------------------------------------------------


def test_everything_that_is_wrong_at_once():
    found = faults(
        percentageOfNodesToScores=5,
        percentageOfNodesToScore=101,
        podInitialBackoffSeconds=20,
        profiles=[
            {
                "schedulerNam": "x",
                "pluginConfig": [
                    {
                        "name": "NodeResourcesFit",
                        "args": {"scoringStrategy": {"type": "MostAlocated", "resources": [{"weight": 101}]}},
                    },
                    {"name": "NodeResourcesFits"},
                    {"name": "NodeResourcesFit"},
                    {"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": True, "kind": "NodeAffinityArgs"}},
                ],
                "plugins": {
                    "filters": {},
                    "filter": {"enabled": [{"name": "ImageLocality"}, {"name": "Coscheduling"}]},
                    "multiPoint": {"enabled": [{"name": "NodeName"}, {"name": "NodeName"}]},
                    "queueSort": {"disabled": [{"name": "*"}]},
                },
            },
            {"schedulerName": "default-scheduler"},
            7,
        ],
        extenders=[
            {"prioritizeVerb": "p", "bindVerb": "b", "httpTimeout": "5", "managedResources": [{"name": "gpu"}]},
            {"urlPrefix": "http://x", "bindVerb": "b", "tlsConfig": {"cafile": "x"}, "managedResources": [{"name": "gpu"}]},
        ],
    )  # fmt: skip
    assert found == {
        "percentageOfNodesToScores": "is not known here; did you mean 'percentageOfNodesToScore'?",
        "percentageOfNodesToScore": "must be a whole number from 0 to 100, got 101",
        "podMaxBackoffSeconds": "must not be less than podInitialBackoffSeconds (20), got 10",
        "profiles[0].schedulerNam": "is not known here; did you mean 'schedulerName'?",
        "profiles[0].pluginConfig[0].args.scoringStrategy.type": "must not be 'MostAlocated'; did you mean 'MostAllocated'?",
        "profiles[0].pluginConfig[0].args.scoringStrategy.resources[0].name": "is required",
        "profiles[0].pluginConfig[0].args.scoringStrategy.resources[0].weight": "must be a whole number from 0 to 100, got 101",
        "profiles[0].pluginConfig[1].name": "kube-scheduler has no plugin 'NodeResourcesFits'; did you mean 'NodeResourcesFit'?",
        "profiles[0].pluginConfig[2].name": "'NodeResourcesFit' is given twice",
        "profiles[0].pluginConfig[3].args.hardPodAffinityWeight": "must be a whole number from 0 to 100, got True",
        "profiles[0].pluginConfig[3].args.kind": "must be InterPodAffinityArgs, got 'NodeAffinityArgs'",
        "profiles[0].plugins.filters": "is not known here; did you mean 'filter'?",
        "profiles[0].plugins.filter.enabled[0].name": "ImageLocality does not act at filter",
        "profiles[0].plugins.filter.enabled[1].name": found["profiles[0].plugins.filter.enabled[1].name"],
        "profiles[0].plugins.multiPoint.enabled[1].name": "'NodeName' is given twice",
        "profiles[0].plugins.queueSort": "PrioritySort, and no other, must sort the queue",
        "profiles[1].schedulerName": "'default-scheduler' is given twice",
        "profiles[2]": "must be a mapping, got 7",
        "profiles[2].schedulerName": "'default-scheduler' is given twice",
        "extenders": "at most one may have a bindVerb, got 2",
        "extenders[0].urlPrefix": "is required",
        "extenders[0].weight": "must be a whole number from 1 where prioritizeVerb is set",
        "extenders[0].httpTimeout": "must be a duration such as 5s or 1m30s, got '5'",
        "extenders[0].managedResources[0].name": "must be an extended resource such as example.com/gpu, got 'gpu'",
        "extenders[1].tlsConfig.cafile": "is not known here; did you mean 'caFile'?",
        "extenders[1].managedResources[0].name": found["extenders[1].managedResources[0].name"],
    }  # fmt: skip
    assert "no plugin 'Coscheduling' of its own" in found["profiles[0].plugins.filter.enabled[1].name"]


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (None, "must have at least one point"),
        ([{"utilization": 5, "score": 1}, {"utilization": 5, "score": 2}], "must be sorted by ascending utilization"),
        ([{"utilization": 5, "score": 11}], "must be a whole number from 0 to 10, got 11"),
        ("x", "must be a list, got 'x'"),
    ],
)
def test_shapes(shape, why):
    strategy = {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": shape}}
    found = faults(profiles=[{"pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}}]}])
    assert any(why in reason for reason in found.values())


@pytest.mark.parametrize(
    ("plugin", "values", "why"),
    [
        ("DefaultPreemption", {"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0}, "must not be 0"),
        ("NodeResourcesFit", {"ignoredResourceGroups": ["a/b"]}, "must not have a slash"),
        ("NodeResourcesFit", {"ignoredResources": [5]}, "must be text, got 5"),
        ("NodeResourcesBalancedAllocation", {"resources": [{"name": "cpu", "weight": 2}]}, "from 0 to 1, got 2"),
        ("NodeAffinity", {"addedAffinity": {"requiredDuringScheduling": {}}}, "did you mean 'requiredDuring"),
        (
            "PodTopologySpread",
            {"defaultConstraints": [{"topologyKey": "z", "labelSelector": {}}]},
            "must not be given",
        ),
        ("PodTopologySpread", {"defaultConstraints": [{"topologyKey": "z"}]}, "must be empty where"),
    ],
)
def test_arguments_that_cannot_be(plugin, values, why):
    found = faults(profiles=[{"pluginConfig": [{"name": plugin, "args": values}]}])
    assert any(why in reason for reason in found.values()), found


def test_versions():
    assert read_configuration({**HEAD, "apiVersion": "kubescheduler.config.k8s.io/v1beta3"}).profiles == (Profile(),)
    old = read_configuration({**HEAD, "apiVersion": "kubescheduler.config.k8s.io/v1beta2"})
    assert "default weights" in old.notes[0].reason
    for wrong, path in (
        ({"apiVersion": "v1"}, "apiVersion"),
        ({"kind": "Pod"}, "kind"),
        ({"apiVersion": None}, "apiVersion"),
    ):
        with pytest.raises(ConfigurationError) as error:
            read_configuration({**HEAD, **wrong})
        assert error.value.faults[0].path == path
    for nothing in (None, [], "x"):
        with pytest.raises(ConfigurationError):
            read_configuration(nothing)


def test_the_error_survives_a_process_boundary():
    with pytest.raises(ConfigurationError) as error:
        read(x=1)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)  # because: our own bytes


# -- from a file -----------------------------------------------------------------------------------------------------


def test_a_file(tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\npercentageOfNodesToScore: 7\n"
    )
    assert load_kube_configuration(path).percentage == 7


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- a\n", "c.yaml: must be a mapping that begins with `kind: KubeSchedulerConfiguration`, but holds a list"),
        ("kind: [\n", "c.yaml: line 2"),
        (
            "kind: Pod\n",
            "c.yaml: 2 problems:\n  kind: must be KubeSchedulerConfiguration, got 'Pod'\n  apiVersion: is required",
        ),
        ("apiVersion: kubescheduler.config.k8s.io/v1\nx: 1\n", "c.yaml: x: is not known here"),
        (b"\xff\xfe", "c.yaml: is not text in UTF-8"),
        (None, "c.yaml: cannot be read: No such file"),
    ],
)
def test_a_file_that_cannot_be(tmp_path: Path, text, why):
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as error:
        load_kube_configuration(path)
    assert why in str(error.value)
