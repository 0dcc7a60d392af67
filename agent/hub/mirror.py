"""One room as the other processes of a cluster tell of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from agent.realtime.frames import Member

from .cluster_wire import Change


class Mirror:
    """Who is in one room elsewhere, by node: a peer may have connections at several of them.

    A snapshot is asked for while changes already arrive, and comes another way: changes that are here before
    it wait for it, and those it contains already, whenever they are here, are passed over.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, dict[str, Member]] = {}
        #: Nodes not seen alive when the room was last read.
        self._held: set[str] = set()
        #: The last change that the snapshot contains.
        self._seq = 0
        #: Changes that wait for the snapshot; None once it is there.
        self._early: list[Change] | None = []

    def expect_snapshot(self) -> None:
        """A new snapshot has been asked for; what is known stays until it comes."""
        self._early = []

    @property
    def early(self) -> int:
        """How many changes wait for the snapshot."""
        return len(self._early or ())

    def apply(self, change: Change) -> None:
        if self._early is not None:
            self._early.append(change)
            return
        if change.seq <= self._seq:
            return
        if change.is_join:
            self._nodes.setdefault(change.node, {})[change.member.peer_id] = change.member
        elif (peers := self._nodes.get(change.node)) is not None:
            peers.pop(change.member.peer_id, None)
            if not peers:
                del self._nodes[change.node]

    def load(self, seq: int, alive: Collection[str], entries: Iterable[tuple[str, Member]]) -> None:
        """The room as it was right after change `seq`. Entries of nodes that are not alive do not count.

        A node known before and not alive now is held: after Redis lost its memory, the others need a
        moment to come back and say again who is with them, and nobody should leave meanwhile.
        """
        before = self._nodes
        self._held = {node for node in before if node not in alive}
        self._nodes = {node: before[node] for node in self._held}
        for node, member in entries:
            if node in alive:
                self._nodes.setdefault(node, {})[member.peer_id] = member
        self._seq = seq
        early, self._early = self._early or [], None
        for change in early:
            self.apply(change)

    def release(self) -> bool:
        """The moment is over: who was held and did not come back is gone. Whether anybody was held."""
        held, self._held = self._held, set()
        for node in held:
            self._nodes.pop(node, None)
        return bool(held)

    def members(self) -> dict[str, Member]:
        """Everybody, by peer id; a peer at several nodes shows what it showed at the first."""
        merged: dict[str, Member] = {}
        for peers in self._nodes.values():
            for peer_id, member in peers.items():
                merged.setdefault(peer_id, member)
        return merged
