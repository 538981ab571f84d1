"""The catalogues of messages: complete, used, and able to say in Chinese what other rooms say in English."""

from __future__ import annotations

import itertools
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from builders import job, servers

import sim.report
from policies import catalogue
from policies.api import QueueView
from policies.catalogue import Parts, make_policy
from policies.deployability import deployability
from sim.bounds.bounds import bounds_of
from sim.causes.cause import CAUSES
from sim.check import check
from sim.experiment.paired import SPEAKS_OF
from sim.experiment.quantities import KINDS
from sim.jobs_table import REASONS, STATES
from sim.metrics.registry import METRICS, SIZE_CLASSES
from sim.report.language import CATEGORIES, LANGUAGES, category, language, placeholders, recognised
from sim.report.names import fitted, visible, width
from sim.report.voice import markup, plain
from sim.rules import Rules
from sim.semantics import run_semantics
from sim.statistics.interval import Interval
from sim.statistics.verdict import decide, judge
from sim.streams import Streams
from sim.world.choice import World

HERE = Path(sim.report.__file__).parent


def forms(message) -> list[str]:
    return [message] if isinstance(message, str) else list(message.values())


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_catalogue_has_every_key_with_the_same_placeholders(code):
    english, other = language("en").messages, language(code).messages
    assert list(other) == list(english)
    for key, message in english.items():
        expected = set().union(*map(placeholders, forms(message)))
        assert set().union(*map(placeholders, forms(other[key]))) == expected, key
        if not isinstance(other[key], str):
            assert set(other[key]) == set(CATEGORIES[code]), key


def sources() -> str:
    return "\n".join(
        each.read_text(encoding="utf-8") for pattern in ("*.py", "*.html") for each in HERE.rglob(pattern)
    )


def test_every_message_that_is_said_exists_and_every_other_one_is_gone():
    text = sources()
    keys = set(language("en").messages)
    said = set(re.findall(r"""(?:say|message)\(\s*["']([a-z_]+\.[a-z_]+(?:\.[a-z_]+)?)["']""", text))
    assert len(said) > 150
    assert said <= keys
    # because: these are put together from what other rooms count, such as f"kind.{kind}"
    of_others = (
        *(
            "told.",
            "language.",
            "alt.",
            "axis.",
            "cause.",
            "column.",
            "headline.",
            "kind.",
            "metric.",
            "outcome.",
            "picture.",
        ),
        *("severity.", "size.", "span.", "state.", "topic.", "unit."),
    )
    # because: a template's loop names the last part only, and a section its title
    unused = {
        key
        for key in keys
        if key not in text
        and not key.startswith(of_others)
        and not re.search(rf"""["']{re.escape(key.partition(".")[2])}["']""", text)
        and not key.endswith(".title")
    }
    assert unused == set()


def test_what_other_rooms_count_has_words():
    for code in LANGUAGES:
        found = language(code)
        for key in (
            *(f"metric.{each.name}" for each in METRICS),
            *(f"size.{name.replace(' ', '_')}" for name, _ in SIZE_CLASSES),
            *(f"kind.{kind}" for kind in KINDS),
            *(f"cause.{cause}" for cause in CAUSES),
            *(f"state.{state}" for state in STATES),
        ):
            assert found.has(key), f"lang/{code}.toml: add {key}"


def test_english_is_that_of_the_other_rooms():
    for metric in METRICS:
        assert plain().metric(metric) == metric.title


def own_words() -> set[str]:
    """Every meaning that a policy of the catalogue, or a rule, can print."""
    found = set(SPEAKS_OF.values())
    for name in catalogue.POLICIES:
        for option in (
            "",
            "place=first-fit",
            "place=random",
            "place=spread",
            "place=consolidate",
            "per=queue",
            "quota=keep",
        ):
            spec = f"{name}:{option}" if option else name
            try:
                policy = make_policy(spec, Parts(generator=Streams(0).generator))
            except ValueError:
                continue
            said = policy.semantics()
            found |= {each for each in asdict(said).values() if isinstance(each, str)}
            found |= set(run_semantics(said, Rules(), World(speed=True, locality=True)).values())
            found.add(deployability(policy, said).text)
    said = make_policy("fifo", Parts(generator=Streams(0).generator)).semantics()
    for rules in (
        Rules(ties="random", split="free", overrun="kill", thinking="fixed", thinking_ms=5),
        Rules(decide="event"),
        Rules(ties="file", overrun="requeue", thinking="measured", cycle_ms=1000, progress="lose", oracle=True),
        Rules(fill=True, checkpoint_ms=1000),
    ):
        found |= set(run_semantics(said, rules, World(speed=False, locality=False)).values())
    return found


NAMES = re.compile(r"[a-z]+(-[a-z]+)+|\d+|feasible|LeastAllocated|wait|each-pass|openb.*|process:.*")
"""Values of options and placements of studies: names, which no language changes."""


def test_every_meaning_of_the_house_is_said_in_chinese():
    unknown = {
        text for text in own_words() if "; " not in text and recognised(text) is None and not NAMES.fullmatch(text)
    }
    assert unknown == set(), "add them to [told] of both catalogues"
    for text in own_words():
        if not NAMES.fullmatch(text):
            assert re.search("[\u4e00-\u9fff]", plain("zh").told(text)), text


@pytest.mark.parametrize(
    ("said", "chinese"),
    [
        ("too few independent blocks: 5, and at least 8 are needed", "独立区块太少：只有 5 个，至少需要 8 个"),
        (
            (
                "too few independent blocks: 0, and at least 8 are needed; the 14 blocks hang together, as where one backlog"
                " lasts over several of them"
            ),
            "独立区块太少：只有 0 个，至少需要 8 个；这 14 个区块彼此关联，例如同一次积压跨越其中多个区块",
        ),
        ("3 d of submissions", " 3 天的提交量"),
        ("one of 20 equal parts of a trace (3.9 d)", "一份负载记录 20 等分之一（3.9 天）"),
        (
            (
                "second scheduler only: it orders the queue by priority, then arrival, and the head blocks it, and it takes queue"
                " after queue"
            ),
            "仅可作为第二调度器：队列排序方式为“先按优先级，再按到达先后”；队头阻塞其后作业；逐个队列调度",
        ),
        (
            "run times for 3,181 jobs, mean busy times for 1 jobs, whichever is more in each busy period; it outran its estimate",
            "运行时间（3,181 个作业）；平均忙碌时间（1 个作业），每个忙期取较大者；超出预估时间",
        ),
        ("something that nobody has said before", "something that nobody has said before"),
    ],
)
def test_what_is_told(said, chinese):
    assert plain("zh").told(said) == chinese
    assert plain("en").told(said) == said


def test_numbers_and_plurals():
    english, chinese = plain("en"), plain("zh")
    assert [category("en", n) for n in (0, 1, 2)] == ["other", "one", "other"]
    assert [english.say("table.jobs", n=n) for n in (1, 12_345)] == ["1 job", "12,345 jobs"]
    assert [chinese.say("table.jobs", n=n) for n in (1, 12_345)] == ["1 个作业", "12,345 个作业"]
    assert [chinese.duration(ms) for ms in (0, 250, 90_000, 4 * 3_600_000, 3.2 * 86_400_000)] == [
        "0 秒", "250 毫秒", "1.5 分钟", "4.0 小时", "3.2 天",
    ]  # fmt: skip
    assert (chinese.percent(-0.34), chinese.percent(6.2)) == ("-34%", "7.2 倍")
    wait, share = (
        next(each for each in METRICS if each.name == name) for name in ("wait_mean_ms", "allocated_share")
    )
    assert chinese.difference(wait, 1000.0, 2000.0) == "-1 秒（-50%）"
    assert chinese.difference(share, 0.5, 0.4) == "+10.0 个百分点"
    assert chinese.margin("+5 % or +2 min", "ms") == "+5% 或 +2 分钟"
    assert english.margin("+5 % or +2 min", "ms") == "+5 % or +2 min"
    assert english.listed(["a", "b", "c"]) == "a, b and c"
    assert chinese.listed(["a", "b", "c"]) == "a、b 和 c"


def test_values_of_messages_cannot_be_markup():
    said = markup().say("table.jobs", n=2) + markup().say("verdict.one_run", policy=markup().name("<b>&a:b"))
    assert said == "2 jobsOne run: &lt;b&gt;&amp;a:b"
    assert markup().name("<שלום>") == "<bdi>&lt;שלום&gt;</bdi>"
    assert markup().say("verdict.one_run", policy="<b>") == "One run: &lt;b&gt;"


def test_letters_that_cannot_be_seen_are_shown():
    assert visible("a\u202eb\u200bc\x00\nd") == "a[U+202E]b[U+200B]c[U+0000][U+000A]d"
    assert visible("שלום 中文 é") == "שלום 中文 é"
    assert visible("\u2066x\ud800") == "[U+2066]x[U+D800]"


@pytest.mark.parametrize("name", ["short", "a" * 300, "中文" * 40, "e\u0301" * 30, "x" * 19 + "中"])
def test_a_fitted_name_is_no_wider_than_it_may_be(name):
    shown = fitted(name, 20)
    assert width(shown) <= 20
    assert shown == name or (width(name) > 20 and "…" in shown and name.startswith(shown.partition("…")[0]))


def unknown_to(texts) -> set[str]:
    """What Chinese pages would show in English."""
    return {text for text in texts if text and not re.search("[\u4e00-\u9fff]", plain("zh").told(text))}


def test_every_verdict_is_said_in_chinese():
    ends = [None, Interval(-2.0, -3.0, -1.0), Interval(0.5, -1.0, 2.0), Interval(2.0, 1.0, 3.0)]
    grid = itertools.product(ends, ends, (None, 0.001, 0.5), (3, 30), (True, False))
    said = {decide(a, b, p=p, blocks=blocks, same=same).why for a, b, p, blocks, same in grid}
    said |= {
        judge(value, end, blocks=blocks, same=same).why
        for value, end, blocks, same in itertools.product((None, -1.0, 1.0), ends, (3, 30), (True, False))
    }
    assert len(said) > 8
    assert unknown_to(said) == set()


def test_everything_that_the_check_finds_is_said_in_chinese():
    jobs = [
        job("a", 0, 10_000, 4, queue="lab"),
        job("b", 0, 10_000, 8, queue="prod"),
        job("c", 5000, 90_000, 8),
        job("d", 6000, 1000, 9),
        job("e", 7000, 1000, 1, accelerators=("h100",)),
        *(job(f"f{number}", 8000 + number, 60_000, 8) for number in range(9)),
        job("last", 100_000, 1, 1),
    ]
    queues = {
        name: QueueView(
            name=name,
            nominal_milli={"*": milli},
            borrowing_limit_milli=None,
            cohort=None,
            weight=1,
            pools=None,
            held_milli={},
        )
        for name, milli in (("prod", 4000), ("lab", 4000))
    }
    policies = {
        name: make_policy(name, Parts(generator=Streams(0).generator)).semantics()
        for name in ("sjf", "fifo:quota=keep")
    }
    found = []
    for rules in (Rules(), Rules(oracle=True, impossible="refuse"), Rules(thinking="measured")):
        found += check(jobs, servers(1, accelerator="a100"), queues, rules, policies)
    said = {text for each in found for text in (each.place, each.what, each.consequence)}
    assert len(said) > 15
    assert unknown_to(said) == set()


def test_every_state_and_its_reason_is_said_in_both_languages():
    """The reasons are those that jobs have in the results."""
    assert unknown_to(REASONS.values()) == set()
    for voice in (plain("en"), plain("zh")):
        words = [voice.known(f"state.{state}", "?") for state in STATES]
        assert "?" not in words
        assert len(set(words)) == len(STATES)
        assert len({voice.told(reason) for reason in REASONS.values()}) == len(REASONS)


def test_every_bound_is_said_in_chinese():
    said = set()
    for jobs in (
        [job("a", 0, 10_000, 8)],
        [job("a", 0, 10_000, 8, lifetime_ms=5)],
        [job("a", 0, 1, 9)],
        [job(f"j{n}", n, 5000 + n, 5 + n % 4) for n in range(12)],
    ):
        for rules in (Rules(), Rules(fill=True)):
            found = bounds_of(jobs, servers(2), rules=rules)
            said |= {found.mean_completion.because, found.makespan.because}
    assert len(said) > 4
    assert unknown_to(said) == set()
