"""A whole-cycle policy in another process, in any language: JSON Lines on its standard input and output.

It sees what every policy sees: the cluster once, then what changed; and each of its actions is checked and applied before the
next, as ever. It is one process for each run. `docs/reference/process-policy.md` is its side of the contract.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

from policies.api import (
    Action,
    ClusterView,
    ExternalPolicyError,
    Placement,
    Policy,
    Preempt,
    Reject,
    Request,
    Resize,
    Semantics,
    Share,
    Start,
    WakeAt,
)
from policies.bitset import from_members
from policies.nodes import NodeTable
from policies.serving.process_books import Books
from policies.serving.process_link import Link, LinkError
from policies.serving.process_messages import (
    PROTOCOL,
    MessageError,
    PolicyHello,
    ShareMessage,
    encode,
    read_actions,
    read_hello,
    shorten,
)


class ProcessPolicy(Policy):
    """The policy that the program `command` is. `name` is what messages call it; by default its command.

    The program is started at once, and anew for a run after `close`. Raises `ExternalPolicyError` if it does not answer the
    handshake as it should, or not within `timeout_ms`, which holds for every answer.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str | None = None,
        timeout_ms: int = 30_000,
        cwd: str | None = None,
        oracle: bool = False,
    ) -> None:
        self.name = name or f"process:{shlex.join(command)}"
        self._command = tuple(command)
        self._timeout_ms = timeout_ms
        self._cwd = cwd
        self._oracle = oracle
        self._link: Link | None = None
        self._seq = 0
        """Passes that this process was asked for."""
        self._books: Books | None = None
        """What this process knows; None until the first pass of its run."""
        self._hello: PolicyHello | None = None
        """What it said of itself; the same in every run."""
        self.runs_on_empty_queue = self._begin().runs_on_empty_queue

    @property
    def messages(self) -> int:
        """Passes that the process of this run was asked for, those after `more` included."""
        return self._seq

    def semantics(self) -> Semantics:
        """As the program says of itself; its name is an option."""
        assert self._hello is not None
        said: dict[str, Any] = self._hello.semantics.model_dump()
        return Semantics(**{**said, "options": {"program": self._hello.name, **said["options"]}})

    def decide(self, view: ClusterView) -> Iterator[Action]:
        """Ask the process, and hand on its actions one by one. Raises `ExternalPolicyError`."""
        link, books, lead = self._meet(view)
        hello = self._hello
        assert hello is not None
        more = True
        while more:
            self._seq += 1
            message = books.message(self._seq, attained="attained" in hello.wants)
            what = f"message {self._seq} (the pass at {view.now_ms} ms)"
            line = self._ask(link, lead + encode(message), what)
            lead = b""
            try:
                answer = read_actions(line)
                if answer.seq != self._seq:
                    raise MessageError(f"seq: must be {self._seq}, got {answer.seq}")  # noqa: TRY301  # because: one way out
                if answer.more and not answer.actions:
                    raise MessageError("more: must be false where there is no action: nothing would be different")  # noqa: TRY301  # because: one way out
            except MessageError as error:
                raise self._broken(line, what, error) from error
            for number, said in enumerate(answer.actions):
                try:
                    action = _action(said, books)
                except MessageError as error:
                    raise self._broken(line, what, MessageError(f"actions[{number}].{error}")) from error
                yield action
                books.note(action)
            more = answer.more

    def close(self) -> None:
        """End the process: say so, close its input, wait for it, and end it if it stays. Safe to call twice."""
        self._books = None
        if self._link is not None:
            self._link.close(encode({"type": "bye"}))
            self._link = None

    # -- the process -------------------------------------------------------------------------------------------

    def _meet(self, view: ClusterView) -> tuple[Link, Books, bytes]:
        """The process and its books for this view, and the lines that it must read before the pass."""
        if self._books is not None and self._books.view is not view:
            self.close()  # because: another view is another run
        if self._link is None:
            self._begin()
        assert self._link is not None
        lead = b""
        if self._books is None or self._books.nodes is not view.nodes:
            self._books = Books(view)
            lead = encode(self._books.cluster())
        return self._link, self._books, lead

    def _begin(self) -> PolicyHello:
        """Start the process and shake hands."""
        self._seq = 0
        what = "the hello"
        try:
            self._link = Link(self._command, timeout_ms=self._timeout_ms, cwd=self._cwd)
        except LinkError as error:
            raise ExternalPolicyError(f"{shlex.join(self._command)} {error}") from error
        message = {"type": "hello", "protocol": PROTOCOL, "rehearse": _version(), "oracle": self._oracle}
        line = self._ask(self._link, encode(message), what)
        try:
            hello = read_hello(line)
            if self._hello is not None and hello != self._hello:
                raise MessageError("it says something else than in the run before")  # noqa: TRY301  # because: one way out
        except MessageError as error:
            raise self._broken(line, what, error) from error
        self._hello = hello
        return hello

    def _ask(self, link: Link, question: bytes, what: str) -> bytes:
        try:
            return link.ask(question)
        except LinkError as error:
            self.close()
            raise ExternalPolicyError(f"asked with {what}, it {error}") from error

    def _broken(self, line: bytes, what: str, error: MessageError) -> ExternalPolicyError:
        """The error of an answer that is not what it should be."""
        self.close()
        said = shorten(repr(line.decode("utf-8", "replace")))
        return ExternalPolicyError(f"its answer to {what} is wrong: {error}\n  it wrote {said}")


def _version() -> str:
    try:
        return metadata.version("rehearse")
    except metadata.PackageNotFoundError:
        return "unknown"


# -- actions -----------------------------------------------------------------------------------------------------------


def _action(said: Any, books: Books) -> Action:
    """The action that a message means. Raises `MessageError` for what cannot be said at all; the driver refuses the rest."""
    if said.action == "wake_at":
        return WakeAt(said.at_ms)
    if said.action == "preempt":
        return Preempt(said.job_id, said.reason)
    if said.action == "reject":
        return Reject(said.job_id, said.reason)
    if said.action == "start":
        job = books.waiting.get(said.job_id)
        return Start(said.job_id, _placement(said.placement, job and job.request, books.nodes))
    told = books.running.get(said.job_id)
    return Resize(said.job_id, _placement(said.placement, told and told.job.request, books.nodes))


def _placement(shares: Sequence[ShareMessage], request: Request | None, nodes: NodeTable) -> Placement:
    """The shares with their devices. A job that is not known gets none: the driver says what is the matter with it."""
    made: list[Share] = []
    table = nodes
    ledger = None
    for number, share in enumerate(shares):
        mask = 0
        if share.devices is not None:
            mask = from_members(share.devices)
            if mask.bit_count() != len(share.devices):
                raise MessageError(f"placement[{number}].devices: names a device twice: {share.devices}")
        elif request is not None and share.group < len(request.gang) and share.node < len(nodes):
            mask = _closest(request, share, table)
        made.append(Share(share.node, mask, share.pods, share.group))
        if mask and request is not None and any(_asks(later, share.node) for later in shares[number + 1 :]):
            if ledger is None:
                table = ledger = nodes.what_if()
            ledger.take(request, (made[-1],))
    return tuple(made)


def _asks(share: ShareMessage, node: int) -> bool:
    """True if the driver must find devices of this server for it."""
    return share.node == node and share.devices is None


def _closest(request: Request, share: ShareMessage, nodes: NodeTable) -> int:
    """The devices that the catalogue's policies would take; if there are not as many, those with which the driver refuses it."""
    devices = nodes.topology.nodes[share.node].devices
    count = min(share.pods * request.gang[share.group].devices, devices + 1)
    return (nodes.devices_for(share.node, request, count) if count else 0) or (1 << count) - 1
