"""The simulator drives an external extender, as kube-scheduler does, by an unmodified configuration."""

import json
import time

import pytest
from extender_stub import server

from sim.cli import _status

TRACE = "job_id,submit_ms,run_ms,gpus,pods,priority\n"


def configuration(port, **more):
    extender = {
        "urlPrefix": f"http://127.0.0.1:{port}",
        "filterVerb": "filter",
        "prioritizeVerb": "prioritize",
        "weight": 1000,
        "nodeCacheCapable": True,
        "httpTimeout": "1s",
        **more,
    }
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "percentageOfNodesToScore": 100,
        "extenders": [extender],
    }


def run(folder, rows, port, *flags, cluster="4x8", **more):
    """Where each job ran, by name, or the error."""
    (folder / "t.csv").write_text(TRACE + "".join(f"{row}\n" for row in rows))
    (folder / "c.yaml").write_text(json.dumps(configuration(port, **more)))
    (folder / "s.yaml").write_text(
        f"rehearse_scenario: 1\ntrace: t.csv\ncluster: {cluster}\npolicy: {{extender: c.yaml}}\n"
    )
    out = folder / "run"
    status = _status(["run", str(folder / "s.yaml"), "--out", str(out), *flags])
    if status:
        return status, None
    from sim.results import read_run
    from sim.timeline import Happened

    found = read_run(out)
    line = found.timeline
    names = found.jobs.text("job_id").to_pylist()
    where = {}
    for entry in range(len(line.at_ms)):
        if line.happened[entry] == Happened.START:
            shares = slice(int(line.share_start[entry]), int(line.share_start[entry + 1]))
            nodes = sorted(line.share_node[shares].tolist())
            where[names[line.job[entry]]] = (int(line.at_ms[entry]), nodes)
    return found, where


def prefer_last(verb, request):
    names = request["NodeNames"]
    if verb == "filter":
        return {"NodeNames": [name for name in names if not name.endswith("0")]}
    return [{"Host": name, "Score": 10 if name == max(names) else 0} for name in names]


def test_its_filter_and_scores_decide(tmp_path):
    with server(prefer_last) as (port, seen):
        found, where = run(tmp_path, ["a,0,100,8,1,0", "b,0,100,4,1,0", "c,0,100,8,1,0", "d,0,100,8,1,0"], port)
    # the first server is filtered out; the last that has room is preferred
    assert where["a"] == (0, [3])
    assert where["b"] == (0, [2])
    assert where["c"] == (0, [1])
    assert where["d"][0] > 0, "nothing is left but the server that the extender does not want"
    assert found.manifest["policy"]["origin"] == "extender"
    assert "127.0.0.1" in found.manifest["semantics"]["option extenders"]
    asked = [(verb, request["Pod"]["metadata"]["name"]) for verb, request, _ in seen]
    assert ("prioritize", "c") not in asked, "with one node left prioritize is not called"
    assert len({port for _, _, port in seen}) == 1


def test_a_gang_is_asked_pod_by_pod_and_rolled_back_without_a_word(tmp_path):
    filters = []

    def answer(verb, request):
        if verb == "filter":
            filters.append(request["Pod"]["metadata"]["name"])
        return (
            {"NodeNames": request["NodeNames"]}
            if "small" in filters and verb == "filter"
            else prefer_last(verb, request)
        )

    with server(answer) as (port, seen):
        _, where = run(tmp_path, ["gang,0,100,32,4,0", "small,0,100,8,1,0"], port)
    # three servers for four pods: at first the gang does not fit, and the extender is not told that its pods were rolled back
    assert filters[:5] == ["gang-0", "gang-1", "gang-2", "gang-3", "small"]
    assert {verb for verb, _, _ in seen} == {"filter", "prioritize"}
    assert where["small"] == (0, [3])
    assert where["gang"][1] == [0, 1, 2, 3]


@pytest.mark.parametrize("answer", [(500, b""), {"Error": "no"}, (200, b"[]")])
def test_a_filter_that_fails_ends_the_attempt_and_is_tried_again(tmp_path, answer):
    failures = []

    def answer_later(verb, request):
        if verb == "filter" and len(failures) < 2:
            failures.append(1)
            return answer
        return prefer_last(verb, request)

    with server(answer_later) as (port, _):
        _, where = run(tmp_path, ["a,0,100,8,1,0"], port)
    assert where["a"] == (3000, [3]), "after backoffs of one and of two seconds"


def test_an_ignorable_extender_that_fails_lets_all_nodes_pass(tmp_path):
    with server(lambda verb, request: (500, b"") if verb == "filter" else prefer_last(verb, request)) as (port, _):
        _, where = run(tmp_path, ["a,0,100,8,1,0"], port, ignorable=True)
    assert where["a"] == (0, [3])


def test_a_prioritize_that_fails_is_ignored(tmp_path):
    def answer(verb, request):
        return [{"Host": "x", "Score": 1.5}] if verb == "prioritize" else prefer_last(verb, request)

    with server(answer) as (port, _):
        _, where = run(tmp_path, ["a,0,100,8,1,0"], port)
    assert where["a"][0] == 0


def test_who_is_refused_for_ever_ends_the_run_with_a_story(tmp_path, capsys):
    with server(lambda *_: {"NodeNames": []}) as (port, seen):
        assert run(tmp_path, ["a,0,100,8,1,0"], port)[0] == 2
    assert "1 jobs wait" in capsys.readouterr().err
    assert 200 < len(seen) < 400, "a day of attempts, one at each flush"


def test_its_thinking_can_be_charged(tmp_path):
    def slow(verb, request):
        time.sleep(0.03)
        return prefer_last(verb, request)

    with server(slow) as (port, _):
        found, _ = run(tmp_path, ["a,0,100,8,1,0"], port, "--thinking", "measured")
    assert int(found.jobs.end_ms[0]) >= 100 + 2 * 30


def test_preemption_is_put_to_it(tmp_path):
    def answer(verb, request):
        if verb == "preempt":
            found = request["NodeNameToVictims"]
            kept = max(found)
            pods = [{"UID": each["metadata"]["uid"]} for each in found[kept]["Pods"]]
            return {"NodeNameToMetaVictims": {kept: {"Pods": pods, "NumPDBViolations": 0}}}
        items = request["Nodes"]["items"]
        if verb == "filter":
            return {"Nodes": {"items": items}}
        return [{"Host": item["metadata"]["name"], "Score": 0} for item in items]

    rows = [f"low{i},0,9000,8,1,0" for i in range(4)] + ["high,100,50,8,1,9"]
    with server(answer) as (port, _):
        _, where = run(tmp_path, rows, port, nodeCacheCapable=False, preemptVerb="preempt")
    assert where["high"] == (100, [3])


def test_what_cannot_be_used_is_refused(tmp_path, capsys):
    rows = ["a,0,100,8,1,0"]
    assert run(tmp_path, rows, 1, httpTimeout="soon")[0] == 2
    assert "httpTimeout" in capsys.readouterr().err
    (tmp_path / "c.yaml").write_text("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n")
    asked = ["run", "--trace", str(tmp_path / "t.csv"), "--cluster", "4x8", "--out", str(tmp_path / "x")]
    assert _status([*asked, "--policy", f"extender:{tmp_path / 'c.yaml'}"]) == 2
    assert "has no extenders" in capsys.readouterr().err
    assert _status([*asked, "--policy", "extender:gone.yaml"]) == 2
    assert "gone.yaml: cannot be read" in capsys.readouterr().err
    (tmp_path / "s.yaml").write_text("rehearse_scenario: 1\ntrace: t.csv\ncluster: 4x8\npolicy: {extender: 3}\n")
    assert _status(["run", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "x")]) == 2
    assert "must have extender as the name" in capsys.readouterr().err
