"""The extender over HTTP: reads requests, asks the desk, writes replies; and says of each request in one line what came of it.

What went wrong is told where kube-scheduler looks for it. `filter` and `bind` have an `Error` in their reply. `preempt` and
`prioritize` have none, so the status of the response is not 200: kube-scheduler gives up the preemption, and goes on without the
scores without a word, which is why that is logged as an error here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final, Protocol, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from policies.kube.objects import Json, ObjectError, mapping, text
from policies.serving import extender_wire as wire
from policies.serving.api import ApiError
from policies.serving.desk import Desk
from policies.serving.extender import PolicyExtender
from policies.serving.health import Health
from policies.serving.http import Bodies, BodyError, Limits, json_response
from policies.serving.metrics import Metrics

log = logging.getLogger(__name__)

T = TypeVar("T")

NO_USAGE: Final = "no API server: pods are not known, each node counts as idle"
NAMES_ONLY: Final = (
    "the request names nodes, and nothing is known of them without an API server: give --kubeconfig or --in-cluster, or set"
    " nodeCacheCapable: false"
)
NO_BINDER: Final = "no API server to bind with: give --kubeconfig or --in-cluster, or leave bindVerb out"


class Binder(Protocol):
    """Binds pods. `policies.serving.api.ApiClient` is one."""

    async def bind(self, namespace: str, name: str, uid: str, node: str, *, limit_s: float = ...) -> None:
        """Bind a pod to a node. Raises `ApiError`."""
        ...


class AnswerError(Exception):
    """There is no answer to a question that came as it should."""


@dataclass(slots=True)
class _Asked:
    """One request on its way: what its log line says."""

    verb: str
    began_s: float = field(default_factory=perf_counter)
    pod: str = ""
    uid: str = ""
    nodes_in: int = 0
    nodes_out: int = 0
    body_bytes: int = 0
    gone: bool = False
    """Nobody waits for the answer any more."""

    def about(self, pod: Json) -> None:
        """Which pod it is about."""
        meta = mapping(pod.get("metadata"))
        self.pod = f"{text(meta.get('namespace')) or 'default'}/{text(meta.get('name'))}" if meta else ""
        self.uid = text(meta.get("uid"))


class ExtenderApp:
    """See the module; `asgi` is the application.

    `binder` is the way to the API server, None if there is none: then bare nodes count as idle. `unready` says why it is too
    early to answer, or nothing.
    """

    def __init__(
        self,
        desk: Desk,
        extender: PolicyExtender,
        *,
        limits: Limits,
        metrics: Metrics,
        prefix: str = "",
        binder: Binder | None = None,
        usage: bool = True,
        unready: Callable[[], str] = lambda: "",
        detail: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._desk = desk
        self._extender = extender
        self._limits = limits
        self._metrics = metrics
        self._binder = binder
        self._usage = usage
        self._unready = unready
        self._bodies = Bodies(limits)
        self._begun = 0
        """Questions that went to the desk: counted by the event loop alone."""
        self._ended = 0
        """Those that it has done with: counted by the desk alone."""
        self._later: set[asyncio.Task[Any]] = set()
        """What nobody waits for, but must be done."""
        metrics.usage_known.set(int(usage))
        metrics.waiting.set_function(lambda: self.waiting)
        self._health = Health(desk, metrics, unready=unready, detail=self._said(detail))
        verbs = [Route(f"{prefix}/{verb}", self._endpoint(verb), methods=["POST"]) for verb in wire.VERBS]
        self.asgi = Starlette(routes=[*self._health.routes, *verbs])

    @property
    def waiting(self) -> int:
        """Requests in work, or waiting for the desk."""
        return self._begun - self._ended

    async def finish(self) -> None:
        """Wait for what nobody waited for."""
        await asyncio.gather(*self._later, return_exceptions=True)

    def _said(self, detail: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
        usage = "pods are watched" if self._usage else NO_USAGE
        return lambda: {"usage": usage, "requests_waiting": self.waiting, **detail()}

    # -- a request -----------------------------------------------------------------------------------------------

    def _endpoint(self, verb: str) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            asked = _Asked(verb)
            try:
                async with self._bodies.read(request) as body:
                    asked.began_s, asked.body_bytes = perf_counter(), len(body)
                    if self.waiting >= self._limits.waiting:
                        raise BodyError(503, f"{self.waiting} requests wait already")  # noqa: TRY301  # because: as the others
                    return self._done(asked, 200, await self._answer(asked, body))
            except BodyError as error:
                return self._failed(asked, error.status, str(error), close=error.status != 503)
            except wire.MalformedError as error:
                return self._failed(asked, 400, str(error))
            except wire.WireError as error:
                return self._no_answer(asked, 400, str(error))
            except AnswerError as error:
                return self._no_answer(asked, 500, str(error))

        return answer

    async def _answer(self, asked: _Asked, body: bytes) -> Any:
        value = wire.read_json(body)
        asked.about(wire.pod_of(value))
        reason = self._unready()
        if reason:
            raise AnswerError(f"not ready: {reason}")
        if asked.verb == "filter":
            return await self._filter(asked, wire.read_node_args(value))
        if asked.verb == "prioritize":
            return await self._prioritize(asked, wire.read_node_args(value))
        if asked.verb == "preempt":
            return await self._preempt(asked, wire.read_preempt_args(value))
        return await self._bind(asked, wire.read_bind_args(value))

    # -- the verbs -------------------------------------------------------------------------------------------------

    async def _filter(self, asked: _Asked, args: wire.NodeArgs) -> Any:
        asked.nodes_in = len(args.names)

        def decide() -> Any:
            self._learn(args)
            return self._extender.filter(self._extender.read(args.pod), args.names)

        request = {"Pod": args.pod, "Nodes": None, "NodeNames": args.names}
        answer = await self._decide(
            asked, request, decide, lambda found: wire.filter_reply(found, args._replace(nodes=None))
        )
        asked.nodes_out = len(answer.nodes)
        return wire.filter_reply(answer, args)

    async def _prioritize(self, asked: _Asked, args: wire.NodeArgs) -> Any:
        asked.nodes_in = len(args.names)

        def decide() -> Any:
            self._learn(args)
            return self._extender.prioritize(self._extender.read(args.pod), args.names)

        request = {"Pod": args.pod, "Nodes": None, "NodeNames": args.names}
        scores = await self._decide(asked, request, decide, lambda found: wire.prioritize_reply(found.items()))
        asked.nodes_out = sum(score > 0 for score in scores.values())
        return wire.prioritize_reply(scores.items())

    async def _preempt(self, asked: _Asked, args: wire.PreemptArgs) -> Any:
        asked.nodes_in = len(args.candidates)
        candidates = {node: each.victims for node, each in args.candidates.items()}

        def decide() -> Any:
            if not self._usage and self._extender.preempts:
                raise AnswerError(NO_USAGE)
            return self._extender.preempt(self._extender.read(args.pod), candidates)

        request = {"Pod": args.pod, "NodeNameToVictims": None, **wire.preempt_reply(candidates)}
        kept = await self._decide(asked, request, decide, wire.preempt_reply)
        asked.nodes_out = len(kept)
        return wire.preempt_reply(kept)

    async def _bind(self, asked: _Asked, args: wire.BindArgs) -> Any:
        asked.pod, asked.uid, asked.nodes_in = args.key, args.uid, 1
        binder = self._binder
        if binder is None:
            raise AnswerError(NO_BINDER)
        request = dict(zip(("PodName", "PodNamespace", "PodUID", "Node"), args, strict=True))
        # because: from here on the pod holds its place, which whoever replays the journal must know at this very point
        await self._decide(
            asked, request, lambda: self._extender.binds(args.uid, args.node), lambda _: wire.bind_reply()
        )
        fault, refused = "", False
        try:
            limit_s = max(self._limits.request_s - (perf_counter() - asked.began_s), 0.1)
            await binder.bind(args.namespace, args.name, args.uid, args.node, limit_s=limit_s)
        except ApiError as error:
            fault, refused = f"cannot bind: {error}", not error.no_answer

        def settle() -> None:
            if refused:
                self._extender.unbound(args.uid)
            if fault:
                raise AnswerError(fault)

        # because: whether it is bound is known; the reply does not wait for the desk
        undone = request if refused else None
        task = asyncio.create_task(self._decide(asked, undone, settle, lambda _: wire.bind_reply(), patient=True))
        self._later.add(task)
        task.add_done_callback(self._settled)
        if fault:
            raise AnswerError(fault)
        asked.nodes_out = 1
        return wire.bind_reply()

    def _settled(self, task: asyncio.Task[Any]) -> None:
        self._later.discard(task)
        if not task.cancelled():
            task.exception()  # because: a failure was logged when it was decided

    def _learn(self, args: wire.NodeArgs) -> None:
        """Without a watch the nodes of the request are all that is known."""
        if self._usage:
            return
        if args.nodes is None:
            raise AnswerError(NAMES_ONLY)
        self._extender.learn(args.nodes, self._desk.tell)

    # -- the desk --------------------------------------------------------------------------------------------------

    async def _decide(
        self,
        asked: _Asked,
        request: Json | None,
        decide: Callable[[], T],
        reply: Callable[[T], Any],
        *,
        patient: bool = False,
    ) -> T:
        """What `decide` gives on the desk, written down with its question. Raises `AnswerError`, in time unless `patient`."""
        limit_s = None if patient else self._limits.request_s
        self._begun += 1
        try:
            found = await self._desk.do(lambda: self._work(asked, request, decide, reply), limit_s=limit_s)
        except TimeoutError:
            asked.gone = True
            raise AnswerError(f"the policy has not answered in {self._limits.request_s:g} s") from None
        except RuntimeError:
            self._begun -= 1
            raise AnswerError("the server is being stopped") from None
        if isinstance(found, AnswerError):
            raise found
        return found

    def _work(
        self, asked: _Asked, request: Json | None, decide: Callable[[], T], reply: Callable[[T], Any]
    ) -> T | AnswerError:
        """On the desk. Gives errors instead of raising them: whatever a policy does, the desk lives."""
        began_s = self._health.busy_since_s = perf_counter()
        error: AnswerError | None = None
        written: Any = None
        try:
            if asked.gone:
                return AnswerError("nobody waits for the answer")
            try:
                found = decide()
                written = reply(found)
            except AnswerError as said:
                error = said
            except ObjectError as said:
                error = AnswerError(str(said))
            except BaseException as said:  # because: a policy may raise anything, SystemExit too
                log.exception(
                    "%s failed", self._extender.policy.name, extra={"fields": {"pod": asked.pod, "uid": asked.uid}}
                )
                error = AnswerError(f"policy {self._extender.policy.name} failed: {type(said).__name__}: {said}")
            took_s = perf_counter() - began_s
            self._metrics.decision_seconds.labels(asked.verb).observe(took_s)
            if request is not None:
                self._record(asked, request, written if error is None else {"Error": str(error)}, took_s)
            return found if error is None else error
        finally:
            self._health.busy_since_s = None
            self._ended += 1

    def _record(self, asked: _Asked, request: Json, reply: Any, took_s: float) -> None:
        recorder = self._desk.recorder
        if recorder is None:
            return
        decision = {
            "driver": "extender",
            "verb": asked.verb,
            "request": request,
            "reply": reply,
            "took_us": round(took_s * 1e6),
        }
        try:
            recorder.decision(self._desk.cluster.now_ms, decision)
        except (OSError, ValueError) as error:
            self._metrics.journal_faults.inc()
            log.warning(
                "the journal is not written: %s", error, extra={"fields": {"pod": asked.pod, "uid": asked.uid}}
            )

    # -- replies -----------------------------------------------------------------------------------------------------

    def _no_answer(self, asked: _Asked, status: int, message: str) -> Response:
        """Say so where kube-scheduler looks for it."""
        if asked.verb == "filter":
            return self._done(asked, 200, wire.filter_error(message), message)
        if asked.verb == "bind":
            return self._done(asked, 200, wire.bind_reply(message), message)
        return self._failed(asked, status, message)

    def _failed(self, asked: _Asked, status: int, message: str, *, close: bool = False) -> Response:
        return self._done(asked, status, {"error": message}, message, close=close)

    def _done(self, asked: _Asked, status: int, reply: Any, error: str = "", *, close: bool = False) -> Response:
        """The response, counted and logged."""
        response = json_response(reply, status, close=close)
        took_s = perf_counter() - asked.began_s
        metrics, verb = self._metrics, asked.verb
        metrics.requests.labels(verb, "error" if error else "ok").inc()
        metrics.request_seconds.labels(verb).observe(took_s)
        metrics.request_bytes.labels(verb).observe(asked.body_bytes)
        metrics.reply_bytes.labels(verb).observe(len(response.body))
        fields: dict[str, Any] = {
            "verb": verb,
            "pod": asked.pod,
            "uid": asked.uid,
            "nodes_in": asked.nodes_in,
            "nodes_out": asked.nodes_out,
            "ms": round(took_s * 1000, 3),
            "bytes_in": asked.body_bytes,
            "status": status,
        }
        if error:
            fields["error"] = error
            said = "scores are lost: kube-scheduler goes on without them" if verb == "prioritize" else "no answer"
            log.error(said, extra={"fields": fields})
        else:
            log.info("answered", extra={"fields": fields})
        return response
