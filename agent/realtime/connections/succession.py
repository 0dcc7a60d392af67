"""The connections to one peer, one after the other: the old one carries on until the new one works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from agent.realtime.connections.connection import Connection


class Succession:
    """`current` is what is negotiated about; behind it there may be the one before, still carrying sound.

    `make` makes a connection, with the sections of one before it if given, `let_go` is told of each one that
    is given up, and `spawn` runs its closing.
    """

    def __init__(
        self,
        make: Callable[[Connection | None], Connection],
        *,
        let_go: Callable[[Connection], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.current: Connection | None = None
        self._former: Connection | None = None
        self._make = make
        self._let_go = let_go
        self._spawn = spawn

    @property
    def is_flowing(self) -> bool:
        """Whether any of them carries."""
        return any(c is not None and c.is_flowing for c in (self.current, self._former))

    def ensure(self) -> Connection:
        """The current connection, made if there is none."""
        if self.current is None:
            self.current = self._make(None)
        return self.current

    def replace(self, *, keep_sections: bool = False) -> None:
        """Put the current connection aside; `keep_sections` makes its successor at once, with the same ones.

        One that was connected is kept until `settle`: its path may come back, or carry still. Closing it now
        would also tell the other side to give up what it is about to replace.
        """
        old, self.current = self.current, None
        if old is None:
            return
        if old.is_up:
            self._give_up_former()
            self._former = old
        else:
            self._give_up(old)
        if keep_sections:
            self.current = self._make(old)

    def settle(self) -> None:
        """The current connection works; what was before it is closed."""
        self._give_up_former()

    def dropped(self, connection: Connection) -> None:
        """`connection` has ended by itself; if it is not the current one, it goes."""
        if connection is self._former:
            self._give_up_former()

    async def close(self) -> None:
        """Close all of them."""
        closing = [c for c in (self._former, self.current) if c is not None]
        self._former = self.current = None
        await asyncio.gather(*(connection.close() for connection in closing))

    def _give_up_former(self) -> None:
        former, self._former = self._former, None
        if former is not None:
            self._give_up(former)

    def _give_up(self, connection: Connection) -> None:
        self._let_go(connection)
        self._spawn(connection.close())
