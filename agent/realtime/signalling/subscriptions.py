"""The channels a client is in, and wants to be in on every connection it will have."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from agent.realtime.errors import (
    AckTimeoutError,
    DisconnectedError,
    FrameTooLargeError,
    NotConnectedError,
    ServerRequestError,
)
from agent.realtime.frames import Subscribe
from agent.realtime.signalling.link import Link

logger = logging.getLogger(__name__)

#: A rejected subscription replay is repeated this often on the same connection.
REPLAY_RETRIES = 3


class Subscriptions:
    def __init__(self) -> None:
        #: Channel → whether messages are to carry their sender's metadata.
        self.wanted: dict[str, bool] = {}

    async def add(self, link: Link, channel: str, include_sender_metadata: bool) -> None:
        """Subscribe, and remember it unless it is refused."""
        is_new = channel not in self.wanted
        self.wanted[channel] = include_sender_metadata
        try:
            await self._subscribe(link, channel)
        except (ServerRequestError, FrameTooLargeError):
            if is_new:
                self.wanted.pop(channel, None)
            raise

    def forget(self, channel: str) -> None:
        self.wanted.pop(channel, None)

    async def copy_to(self, link: Link) -> None:
        """Subscribe to everything on `link` as well. Raises as `Link.request` when one of them fails."""
        await asyncio.gather(*(self._subscribe(link, channel) for channel in list(self.wanted)))

    async def replay(self, link: Link, *, pause_s: float, on_lost: Callable[[str, str], None]) -> None:
        """After a reconnect: subscribe again. `on_lost` is told the channel and why when that fails."""
        async with asyncio.TaskGroup() as tasks:
            for channel in list(self.wanted):
                tasks.create_task(self._replay_one(link, channel, pause_s, on_lost))

    async def _replay_one(
        self, link: Link, channel: str, pause_s: float, on_lost: Callable[[str, str], None]
    ) -> None:
        code = ""
        for attempt in range(1 + REPLAY_RETRIES):
            if attempt:
                await asyncio.sleep(pause_s)
            if channel not in self.wanted:
                return
            try:
                await self._subscribe(link, channel)
            except ServerRequestError as error:
                code = error.code
            except AckTimeoutError:
                code = "timeout"
            except FrameTooLargeError:
                code = "too_large"
            except NotConnectedError:
                code = "not_sent"
            except DisconnectedError:
                return
            else:
                return
        logger.warning("signalling: a channel was not given back after a reconnect: %s", code)
        on_lost(channel, code)

    async def _subscribe(self, link: Link, channel: str) -> None:
        flag = self.wanted[channel]
        await link.request(lambda request_id: Subscribe(channel, request_id, flag))
