"""The watcher against what an API server wrote on the wire: answers in their order, in pieces that end anywhere."""

from __future__ import annotations

import asyncio
import json
import random

from aiohttp import web
from kube_builders import KINDS, MINE

from policies.placement.first_fit import FirstFit
from policies.serving.api import ApiClient
from policies.serving.clock import SystemClock
from policies.serving.cluster import Cluster
from policies.serving.desk import Desk
from policies.serving.resources import LIVE_PODS, NODES
from policies.serving.watch import Watcher

NODE = (
    '{"metadata":{"name":"n1","uid":"u-n1","resourceVersion":"%s","labels":{"kubernetes.io/hostname":"n1"}},"spec":{%s},'
    '"status":{"capacity":{"cpu":"64","memory":"528Gi","nvidia.com/gpu":"8","pods":"110"},'
    '"allocatable":{"cpu":"63500m","memory":"540831412Ki","nvidia.com/gpu":"8","pods":"110"},'
    '"conditions":[{"type":"Ready","status":"True","lastHeartbeatTime":"2026-03-02T08:00:10Z"}]}}'
)
POD = (
    '{"metadata":{"name":"%s","namespace":"team-a","uid":"u-%s","resourceVersion":"%s","creationTimestamp":"2026-03-02T08:00:00Z"%s},'
    '"spec":{%s"schedulerName":"rehearse","containers":[{"name":"train","image":"train:1","resources":{"limits":'
    '{"nvidia.com/gpu":"%d"},"requests":{"cpu":"4","memory":"16Gi","nvidia.com/gpu":"%d"}}}],"tolerations":'
    '[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],"priority":0},'
    '"status":{"phase":"%s","qosClass":"Burstable"}}'
)


def a_pod(name: str, version: int, gpus: int, phase: str = "Pending", spec: str = "", meta: str = "") -> str:
    return POD % (name, name, version, meta, spec, gpus, gpus, phase)


def event(kind: str, item: str, of: str = "Pod") -> str:
    return f'{{"type":"{kind}","object":{item.replace("{", f"""{{"kind":"{of}","apiVersion":"v1",""", 1)}}}\n'


def listing(kind: str, version: int, *items: str, more: str = "") -> str:
    metadata = (
        f'{{"resourceVersion":"{version}"' + (f',"continue":"{more}","remainingItemCount":1' if more else "") + "}"
    )
    return f'{{"kind":"{kind}List","apiVersion":"v1","metadata":{metadata},"items":[{",".join(items)}]}}\n'


BOOKMARK = (
    '{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"%d",'
    '"creationTimestamp":null}}}\n'
)
EXPIRED = (
    '{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
    '"message":"too old resource version: 130 (900)","reason":"Expired","code":410}}\n'
)

BOUND = '"nodeName":"n1",'
RECORDED = {
    "nodes": [
        ("", listing("Node", 100, NODE % (90, ""))),
        ("100", event("MODIFIED", NODE % (101, '"unschedulable":true'), "Node") + BOOKMARK % 140),
        ("140", event("MODIFIED", NODE % (150, ""), "Node")),
    ],
    "pods": [
        ("", listing("Pod", 100, a_pod("a", 91, 2), more="next")),
        ("next", listing("Pod", 100, a_pod("b", 92, 4))),
        (
            "100",
            event("MODIFIED", a_pod("a", 110, 2, spec=BOUND))
            + event("ADDED", a_pod("c", 111, 1))
            + event("MODIFIED", a_pod("a", 112, 2, "Running", spec=BOUND))
            + BOOKMARK % 130,
        ),
        ("130", EXPIRED),
        ("", listing("Pod", 900, a_pod("a", 112, 2, "Running", spec=BOUND), a_pod("d", 890, 8, spec=BOUND))),
        (
            "900",
            event("DELETED", a_pod("d", 901, 8, spec=BOUND))
            + event(
                "MODIFIED",
                a_pod("a", 902, 2, "Running", spec=BOUND, meta=',"deletionTimestamp":"2026-03-02T09:00:00Z"'),
            )
            + event("ADDED", a_pod("e", 903, 6))
            + event("DELETED", a_pod("a", 904, 2, "Succeeded", spec=BOUND)),
        ),
    ],
}
TOLD = [
    "ADDED a", "ADDED b", "MODIFIED a", "ADDED c", "MODIFIED a", "DELETED b", "DELETED c", "ADDED d", "DELETED d", "MODIFIED a",
    "ADDED e", "DELETED a",
]  # fmt: skip


class Player:
    """Gives the recorded answers, each once and only to the request that it was an answer to."""

    def __init__(self, seed: int) -> None:
        self.left = {name: list(answers) for name, answers in RECORDED.items()}
        self._rng = random.Random(seed)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        left = self.left[request.path.rpartition("/")[2]]
        watched = request.query.get("watch") == "true"
        if not left:
            await asyncio.sleep(60)
        asked, text = left.pop(0)
        assert asked == (request.query["resourceVersion"] if watched else request.query.get("continue", ""))
        assert request.query.get("allowWatchBookmarks", "true") == "true"
        response = web.StreamResponse()
        await response.prepare(request)
        data = text.encode()
        while data:
            size = self._rng.randint(1, 400)
            await response.write(data[:size])
            data = data[size:]
            await asyncio.sleep(0)
        return response


async def play(tmp_path, seed: int) -> tuple[list[str], Cluster]:
    player = Player(seed)
    app = web.Application()
    app.router.add_get("/{tail:.*}", player.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = {"name": "x", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    config = tmp_path / "kubeconfig"
    config.write_text(json.dumps({"clusters": [server], "contexts": [context], "users": [], "current-context": "x"}))
    cluster = Cluster(KINDS, ours=lambda pod: pod.scheduler == MINE)
    desk = Desk(cluster, None, clock=lambda: 0)
    told: list[str] = []

    async def sink(events):
        for each in events:
            desk.tell(each)
            if each["object"]["kind"] == "Pod":
                told.append(f"{each['type']} {each['object']['metadata']['name']}")

    async with ApiClient.connect(kubeconfig=config) as api:
        watcher = asyncio.create_task(Watcher(api, (NODES, LIVE_PODS), sink, clock=SystemClock()).run())
        async with asyncio.timeout(10):
            while any(player.left.values()) or len(told) < len(TOLD):
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
    await runner.cleanup()
    desk.close()
    return told, cluster


def test_a_recorded_day_is_told_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("policies.serving.watch.RETRY_S", 0.01)
    for seed in range(2):
        told, cluster = asyncio.run(play(tmp_path, seed))
        assert told == TOLD
        assert cluster.nodes.idle == [8]
        (waiting,) = cluster.pending
        assert waiting.job_id == "team-a/e"
        assert FirstFit().place(waiting.request, cluster.nodes) is not None
        assert not list(cluster.running)
        assert cluster.faults == {}
