"""Gates: what may be written, what is refused and where, and pass, fail or undecided from known waits."""

from __future__ import annotations

import numpy as np
import pytest
from builders import job

from benchmarks.coverage import Drawn, sampler_of
from sim.experiment.asked import asked_for
from sim.experiment.compare import compare
from sim.experiment.margins import Margin, parse_limit, parse_margin
from sim.experiment.plan import Labels
from sim.experiment.prepare import prepare
from sim.experiment.quantities import expand, labels, parse_selector, quantities, quantity
from sim.experiment.scenario import make_scenario
from sim.gates.gate import parse_gate
from sim.gates.gate_file import gates_of_items, read_gates
from sim.gates.judge import expanded, judge_gates, overall
from sim.run import InputError
from traces.trace import Trace

MIN = 60_000


@pytest.mark.parametrize(
    ("text", "unit", "relative", "absolute"),
    [
        ("+5 % or +2 min", "ms", 0.05, 2 * MIN),
        ("+2 min or +5 %", "ms", 0.05, 2 * MIN),
        ("5%", "ms", 0.05, None),
        ("+1h30m", "ms", None, 90 * MIN),
        ("-10 %", "ms", -0.1, None),
        ("+0", "count", None, 0.0),
        ("+0", "ms", None, 0.0),
        ("+3", "count", None, 3.0),
        ("+2 points", "share", None, 0.02),
        ("0.1", "ratio", None, 0.1),
    ],
)
def test_margins(text, unit, relative, absolute):
    found = parse_margin(text, unit)
    assert (found.relative, found.absolute) == (relative, absolute)


@pytest.mark.parametrize(
    ("text", "unit", "said"),
    [
        ("+5", "ms", "must be a length of time or a percentage, such as +5 % or +2 min, got '+5'"),
        ("+5 % or +6 %", "ms", "must name a part and an amount at most once each"),
        ("", "count", "must be a number or a percentage"),
        ("+2 min", "count", "must be a number or a percentage"),
        ("a bit", "ratio", "must be a number"),
        ("+5 % and +2 min", "ms", "must be a length of time"),
        ("3", "share", "must be points or a percentage"),
    ],
)
def test_what_is_no_margin(text, unit, said):
    with pytest.raises(ValueError, match=r"must be|must name") as caught:
        parse_margin(text, unit)
    assert said in str(caught.value)


def test_a_signed_amount_is_a_change_and_one_without_a_sign_is_for_the_worse():
    # of a share, of which less is worse: two points less, or two points whichever way is worse
    assert parse_margin("-2 points", "share", -1).absolute == 0.02
    assert parse_margin("2 points", "share", -1).absolute == 0.02
    assert parse_margin("+2 points", "share", -1).absolute == -0.02, "an improvement is asked for"


def test_limits():
    assert parse_limit("30m", "ms") == 30 * MIN
    assert parse_limit("70 %", "share") == 0.7
    assert parse_limit("12", "count") == 12
    with pytest.raises(ValueError, match="such as 30m, got '5 %'"):
        parse_limit("5 %", "ms")


def test_every_metric_has_a_short_name():
    names = [each.name for each in quantities()]
    assert {"wait.mean", "wait.p95", "completion.median", "bounded_slowdown.p95", "makespan", "preemptions"} <= set(
        names
    )
    assert len(names) == len(set(names))
    assert quantity("wait_p95_ms") is quantity("wait.p95")
    assert quantity("evictions") is quantity("preemptions")
    assert quantity("wait.p99.9").per_job.q == pytest.approx(0.999)


@pytest.mark.parametrize(
    ("text", "where", "rest"),
    [
        ("wait.p95", (), ""),
        ("wait.p95{queue=prod}: rest", (("queue", "prod"),), ": rest"),
        ("wait.p95 {tenant='a, b' , size=2-7} <= 3m", (("user", "a, b"), ("size", "2-7")), "<= 3m"),
        ('wait.p95{queue="x=y"}', (("queue", "x=y"),), ""),
    ],
)
def test_selectors(text, where, rest):
    selector, left = parse_selector(text)
    assert (selector.quantity.name, selector.where, left) == ("wait.p95", where, rest)


@pytest.mark.parametrize("name", ["a b", "q,1", "<b>x, y}", '"x"', "o'b", "服务", " a", "{x}", "a=b", '}"', ""])
def test_a_selector_can_be_read_again_whatever_the_names_are(name):
    text = f"wait.p95{labels((('queue', name), ('service', 'z')))}"
    selector, rest = parse_selector(f"{text} <= 3s")
    assert (selector.where, str(selector), rest) == ((("queue", name), ("service", "z")), text, "<= 3s")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wiat.p95", "no metric 'wiat.p95'; did you mean 'wait.p95'?"),
        ("wait.p100", "no metric 'wait.p100'"),
        ("nonsense", "known are wait.mean"),
        ("wait.p95{quee=x}", "did you mean 'queue'?"),
        ("wait.p95{queue}", "must be labels such as {queue=prod}, got {queue}"),
        ("wait.p95{queue=a,queue=b}", "queue appears twice"),
        ("makespan{queue=a}", "makespan is a figure of the whole run: leave out {queue=a}"),
        ("{queue=a}", "must begin with a metric"),
    ],
)
def test_what_is_no_selector(text, said):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_selector(text)
    assert said in str(caught.value)


def test_a_star_is_each_name():
    selector, _ = parse_selector("wait.mean{queue=*,size=8}")
    found = expand(selector, {"queue": ["a", "b"], "size": ["1", "8"]})
    assert [str(each) for each in found] == ["wait.mean{queue=a,size=8}", "wait.mean{queue=b,size=8}"]
    with pytest.raises(ValueError, match="no job that counts has size '8'; there are 1"):
        expand(selector, {"queue": ["a", "b"], "size": ["1"]})


SAME = [
    "wait.p95{queue=prod}: no worse than +5 % or +2 min",
    "wait.p95{queue=prod}: +5 % or +2 min",
    {"wait.p95{queue=prod}": "no worse than +5 % or +2 min"},
    {"metric": "wait.p95", "where": {"queue": "prod"}, "allow": "+5 % or +2 min"},
    {"metric": "wait_p95_ms", "where": {"queue": "prod"}, "allow": ["+5 %", "+2 min"]},
]


@pytest.mark.parametrize("value", SAME)
def test_a_gate_as_a_sentence_and_as_a_mapping(value):
    assert parse_gate(value) == parse_gate(SAME[0])
    assert parse_gate(value).margin == Margin(relative=0.05, absolute=2 * MIN, text="+5 % or +2 min")


def test_which_way_is_worse():
    assert parse_gate("allocated_share: no worse than 2 points").worse == -1
    assert parse_gate("allocated_share: no less than -2 points").margin.absolute == pytest.approx(0.02)
    assert parse_gate("wait.mean: no more than -10 %").margin.relative == -0.1
    limits = [parse_gate("wait.p95 <= 30m"), parse_gate({"metric": "wait.p95", "at_most": "30m"})]
    assert limits[0] == limits[1]
    assert (limits[0].worse, limits[0].limit, limits[0].margin) == (1, 30 * MIN, None)
    assert parse_gate("allocated_share >= 70 %").worse == -1
    assert parse_gate({"metric": "not_started", "at_most": 0, "policies": "easy", "because": "x"}).policies == (
        "easy",
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("wait.p95", "must go on with one of no worse than"),
        ("wait.p95: no worse then +5 %", "did you mean 'no worse than'?"),
        ("wait.p95: no worse than 5", "must be a length of time or a percentage"),
        ("wait.p95 <= 5 %", "must be a length of time, such as 30m, got '5 %'"),
        ({"metric": "wait.p95"}, "must have one of allow (against the baseline), at_most and at_least"),
        ({"metric": "wait.p95", "allow": "+5 %", "at_most": "3m"}, "must have one of allow"),
        ({"metric": "wait.p95", "alow": "+5 %"}, "alow: unknown key; did you mean 'allow'?"),
        ({"metric": "wait.p95", "where": "prod", "allow": "+5 %"}, "where: must be a mapping"),
        ({"where": {"queue": "x"}, "allow": "+5 %"}, "metric: is required"),
        ({"metric": "wait.p95", "allow": {"x": 1}}, "allow: must be text or a list of texts"),
        ({"wait.p95 x": "+5 %"}, "must be a metric before the colon, got 'x'"),
        (5, "must be a sentence such as"),
    ],
)
def test_what_is_no_gate(value, said):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_gate(value)
    assert said in str(caught.value)


def test_a_file_of_gates(tmp_path):
    file = tmp_path / "gates.yaml"
    file.write_text(
        "rehearse_gates: 1\ngates:\n  - wait.p95{queue=prod}: no worse than +5 % or +2 min\n  - wait.p95 <= 30m\n"
    )
    assert read_gates(file) == [parse_gate(SAME[0]), parse_gate("wait.p95 <= 30m")]
    file.write_text("rehearse_gates: 1\ngates:\n  wait.p95{queue=prod}: +5 % or +2 min\n  wait.mean: <= 30m\n")
    assert [each.text for each in read_gates(file)] == [SAME[0], "wait.mean <= 30m"]
    assert gates_of_items([{"file": str(file)}, "wait.mean: +1 %"])[2].margin.relative == 0.01


def test_everything_that_is_wrong_with_a_file_is_said_at_once(tmp_path):
    file = tmp_path / "gates.yaml"
    file.write_text(
        "rehearse_gate: 1\ngates:\n  - wiat.p95: +5 %\n  - wait.p95: +5\n  - {metric: wait.p95, metric: x}\n"
    )
    with pytest.raises(InputError) as caught:
        read_gates(file)
    said = str(caught.value).splitlines()
    assert said[0].endswith("gates.yaml: 6 problems:")
    assert [line.split(":")[0].strip() for line in said[1:]] == [
        *("rehearse_gates", "gates[2].metric", "rehearse_gate", "gates[0]", "gates[1]", "gates[2]"),
    ]  # fmt: skip
    assert "did you mean 'rehearse_gates'?" in said[3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("- a\n", "must be a mapping that begins with `rehearse_gates: 1`"),
        ("rehearse_gates: 1\n", "gates: must be a list of gates"),
        ("rehearse_gates: 1\ngates: []\n", "gates: must be a list of gates"),
        ("rehearse_gates: [\n", "line 2"),
    ],
)
def test_what_is_no_file_of_gates(tmp_path, text, said):
    file = tmp_path / "gates.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_gates(file)
    assert said in str(caught.value)


def test_metrics_with_margins():
    for value in (
        "wait.p95{queue=a}: +5 %",
        {"wait.p95{queue=a}": "+5 %"},
        {"metric": "wait.p95", "where": {"queue": "a"}, "margin": "+5 %"},
    ):
        found = asked_for(value)
        assert (str(found.selector), found.margin.relative) == ("wait.p95{queue=a}", 0.05)
    assert asked_for("wait.p95").margin.text == "+5 % or +10 s"
    for value, said in [
        ("wait.p95 +5 %", "must be a metric and perhaps a margin"),
        ({"metric": "wait.p95", "margn": "+5 %"}, "margn: unknown key; did you mean 'margin'?"),
        ({"metric": "wait.p95", "where": 3}, "where: must be a mapping"),
    ]:
        with pytest.raises(ValueError, match=r".") as caught:
            asked_for(value)
        assert said in str(caught.value)


def of_days(a, b, days=20, jobs=5):
    """The same number of jobs each day, that all wait alike."""
    day = np.repeat(np.arange(days), jobs)
    return sampler_of(
        Drawn(np.full(len(day), float(a)), np.asarray(b, dtype=float) * np.ones(len(day)), day), 0, resamples=300
    )


@pytest.mark.parametrize(
    ("gate", "outcome"),
    [
        ("wait.mean: +10 %", "pass"),
        ("wait.mean: +4 %", "fail"),
        ("wait.mean: +4 % or +1 min", "pass"),
        ("wait.mean: +4 % or +10 s", "fail"),
        ("wait.mean <= 11m", "pass"),
        ("wait.mean <= 10m", "fail"),
        ("wait.mean >= 10m", "pass"),
        ("wait.mean: no more than -1 %", "fail"),
        ("preemptions: +0", "pass"),
        ("preemptions <= 0", "pass"),
        ("preemptions: no more than -1", "fail"),
        ("makespan: +5 %", "undecided"),
    ],
)
def test_gates_on_waits_that_are_known(gate, outcome):
    """Every job waits ten minutes under the baseline and ten and a half under the policy."""
    (found,) = judge_gates(of_days(10 * MIN, 10.5 * MIN), [parse_gate(gate)], ["b"], "a")
    assert found.outcome == outcome, found


def test_a_gate_that_noise_crosses_is_undecided_and_says_how_much_more_it_takes():
    noise = 10 * MIN * np.repeat(np.random.default_rng(0).normal(1.03, 0.1, 20), 5)
    (found,) = judge_gates(of_days(10 * MIN, noise), [parse_gate("wait.mean: +5 %")], ["b"], "a")
    assert (found.outcome, found.why) == ("undecided", "the interval crosses the limit")
    assert found.excess_low < found.excess < found.excess_high
    assert found.blocks == 20
    assert found.blocks_needed > 20


def test_few_blocks_decide_nothing_unless_nothing_differs():
    gate = [parse_gate("wait.mean: +10 %")]
    (differs,) = judge_gates(of_days(MIN, 1.01 * MIN, days=7), gate, ["b"], "a")
    assert (differs.outcome, differs.blocks_needed) == ("undecided", 8)
    assert judge_gates(of_days(MIN, MIN, days=2), gate, ["b"], "a")[0].outcome == "pass"


def test_days_of_one_backlog_are_said_to_hang_together():
    growing = np.repeat(np.arange(1.0, 15.0), 5) * MIN
    gates = [parse_gate("wait.mean: +1 %"), parse_gate("wait.mean <= 7m")]
    for found in judge_gates(of_days(MIN, growing, days=14), gates, ["b"], "a"):
        assert (found.outcome, found.blocks) == ("undecided", 14)
        assert found.worth < 8
        assert "; the 14 blocks hang together, as where one backlog lasts over several of them" in found.why


def test_the_worst_outcome_counts():
    results = judge_gates(
        of_days(10 * MIN, 10.5 * MIN), [parse_gate("wait.mean: +10 %"), parse_gate("makespan: +1 %")], ["b"], "a"
    )
    assert overall(results) == "undecided"
    results += judge_gates(of_days(10 * MIN, 10.5 * MIN), [parse_gate("wait.mean: +1 %")], ["b"], "a")
    assert overall(results) == "fail"
    assert overall([]) == "pass"


def test_gates_name_what_there_is():
    gates = [
        parse_gate("wait.mean{queue=*}: +1 %"),
        parse_gate({"metric": "wait.mean", "allow": "+1 %", "policies": ["b"]}),
    ]
    found = expanded(gates, {"queue": ["x", "y"]}, ["b"], "gates")
    assert [each.text for each in found] == [
        "wait.mean{queue=x}: no worse than +1 %",
        "wait.mean{queue=y}: no worse than +1 %",
        "wait.mean: no worse than +1 %",
    ]
    with pytest.raises(InputError) as caught:
        expanded([parse_gate("wait.mean{queue=prdo}: +1 %"), gates[1]], {"queue": ["prod"]}, ["easy"], "gates")
    assert "no job that counts has queue 'prdo'; did you mean 'prod'?" in str(caught.value)
    assert "policies: 'b' is not compared with the baseline" in str(caught.value)


def test_a_gate_for_some_policies_is_not_asked_of_others():
    gate = parse_gate({"metric": "wait.mean", "allow": "+1 %", "policies": ["c"]})
    assert judge_gates(of_days(MIN, MIN), [gate], ["b"], "a") == []


def test_a_group_is_judged_alone():
    sampler = of_days(10 * MIN, np.tile([10 * MIN, 10 * MIN, 10 * MIN, 20 * MIN, 20 * MIN], 20))
    sampler.subjects.labels["queue"] = Labels(np.tile([0, 0, 0, 1, 1], 20), ["kept", "harmed"])
    gates = [parse_gate(f"wait.p95{{queue={name}}}: +5 %") for name in ("kept", "harmed")]
    assert [each.outcome for each in judge_gates(sampler, gates, ["b"], "a")] == ["pass", "fail"]


def labelled(queue, user, count=3):
    return [job(f"{queue}-{user}-{n}", n * 1000, 500, 1, queue=queue, user=user) for n in range(count)]


def gates_on(tmp_path, *texts):
    records = [*labelled("a", "ann"), *labelled("b", "bob"), *labelled("b", "ann")]
    scenario = make_scenario({"trace": "made", "cluster": "1x8"}, source="test")
    trace = Trace(path="made", format="canonical", sha256="0", rows=len(records), records=records, rejections=[])
    policies = ["fifo", "best-effort-fifo"]
    prepared = prepare(scenario, policies, trace=trace)
    return compare(prepared, policies, "fifo", tmp_path / "out", gates=[*map(parse_gate, texts)]).comparison.gates


def test_stars_name_only_pairs_that_a_job_has(tmp_path):
    found = gates_on(tmp_path, "wait.mean{queue=*,user=*} <= 1h")
    pairs = [("a", "ann"), ("b", "ann"), ("b", "bob")]
    assert [each.gate for each in found] == [f"wait.mean{{queue={q},user={u}}} <= 1h" for q, u in pairs]


def test_a_gate_about_labels_that_no_job_has_together_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no job that counts has \{queue=a,user=bob\}"):
        gates_on(tmp_path, "wait.mean{queue=a,user=bob} <= 1h")
