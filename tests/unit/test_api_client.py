"""The API client and the watcher, against the fake API server over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml
from fake_api_server import FakeApiServer, Fault
from kube_builders import node, pod, pod_group

from policies.serving.api import ApiClient, ApiError, ConnectionSetupError
from policies.serving.clock import SystemClock
from policies.serving.resources import LEASES, LIVE_PODS, NODES, POD_GROUPS, PODS
from policies.serving.watch import Watcher


@contextlib.asynccontextmanager
async def connected(tmp_path, **options: Any) -> AsyncIterator[tuple[FakeApiServer, ApiClient]]:
    async with (
        FakeApiServer(**options) as server,
        ApiClient.connect(kubeconfig=server.kubeconfig(tmp_path), rng=random.Random(0)) as api,
    ):
        yield server, api


class Picture:
    """What a sink believes to be there. Refuses what cannot follow."""

    def __init__(self) -> None:
        self.there: dict[tuple[str, str], Any] = {}
        self.log: list[str] = []

    async def sink(self, events: list[Any]) -> None:
        for event in events:
            item = event["object"]
            key = (item["kind"], item["metadata"]["name"])
            self.log.append(f"{event['type']} {item['metadata']['name']}")
            if event["type"] == "DELETED":
                assert self.there.pop(key)["metadata"]["uid"] == item["metadata"]["uid"]
            else:
                assert (key in self.there) == (event["type"] == "MODIFIED"), self.log
                self.there[key] = item

    def is_of(self, server: FakeApiServer) -> bool:
        said = {("Pod", each["metadata"]["name"]): each for each in server.all("pods")}
        said |= {("Node", each["metadata"]["name"]): each for each in server.all("nodes")}
        return said == self.there


@contextlib.asynccontextmanager
async def watching(api: ApiClient, picture: Picture, resources=(NODES, PODS)) -> AsyncIterator[Watcher]:
    watcher = Watcher(api, resources, picture.sink, clock=SystemClock())
    task = asyncio.ensure_future(watcher.run())
    try:
        async with asyncio.timeout(5):
            await watcher.synced()
        yield watcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_list_comes_in_pages_and_each_object_says_its_kind(tmp_path):
    async def scene():
        async with connected(tmp_path) as (server, api):
            for number in range(7):
                server.add(pod(f"p{number}"))
            listing = await api.list_all(PODS, page=3)
            assert [item["metadata"]["name"] for item in listing.items] == [f"p{number}" for number in range(7)]
            assert {(item["kind"], item["apiVersion"]) for item in listing.items} == {("Pod", "v1")}
            assert server.requests["GET /api/v1/pods"] == 3

    asyncio.run(scene())


def test_reads_are_repeated_and_writes_are_not(tmp_path):
    left = [Fault(status=503), Fault(lose=True), Fault(status=500)]

    async def scene():
        async with connected(tmp_path) as (server, api):
            server.add(pod("a"))
            server.faults = lambda *_: left.pop(0) if left else None
            assert (await api.get(PODS, "default", "a"))["metadata"]["name"] == "a"
            assert left == []
            left.append(Fault(status=503))
            with pytest.raises(ApiError, match="503") as refused:
                await api.bind("default", "a", "", "n")
            assert not refused.value.no_answer
            left.append(Fault(drop=True))
            with pytest.raises(ApiError) as lost:
                await api.bind("default", "a", "", "n")
            assert lost.value.no_answer
            assert server.placements() == {"a": "n"}, "no answer does not mean that nothing happened"

    asyncio.run(scene())


def test_overload_is_repeated_and_a_disruption_budget_is_an_answer(tmp_path):
    left = [Fault(status=429), Fault(status=429)]

    async def scene():
        async with connected(tmp_path) as (server, api):
            server.add(node("n"))
            server.add(pod("a", node="n"))
            await api.get(PODS, "default", "a")
            server.faults = lambda method, _: left.pop(0) if method == "POST" and left else None
            server.protected.add("a")
            with pytest.raises(ApiError) as refused:
                await api.evict("default", "a", "")
            assert (refused.value.status, refused.value.causes, left) == (429, ("DisruptionBudget",), [])
            server.protected.clear()
            await api.evict("default", "a", "")
            assert server.pod("a") is None

    asyncio.run(scene())


@pytest.mark.parametrize("version", ["policy/v1", "policy/v1beta1"])
def test_evictions_speak_the_version_of_the_server(tmp_path, version):
    async def scene():
        async with connected(tmp_path, eviction=version) as (server, api):
            server.add(pod("a", node="n"))
            with pytest.raises(ApiError, match="409"):
                await api.evict("default", "a", "of another pod")
            await api.evict("default", "a", server.pod("a")["metadata"]["uid"])
            assert server.pod("a") is None

    asyncio.run(scene())


def test_a_slow_answer_is_no_answer(tmp_path):
    async def scene():
        async with connected(tmp_path) as (server, api):
            server.add(pod("a"))
            server.faults = lambda *_: Fault(delay_s=0.3)
            with pytest.raises(ApiError, match="no answer in time"):
                await api.request("POST", PODS.path("default", "a", "binding"), body={}, limit_s=0.05)

    asyncio.run(scene())


def test_a_lease_is_replaced_only_as_it_was_read(tmp_path):
    async def scene():
        async with connected(tmp_path) as (_, api):
            lease = await api.create(LEASES, "default", {"metadata": {"name": "x"}, "spec": {"holderIdentity": "a"}})
            lease["kind"] = "Lease"
            await api.replace(LEASES, "default", "x", lease)
            with pytest.raises(ApiError) as refused:
                await api.replace(LEASES, "default", "x", lease)
            assert (refused.value.status, refused.value.reason) == (409, "Conflict")

    asyncio.run(scene())


def test_discovery_finds_what_the_server_has(tmp_path):
    async def scene():
        async with connected(tmp_path) as (_, api):
            found = [await api.find(resource) for resource in POD_GROUPS]
            assert [each and each.version for each in found] == ["v1alpha1", None, None]
            assert await api.server_version() == "v1.36.0"

    asyncio.run(scene())


def test_a_token_that_is_not_believed_any_more_is_read_again(tmp_path):
    async def scene():
        async with FakeApiServer(token="new") as server:
            path = server.kubeconfig(tmp_path)
            (tmp_path / "token").write_text("old\n")
            config = yaml.safe_load(path.read_text())
            config["users"][0]["user"] = {"tokenFile": "token"}
            path.write_text(yaml.safe_dump(config))
            async with ApiClient.connect(kubeconfig=path) as api:
                with pytest.raises(ApiError, match="401"):
                    await api.list_all(PODS)
                (tmp_path / "token").write_text("new\n")
                assert (await api.list_all(PODS)).items == []

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("{]", "kubeconfig"),
        ("a: b", "Expected key current-context"),
        ("5", "cannot be used"),
        ("clusters: []\ncontexts: []\ncurrent-context: x", "Expected object with name x"),
    ],
)
def test_a_kubeconfig_that_is_none_is_refused(tmp_path, content, said):
    async def scene():
        path = tmp_path / "config"
        if content is not None:
            path.write_text(content)
        async with ApiClient.connect(kubeconfig=path):
            raise AssertionError

    with pytest.raises(ConnectionSetupError, match=said):
        asyncio.run(scene())


def test_without_any_way_to_the_server_the_message_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    async def scene(**options):
        async with ApiClient.connect(**options):
            raise AssertionError

    with pytest.raises(ConnectionSetupError, match=r"~/\.kube/config"):
        asyncio.run(scene())
    with pytest.raises(ConnectionSetupError, match="account of the pod"):
        asyncio.run(scene(in_cluster=True))


# -- the watcher ------------------------------------------------------------------------------------------------


def test_the_watcher_tells_each_change_once(tmp_path):
    async def scene():
        async with connected(tmp_path) as (server, api):
            server.add(node("n"))
            server.add(pod("a"))
            picture = Picture()
            async with watching(api, picture):
                assert sorted(picture.log) == ["ADDED a", "ADDED n"]
                server.add(pod("b"))
                await api.bind("default", "b", "", "n")
                server.remove("Pod", "a")
                await server.until(lambda: picture.is_of(server))
            assert picture.log[2:] == ["ADDED b", "MODIFIED b", "DELETED a"]
            assert server.requests["GET /api/v1/pods"] == 1

    asyncio.run(scene())


def test_a_pod_that_ends_is_gone_for_who_watches_live_ones(tmp_path):
    async def scene():
        async with connected(tmp_path) as (server, api):
            item = server.add(pod("a", node="n"))
            picture = Picture()
            async with watching(api, picture, [LIVE_PODS]):
                server.change({**item, "status": {"phase": "Succeeded"}})
                await server.until(lambda: not picture.there)
            assert picture.log == ["ADDED a", "DELETED a"]

    asyncio.run(scene())


def test_after_the_server_forgot_the_past_the_difference_is_told(tmp_path):
    async def scene():
        async with connected(tmp_path) as (server, api):
            for name in ("stays", "changes", "vanishes", "is-another"):
                server.add(pod(name))
            picture = Picture()
            async with watching(api, picture, [PODS]) as watcher:
                await server.go()
                await server.until(lambda: bool(watcher.faults))
                server.change({**server.pod("changes"), "status": {"phase": "Running"}})
                for name in ("vanishes", "is-another"):
                    server.remove("Pod", name)
                server.add(pod("is-another"))
                server.add(pod("comes"))
                server.forget_past()
                del picture.log[:]
                await server.come()
                await server.until(lambda: picture.is_of(server))
                assert not watcher.faults
            assert picture.log == [
                "DELETED vanishes",
                "MODIFIED changes",
                "ADDED comes",
                "DELETED is-another",
                "ADDED is-another",
            ]

    asyncio.run(scene())


def test_a_broken_watch_goes_on_where_it_stopped(tmp_path):
    async def scene():
        async with connected(tmp_path) as (server, api):
            picture = Picture()
            async with watching(api, picture, [PODS]):
                server.add(pod("a"))
                await server.until(lambda: picture.is_of(server))
                server.break_watches()
                server.add(pod("b"))
                await server.until(lambda: picture.is_of(server))
            assert picture.log == ["ADDED a", "ADDED b"]
            assert server.requests["GET /api/v1/pods"] == 1, "no second list was needed"

    asyncio.run(scene())


def test_who_asks_for_a_resync_gets_what_was_true_then(tmp_path):
    async def scene():
        async with connected(tmp_path) as (server, api):
            picture = Picture()
            async with watching(api, picture) as watcher:
                server.faults = lambda method, _: Fault(delay_s=0.05) if method == "WATCH" else None
                server.break_watches()
                server.add(pod("a"))
                await watcher.resync()
                assert picture.is_of(server)

    asyncio.run(scene())


def test_a_resource_that_the_server_lacks_has_no_objects_until_it_comes(tmp_path, monkeypatch):
    monkeypatch.setattr("policies.serving.watch.ABSENT_S", 0.02)

    async def scene():
        async with connected(tmp_path) as (server, api):
            kind = server.kinds.popitem()
            picture = Picture()
            async with watching(api, picture, [POD_GROUPS[0]]):
                assert picture.there == {}
                server.kinds.update([kind])
                server.add(pod_group("g", 2))
                await server.until(lambda: ("PodGroup", "g") in picture.there)

    asyncio.run(scene())


def test_a_sink_that_fails_is_heard_of(tmp_path):
    async def scene():
        async with connected(tmp_path) as (server, api):
            server.add(pod("a"))

            async def sink(_: object) -> None:
                raise ZeroDivisionError

            await Watcher(api, [PODS], sink, clock=SystemClock()).run()

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(scene())
    assert raised.group_contains(ZeroDivisionError)


def test_a_long_random_life_is_told_without_a_gap(tmp_path):
    rng = random.Random(1)

    async def scene():
        async with connected(tmp_path) as (server, api):
            picture = Picture()
            async with watching(api, picture, [NODES, PODS]):
                for step in range(250):
                    name = f"p{rng.randrange(12)}"
                    item = server.pod(name)
                    if item is None:
                        server.add(pod(name))
                    elif rng.random() < 0.4:
                        server.remove("Pod", name)
                    else:
                        server.change({**item, "status": {"phase": "Pending", "step": step}})
                    if rng.random() < 0.03:
                        server.break_watches()
                    if rng.random() < 0.05:
                        server.forget_past()
                    if rng.random() < 0.3:
                        await asyncio.sleep(0.001)
                await server.until(lambda: picture.is_of(server))

    asyncio.run(scene())
