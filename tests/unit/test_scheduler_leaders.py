"""Leader election, and two schedulers that want the same pods: whatever happens to the leader, nothing is given twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_api_server import FakeApiServer, Fault
from kube_builders import node, pod
from schedulers import play, scheduling

from policies.serving.api import ApiClient
from policies.serving.leader import Leader, LeaseTerms

ROOT = Path(__file__).parents[2]
SHORT = LeaseTerms(lease_s=2.0, renew_s=0.8, retry_s=0.1)
RATE = 20.0


class QuickClock:
    """A clock that runs `rate` times as fast, and whose calendar is wrong by `skew_ms`."""

    def __init__(self, rate: float = RATE, skew_ms: int = 0) -> None:
        self._rate = rate
        self._skew_ms = skew_ms

    def now_ms(self) -> int:
        return int(time.time_ns() // 1_000_000) + self._skew_ms

    def monotonic_s(self) -> float:
        return time.monotonic() * self._rate + self._skew_ms

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._rate)


@contextlib.asynccontextmanager
async def candidate(server, folder, identity, clock=None, terms=None):
    clock = clock or QuickClock()
    config = server.kubeconfig(folder)
    async with ApiClient.connect(
        kubeconfig=config, clock=clock, rng=random.Random(identity), user_agent=identity
    ) as api:
        leader = Leader(api, terms or LeaseTerms(), identity, clock=clock)
        said = []
        leader.changed = said.append
        task = asyncio.create_task(leader.run())
        try:
            yield leader, said
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def scene_of(work):
    async def run():
        async with FakeApiServer() as server:
            await work(server)

    asyncio.run(run())


def test_one_leads_and_the_other_follows_when_it_is_silent(tmp_path):
    """The clocks of the two are an hour apart."""

    async def work(server):
        async with candidate(server, tmp_path, "one", QuickClock(skew_ms=-3_600_000)) as (one, said):
            await server.until(lambda: one.leads)
            async with candidate(server, tmp_path, "two", QuickClock(skew_ms=1_800_000)) as (two, _):
                await asyncio.sleep(18 / RATE)  # because: a lease has 15 seconds
                assert (one.leads, two.leads, two.holder) == (True, False, "one")
                server.cut_off.add("one")
                began = time.monotonic()
                while not two.leads:
                    assert not (one.leads and two.leads)
                    await asyncio.sleep(0.002)
                assert not one.leads
                assert 14.0 < (time.monotonic() - began) * RATE < 24.0
                server.cut_off.clear()
                await server.until(lambda: one.holder == "two")
                assert not one.leads
                assert said == [True, False]
        (lease,) = server.all("leases")
        assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("two", 1)

    scene_of(work)


def test_who_ends_gives_the_lease_back(tmp_path):
    async def work(server):
        async with candidate(server, tmp_path, "one") as (one, _):
            await server.until(lambda: one.leads)
        async with candidate(server, tmp_path, "two") as (two, _):
            await asyncio.sleep(0.1)
            assert not two.leads
            one._until_s = float("inf")
            async with ApiClient.connect(kubeconfig=server.kubeconfig(tmp_path)) as api:
                one._api = api
                await one.release()
            await server.until(lambda: two.leads, 1.0)

    scene_of(work)


def test_of_many_that_begin_together_one_leads(tmp_path):
    async def work(server):
        async with contextlib.AsyncExitStack() as stack:
            entered = [await stack.enter_async_context(candidate(server, tmp_path, str(n))) for n in range(5)]
            leaders = [leader for leader, _ in entered]
            await server.until(lambda: any(each.leads for each in leaders))
            for _ in range(20):
                assert sum(each.leads for each in leaders) <= 1
                await asyncio.sleep(0.01)
            server.remove("Lease", "rehearse-scheduler", "kube-system")
            for _ in range(40):
                assert sum(each.leads for each in leaders) <= 1
                await asyncio.sleep(0.01)
            await server.until(lambda: sum(each.leads for each in leaders) == 1)

    scene_of(work)


@pytest.mark.parametrize("faults", [Fault(drop=True), Fault(status=500), Fault(delay_s=1.0)])
def test_renewals_that_fail_for_a_moment_do_no_harm(tmp_path, faults):
    async def work(server):
        async with candidate(server, tmp_path, "one") as (one, said):
            await server.until(lambda: one.leads)
            left = [faults] * 2
            server.faults = lambda method, _: left.pop() if left and method == "PUT" else None
            await server.until(lambda: not left)
            await asyncio.sleep(0.4 if faults.delay_s else 0.2)
            assert one.leads or faults.delay_s
            await server.until(lambda: one.leads)
            assert said.count(False) <= bool(faults.delay_s), (
                "no answer for longer than the renewal limit is no leadership"
            )

    scene_of(work)


def test_a_lease_that_somebody_else_took_is_lost_at_once(tmp_path):
    async def work(server):
        async with candidate(server, tmp_path, "one") as (one, _):
            await server.until(lambda: one.leads)
            lease = server.all("leases")[0]
            taken = {**lease, "spec": {**lease["spec"], "holderIdentity": "two"}}
            taken["metadata"] = {k: v for k, v in lease["metadata"].items() if k != "resourceVersion"}
            server.change(taken)
            await server.until(lambda: not one.leads, 1.0)

    scene_of(work)


@pytest.mark.parametrize("lengths", [(15, 15, 2), (15, 14.5, 2), (15, 10, 10), (1, 0.5, 0.1)])
def test_lengths_that_cannot_be_safe_are_refused(lengths):
    with pytest.raises(ValueError, match="the lease must be longer"):
        LeaseTerms(lease_s=lengths[0], renew_s=lengths[1], retry_s=lengths[2])


# -- two schedulers ------------------------------------------------------------------------------------------------------


def test_two_schedulers_and_a_leader_that_is_cut_off(tmp_path):
    async def scene(server):
        for number in range(20):
            server.add(node(f"n{number:02}", 2))
        terms = LeaseTerms()
        first = scheduling(server, tmp_path, lease=terms, identity="one", clock=QuickClock())
        second = scheduling(
            server, tmp_path, lease=terms, identity="two", clock=QuickClock(RATE + 1, 60_000), ready=False
        )
        async with first as one, second as two:
            for number in range(8):
                server.add(pod(f"a{number}"))
            await server.until(lambda: len(server.placements()) == 8)
            assert two.book.passes == []
            server.cut_off.add("one")
            server.break_watches()
            for number in range(16):
                server.add(pod(f"b{number:02}", 2))
            await server.until(lambda: two.leader.leads)
            await server.until(lambda: len(server.placements()) == 24)
            passes = len(one.book.passes)
            server.cut_off.clear()
            for number in range(8):
                server.remove("Pod", f"a{number}")
                server.add(pod(f"c{number}"))
            await server.until(lambda: len(server.placements()) == 24)
            assert len(one.book.passes) == passes
            assert not one.leader.leads

    play(tmp_path, scene)


def test_a_binding_of_the_leader_before_does_not_come_late(tmp_path):
    """Its request hangs in the API server for longer than the lease: it is dropped there, before the next leader begins."""

    async def scene(server):
        server.add(node("n", 1))
        slow = [Fault(delay_s=2.6)]
        server.faults = lambda method, path: slow.pop() if slow and path.endswith("a/binding") else None
        first = scheduling(server, tmp_path, lease=SHORT, identity="one")
        second = scheduling(server, tmp_path, "preempt-priority", lease=SHORT, identity="two", ready=False)
        async with first, second as two:
            server.add(pod("a"))
            await server.until(lambda: not slow)
            late = time.monotonic() + 2.8
            server.cut_off.add("one")
            server.break_watches()
            server.add(pod("b", priority=1))
            await server.until(lambda: two.leader.leads)
            await server.until(lambda: server.placements() == {"b": "n"})
            await asyncio.sleep(late - time.monotonic())
        assert server.placements() == {"b": "n"}

    play(tmp_path, scene)


def test_a_new_leader_knows_what_the_one_before_has_bound(tmp_path):
    """Though its own watch lags behind: it lists anew before it decides."""

    async def scene(server):
        server.add(node("n", 1))
        first = scheduling(server, tmp_path, lease=LeaseTerms(), identity="one", clock=QuickClock())
        second = scheduling(
            server, tmp_path, "preempt-priority", lease=LeaseTerms(), identity="two", clock=QuickClock(), ready=False
        )
        async with contextlib.AsyncExitStack() as leading:
            await leading.enter_async_context(first)
            async with second as two:
                server.faults = lambda _, path: Fault(delay_s=0.3) if path.endswith("a/binding") else None
                server.add(pod("a"))
                await server.until(lambda: bool(server.requests["POST /api/v1/namespaces/default/pods/a/binding"]))
                uid = server.add(pod("b", priority=1))["metadata"]["uid"]
                await server.until(lambda: two.desk.cluster.known(uid) is not None)
                server.deaf.add("two")
                await server.until(lambda: server.placements() == {"a": "n"})
                await leading.aclose()
                server.protected.add("a")
                await server.until(lambda: two.scheduler.detail()["decides"])
                await server.until(lambda: len(two.book.passes) > 0)
                await asyncio.sleep(0.05)
        assert server.placements() == {"a": "n"}

    play(tmp_path, scene)


COMMAND = (
    "serve scheduler --policy fifo:place=spread --port 0 --lease-duration 2s --renew-deadline 800ms"
    " --retry-period 100ms --kubeconfig"
)


def test_a_leader_that_is_stopped_and_goes_on(tmp_path):
    """The true program, with the signals that stop and continue a process: a laptop that sleeps, a machine that hangs."""

    def started() -> subprocess.Popen[bytes]:
        words = [
            sys.executable,
            "-c",
            "from sim.cli import main; main()",
            *COMMAND.split(),
            str(tmp_path / "kubeconfig"),
        ]
        return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    async def scene(server):
        server.kubeconfig(tmp_path)
        for number in range(6):
            server.add(node(f"n{number}", 2))
        processes = [started(), started()]
        try:
            server.add(pod("first"))
            await server.until(lambda: "first" in server.placements())
            (lease,) = server.all("leases")
            number = int(lease["spec"]["holderIdentity"].split("_")[-2])
            leader, other = sorted(processes, key=lambda process: process.pid != number)
            assert leader.pid == number
            slow = [Fault(delay_s=0.3)] * 2
            server.faults = lambda _, path: slow.pop() if slow and path.endswith("binding") else None
            for name in "abc":
                server.add(pod(name, 2))
            await server.until(lambda: not slow)
            leader.send_signal(signal.SIGSTOP)
            for name in "def":
                server.add(pod(name, 2))
            await server.until(lambda: str(other.pid) in server.all("leases")[0]["spec"]["holderIdentity"])
            await server.until(lambda: len(server.placements()) == 6)
            leader.send_signal(signal.SIGCONT)
            server.remove("Pod", "first")
            await server.until(lambda: len(server.placements()) == 6)
            other.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(other.wait, 10) == 0
            server.remove("Pod", "a")
            server.add(pod("last", 2))
            await server.until(lambda: "last" in server.placements())
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                _, errors = await asyncio.to_thread(process.communicate, None, 10)
                assert b"Traceback" not in errors, errors.decode()

    play(tmp_path, scene)
