"""Leader election, and two schedulers that want the same pods: whatever happens to the leader, nothing is given twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from clocks import RATE, TurnClock
from fake_api_server import FakeApiServer, Fault
from kube_builders import node, pod
from schedulers import play, scheduling

from policies.serving.api import ApiClient
from policies.serving.leader import Leader, LeaseTerms

ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def candidate(server, folder, identity, clock=None, terms=None):
    clock = clock or TurnClock()
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


def last_renewal_ms(server):
    """By the calendar of who holds the lease."""
    (lease,) = server.all("leases")
    return round(datetime.fromisoformat(lease["spec"]["renewTime"]).timestamp() * 1000)


def test_one_leads_and_the_other_follows_when_it_is_silent(tmp_path):
    """The clocks of the two are an hour and a half apart."""

    async def work(server):
        its, other = TurnClock(skew_ms=-3_600_000), TurnClock(skew_ms=1_800_000)
        async with candidate(server, tmp_path, "one", its) as (one, said):
            await server.until(lambda: one.leads)
            async with candidate(server, tmp_path, "two", other) as (two, _):
                await its.sleep(18)  # because: a lease has 15 seconds
                assert (one.leads, two.leads, two.holder) == (True, False, "one")
                server.cut_off.add("one")
                renewed_ms = last_renewal_ms(server)
                while not two.leads:
                    assert not (one.leads and two.leads)
                    await asyncio.sleep(0.002)
                assert not one.leads
                # because: two saw the renewal when it looked next, at most 2.4 s later, and as late that it was old enough
                assert 15 <= (its.now_ms() - renewed_ms) / 1000 < 24
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
        clock = TurnClock()
        async with candidate(server, tmp_path, "two", clock) as (two, _):
            await server.until(lambda: two.holder == "one")
            assert not two.leads
            one._until_s = float("inf")
            async with ApiClient.connect(kubeconfig=server.kubeconfig(tmp_path)) as api:
                one._api = api
                await one.release()
            began_s = clock.monotonic_s()
            await server.until(lambda: two.leads)
            assert clock.monotonic_s() - began_s < 8, "it did not wait for the lease to run out"

    scene_of(work)


def test_of_many_that_begin_together_one_leads(tmp_path):
    async def work(server):
        clock = TurnClock()
        async with contextlib.AsyncExitStack() as stack:
            entered = [await stack.enter_async_context(candidate(server, tmp_path, str(n), clock)) for n in range(5)]
            leaders = [leader for leader, _ in entered]
            await server.until(lambda: any(each.leads for each in leaders))
            for _ in range(20):
                assert sum(each.leads for each in leaders) <= 1
                await clock.sleep(0.2)
            server.remove("Lease", "rehearse-scheduler", "kube-system")
            for _ in range(40):
                assert sum(each.leads for each in leaders) <= 1
                await clock.sleep(0.2)
            await server.until(lambda: sum(each.leads for each in leaders) == 1)

    scene_of(work)


@pytest.mark.parametrize("fault", [Fault(drop=True), Fault(status=500)])
def test_renewals_that_fail_for_a_moment_do_no_harm(tmp_path, fault):
    async def work(server):
        async with candidate(server, tmp_path, "one") as (one, said):
            await server.until(lambda: one.leads)
            left = [fault] * 2
            server.faults = lambda method, _: left.pop() if left and method == "PUT" else None
            await server.until(lambda: not left)
            failed_ms = last_renewal_ms(server)
            await server.until(lambda: last_renewal_ms(server) > failed_ms)
            assert one.leads
        assert said == [True]

    scene_of(work)


def test_no_answer_for_longer_than_the_renewal_limit_is_no_leadership(tmp_path):
    async def work(server):
        clock = TurnClock()
        server.sleep = clock.sleep
        async with candidate(server, tmp_path, "one", clock) as (one, said):
            await server.until(lambda: one.leads)
            left = [Fault(delay_s=30)]
            server.faults = lambda method, _: left.pop() if left and method == "PUT" else None
            await server.until(lambda: said == [True, False, True])
            assert one.leads

    scene_of(work)


def test_a_lease_that_somebody_else_took_is_lost_at_once(tmp_path):
    async def work(server):
        clock = TurnClock()
        async with candidate(server, tmp_path, "one", clock) as (one, _):
            await server.until(lambda: one.leads)
            lease = server.all("leases")[0]
            taken = {**lease, "spec": {**lease["spec"], "holderIdentity": "two"}}
            taken["metadata"] = {k: v for k, v in lease["metadata"].items() if k != "resourceVersion"}
            server.change(taken)
            began_s = clock.monotonic_s()
            await server.until(lambda: not one.leads)
            assert clock.monotonic_s() - began_s < 6, "it renews every 2 s, and leads for 10 s where nothing says no"

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
        first = scheduling(server, tmp_path, lease=terms, identity="one", clock=TurnClock())
        second = scheduling(
            server, tmp_path, lease=terms, identity="two", clock=TurnClock(RATE + 2, 60_000), ready=False
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
        clock, terms = TurnClock(), LeaseTerms()
        server.sleep = clock.sleep
        slow = [Fault(delay_s=30)]
        server.faults = lambda method, path: slow.pop() if slow and path.endswith("a/binding") else None
        first = scheduling(server, tmp_path, lease=terms, identity="one", clock=clock)
        second = scheduling(
            server, tmp_path, "preempt-priority", lease=terms, identity="two", clock=clock, ready=False
        )
        async with first, second as two:
            server.add(pod("a"))
            await server.until(lambda: not slow)
            late_s = clock.monotonic_s() + 31
            server.cut_off.add("one")
            server.break_watches()
            server.add(pod("b", priority=1))
            await server.until(lambda: two.leader.leads)
            await server.until(lambda: server.placements() == {"b": "n"})
            await clock.sleep(late_s - clock.monotonic_s())
        assert server.placements() == {"b": "n"}

    play(tmp_path, scene)


def test_a_new_leader_knows_what_the_one_before_has_bound(tmp_path):
    """Though its own watch lags behind: it lists anew before it decides."""

    async def scene(server):
        server.add(node("n", 1))
        first = scheduling(server, tmp_path, lease=LeaseTerms(), identity="one", clock=TurnClock())
        second = scheduling(
            server, tmp_path, "preempt-priority", lease=LeaseTerms(), identity="two", clock=TurnClock(), ready=False
        )
        async with contextlib.AsyncExitStack() as leading:
            await leading.enter_async_context(first)
            async with second as two:
                asked, deaf = "POST /api/v1/namespaces/default/pods/a/binding", asyncio.Event()
                server.faults = lambda _, path: Fault(hold=deaf) if path.endswith("a/binding") else None
                server.add(pod("a"))
                await server.until(lambda: bool(server.requests[asked]))
                uid = server.add(pod("b", priority=1))["metadata"]["uid"]
                await server.until(lambda: two.desk.cluster.known(uid) is not None)
                server.deaf.add("two")
                deaf.set()
                await server.until(lambda: server.placements() == {"a": "n"})
                await leading.aclose()
                server.protected.add("a")
                await server.until(lambda: two.scheduler.detail()["decides"])
                # because: it wants to preempt what it did not see being bound
                await server.until(lambda: bool(server.requests[asked.replace("binding", "eviction")]))
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
            assert await asyncio.to_thread(other.wait, 30) == 0
            server.remove("Pod", "a")
            server.add(pod("last", 2))
            await server.until(lambda: "last" in server.placements())
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                _, errors = await asyncio.to_thread(process.communicate, None, 30)
                assert b"Traceback" not in errors, errors.decode()

    play(tmp_path, scene)
