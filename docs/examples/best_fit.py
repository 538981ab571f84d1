"""Best-effort FIFO with best-fit as a policy in another process: `--policy 'process:python best_fit.py'`.

The same as `best-fit.mjs`, with Python's standard library only. Tries the waiting jobs in the order of arrival, and starts each
that fits on the servers with the least left.
"""

from __future__ import annotations

import json
import sys
from typing import Any

HELLO = {
    "type": "hello",
    "protocol": 1,
    "name": "best_fit.py 1",
    "semantics": {
        "order": "arrival",
        "blocking": "skips jobs that do not fit, without reservation",
        "placement": "best-fit",
    },
}


def enough(left: int | None, needed: int) -> bool:
    """Whether an amount suffices; None is not modelled."""
    return left is None or left >= needed


def fits(server: dict[str, Any], group: dict[str, Any], milli: int) -> bool:
    """Whether one pod of a group fits on a server as it is."""
    return (
        sum(left >= milli for left in server["left_milli"]) >= group["devices"]
        and enough(server["cpu_milli"], group["cpu_milli"])
        and enough(server["memory_mib"], group["memory_mib"])
        and enough(server["pods"], 1)
    )


def without(server: dict[str, Any], group: dict[str, Any], milli: int) -> dict[str, Any]:
    """The server without what one pod takes: of its devices, those with the least that suffices."""
    left = sorted(server["left_milli"])
    first = next((at for at, each in enumerate(left) if each >= milli), 0)
    for at in range(first, first + group["devices"]):
        left[at] -= milli
    parts = {"cpu_milli": group["cpu_milli"], "memory_mib": group["memory_mib"], "pods": 1}
    less = {key: None if server[key] is None else server[key] - part for key, part in parts.items()}
    return {"node": server["node"], "left_milli": left, **less}


class BestFit:
    """The books of the policy, and its rule."""

    def __init__(self) -> None:
        self.servers: list[dict[str, Any]] = []
        """What is left of each."""
        self.requests: dict[int, dict[str, Any]] = {}
        """What jobs ask for, by number."""
        self.waiting: dict[str, dict[str, Any]] = {}
        """Jobs, in the order of arrival."""
        self.no_room: set[int] = set()
        """Requests that did not fit, true until something is released."""

    def learn(self, message: dict[str, Any]) -> None:
        """Bring the books up to date."""
        for request in message["requests"]:
            self.requests[request["request"]] = request
        if not self.servers:
            self.servers = list(message["servers"])
        for server in message["servers"]:
            self.servers[server["node"]] = server
        for each in message["changes"]:
            if each["change"] in ("ended", "preempted"):
                self.no_room.clear()
            if "job" in each:
                self.waiting[each["job"]["job_id"]] = each["job"]
            else:
                self.waiting.pop(each["job_id"], None)
            if each["change"] == "preempted":
                self.waiting = dict(sorted(self.waiting.items(), key=lambda item: item[1]["arrival"]))

    def place(self, request: dict[str, Any]) -> list[dict[str, int]] | None:
        """Where a whole gang goes, pod by pod, or None. The driver chooses the devices."""
        milli, whole = request["device_milli"], request["device_milli"] == 1000
        ranges = request["eligible"] or [[0, len(self.servers) - 1]]
        draft = {node: self.servers[node] for first, last in ranges for node in range(first, last + 1)}
        shares: list[dict[str, int]] = []
        for number, group in enumerate(request["gang"]):
            for _ in range(group["pods"]):
                found = [
                    (server["left_milli"].count(1000) if whole else sum(server["left_milli"]), node)
                    for node, server in draft.items()
                    if fits(server, group, milli)
                ]
                if not found:
                    return None
                node = min(found)[1]
                draft[node] = without(draft[node], group, milli)
                if request["plain"] and shares and (shares[-1]["node"], shares[-1]["group"]) == (node, number):
                    shares[-1]["pods"] += 1
                else:
                    shares.append({"node": node, "pods": 1, "group": number})
        return shares

    def decide(self) -> list[dict[str, Any]]:
        """The next job to start, as an action; none if nothing fits any more."""
        for job in self.waiting.values():
            if job["request"] in self.no_room:
                continue
            placement = self.place(self.requests[job["request"]])
            if placement is not None:
                return [{"action": "start", "job_id": job["job_id"], "placement": placement}]
            self.no_room.add(job["request"])
        return []


def answers() -> None:
    """Read messages until the driver says goodbye."""
    policy = BestFit()
    for line in sys.stdin:
        message = json.loads(line)
        answer: dict[str, Any] | None = None
        if message["type"] == "hello":
            answer = HELLO
        elif message["type"] == "cluster":
            policy = BestFit()
        elif message["type"] == "pass":
            policy.learn(message)
            actions = policy.decide()
            answer = {"type": "actions", "seq": message["seq"], "actions": actions, "more": bool(actions)}
        elif message["type"] == "bye":
            return
        if answer is not None:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    answers()
