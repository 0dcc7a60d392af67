"""Two connections to Redis: one for commands, in order, and one for what others publish.

Nothing here waits for Redis longer than `TIMEOUT_S`, and nothing is tried again: a link that fails in any
way is lost as a whole, and whoever uses it opens a new one and starts from what it knows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from prometheus_client import Gauge

Command: TypeAlias = tuple[str | bytes | int, ...]

TIMEOUT_S = 2.0
#: A burst of everybody leaving at once fits in; more means that Redis is stuck, and the link is given up.
MAX_QUEUED_COMMANDS = 100_000
MAX_QUEUED_BYTES = 64 * 1024 * 1024
#: Commands sent together; reading their answers keeps the loop for about a millisecond.
BATCH_COMMANDS = 64

QUEUED = Gauge("voice_agent_hub_cluster_queued_commands", "Commands that wait to be sent to Redis.")


class LinkLostError(Exception):
    """Redis cannot be reached or does not do what it is told. The message holds no secret."""


class ClusterError(Exception):
    """The cluster cannot be joined; the message says what to do about it."""


class RedisLink:
    """Use `open`, then keep `run` running; everything else works while it runs."""

    def __init__(self, url: str, on_message: Callable[[bytes, bytes], None]) -> None:
        """`on_message` is called with the channel and the payload of everything that arrives."""
        self._on_message = on_message
        self._commands, self._feed = _connections(url)
        self._queue: deque[tuple[Command, asyncio.Future[Any] | None]] = deque()
        self._queued_bytes = 0
        self._feed_queue: deque[Command] = deque()
        #: Names that Redis has yet to confirm, in the order in which it was asked.
        self._unconfirmed: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._wake = asyncio.Event()
        self._feed_wake = asyncio.Event()
        self._lost: LinkLostError | None = None

    async def open(self, scripts: dict[str, str]) -> dict[str, str]:
        """Connect, and give the scripts to Redis; returns the name that each has there.

        Raises `LinkLostError`.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._feed.connect()
                await self._commands.connect()
                # Messages may take as long as they like; the heartbeats say whether the feed is alive.
                self._feed.socket_timeout = None
                await self._send(self._commands, [("SCRIPT", "LOAD", text) for text in scripts.values()])
                return {name: (await self._commands.read_response()).decode() for name in scripts}
        except Exception as error:
            # A stated boundary: whatever goes wrong, both sockets are closed.
            await self.close()
            raise LinkLostError(describe(error)) from None

    async def run(self) -> None:
        """Carry commands and messages until the link is lost; raises `LinkLostError` then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._carry_commands())
                tasks.create_task(self._carry_feed_commands())
                tasks.create_task(self._read_feed())
        except* Exception as errors:
            # A stated boundary: the first reason is told to everybody who waits, and nothing is used again.
            self.lose(describe(errors.exceptions[0]))
        finally:
            self.lose("the link was closed")
            await self.close()
        assert self._lost is not None
        raise self._lost

    def lose(self, why: str) -> None:
        """Give the link up: everything that waits fails, and so does everything asked of it later."""
        if self._lost is not None:
            return
        self._lost = LinkLostError(why)
        waiting = [future for _, future in self._queue if future is not None]
        for future in (*waiting, *(future for _, future in self._unconfirmed)):
            if not future.done():
                future.set_exception(self._lost)
                # Not everybody waits for an answer.
                future.exception()
        QUEUED.dec(len(self._queue))
        self._queue.clear()
        self._unconfirmed.clear()
        self._wake.set()
        self._feed_wake.set()

    async def close(self) -> None:
        for connection in (self._commands, self._feed):
            try:
                await connection.disconnect(nowait=True)
            except (OSError, RuntimeError):
                continue

    # ---- asking -------------------------------------------------------------------------------------

    def tell(self, *command: str | bytes | int) -> None:
        """Queue one command whose answer does not matter. After the loss it does nothing."""
        self._enqueue(command, None)

    def call(self, *command: str | bytes | int) -> asyncio.Future[Any]:
        """Queue one command; the future has its answer, or `LinkLostError`."""
        future = asyncio.get_running_loop().create_future()
        self._enqueue(command, future)
        return future

    def subscribe(self, *names: str) -> asyncio.Future[None]:
        """Ask for the messages of these channels; done when Redis has confirmed the last of them."""
        return self._ask_feed("SUBSCRIBE", names)

    def psubscribe(self, *patterns: str) -> asyncio.Future[None]:
        return self._ask_feed("PSUBSCRIBE", patterns)

    def unsubscribe(self, *names: str) -> None:
        self._ask_feed("UNSUBSCRIBE", names)

    def punsubscribe(self, *patterns: str) -> None:
        self._ask_feed("PUNSUBSCRIBE", patterns)

    def _enqueue(self, command: Command, future: asyncio.Future[Any] | None) -> None:
        if len(self._queue) >= MAX_QUEUED_COMMANDS or self._queued_bytes >= MAX_QUEUED_BYTES:
            self.lose("too many commands wait for Redis")
        if self._lost is not None:
            if future is not None:
                future.set_exception(self._lost)
                future.exception()
            return
        self._queue.append((command, future))
        self._queued_bytes += _size(command)
        QUEUED.inc()
        self._wake.set()

    def _ask_feed(self, verb: str, names: Sequence[str]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._lost is not None:
            future.set_exception(self._lost)
            future.exception()
            return future
        self._feed_queue.append((verb, *names))
        for name in names:
            future = asyncio.get_running_loop().create_future()
            self._unconfirmed.append((name.encode(), future))
        self._feed_wake.set()
        return future

    # ---- carrying -----------------------------------------------------------------------------------

    async def _carry_commands(self) -> None:
        while True:
            self._wake.clear()
            if not self._queue:
                await self._wake.wait()
            self._raise_if_lost()
            batch = [self._queue.popleft() for _ in range(min(BATCH_COMMANDS, len(self._queue)))]
            self._queued_bytes -= sum(_size(command) for command, _ in batch)
            QUEUED.dec(len(batch))
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._send(self._commands, [command for command, _ in batch])
                    for _, future in batch:
                        answer = await self._commands.read_response()
                        if future is not None and not future.done():
                            future.set_result(answer)
            except BaseException as error:
                # Those of the batch without an answer fail like those that wait behind it.
                unanswered = [item for item in batch if item[1] is not None and not item[1].done()]
                self._queue.extendleft(reversed(unanswered))
                QUEUED.inc(len(unanswered))
                self.lose(describe(error))
                raise
            await asyncio.sleep(0)

    async def _carry_feed_commands(self) -> None:
        while True:
            self._feed_wake.clear()
            if not self._feed_queue:
                await self._feed_wake.wait()
            self._raise_if_lost()
            commands = list(self._feed_queue)
            self._feed_queue.clear()
            async with asyncio.timeout(TIMEOUT_S):
                await self._send(self._feed, commands)

    async def _read_feed(self) -> None:
        while True:
            match await self._feed.read_response():
                case [b"message", bytes() as channel, bytes() as payload]:
                    self._on_message(channel, payload)
                case [b"pmessage", bytes(), bytes() as channel, bytes() as payload]:
                    self._on_message(channel, payload)
                case [_, bytes() as name, int()]:
                    self._confirm(name)
                case _:
                    raise LinkLostError("Redis said something unexpected")
            # Reading what is already here does not give way to anybody.
            await asyncio.sleep(0)

    def _confirm(self, name: bytes) -> None:
        if not self._unconfirmed or self._unconfirmed[0][0] != name:
            raise LinkLostError("Redis confirmed what nobody asked for")
        future = self._unconfirmed.popleft()[1]
        if not future.done():
            future.set_result(None)

    def _raise_if_lost(self) -> None:
        if self._lost is not None:
            raise self._lost

    async def _send(self, connection: Any, commands: Sequence[Command]) -> None:
        await connection.send_packed_command(connection.pack_commands(commands))


def _size(command: Command) -> int:
    return sum(len(part) for part in command if not isinstance(part, int))


def _connections(url: str) -> tuple[Any, Any]:
    try:
        from redis.asyncio import ConnectionPool
    except ImportError:
        message = "sharing rooms through Redis needs the redis package: pip install 'voice-agent[redis]'"
        raise ClusterError(message) from None
    try:
        pool: Any = ConnectionPool.from_url(
            url, protocol=2, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )
        return pool.make_connection(), pool.make_connection()
    except Exception:
        # A stated boundary: the library's words may repeat the password.
        message = "the Redis URL must look like redis://[[user]:password@]host[:port][/database]"
        raise ClusterError(f"{message}, or rediss:// or unix:///path") from None


def check(url: str) -> None:
    """Raises `ClusterError` when nothing can be reached with this URL, whatever runs there."""
    _connections(url)


def database(url: str) -> int:
    """The number of the database that `url` names."""
    connection, _ = _connections(url)
    return int(getattr(connection, "db", 0) or 0)


def address(url: str) -> str:
    """`url` without user, password and options, fit to be shown."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def describe(error: BaseException) -> str:
    """What went wrong, without anything that a command or a URL may have held."""
    from redis.exceptions import AuthenticationError, ResponseError
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import TimeoutError as RedisTimeoutError

    if isinstance(error, BaseExceptionGroup):
        return describe(error.exceptions[0])
    if isinstance(error, LinkLostError):
        return str(error)
    if isinstance(error, AuthenticationError) or isinstance(error.__context__, AuthenticationError):
        return "Redis refuses the user or the password"
    if isinstance(error, ResponseError):
        code = str(error).partition(" ")[0]
        return f"Redis refuses ({code if code.isupper() else type(error).__name__})"
    if isinstance(error, (TimeoutError, RedisTimeoutError)):
        return "Redis does not answer"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, RedisConnectionError):
        return "Redis cannot be reached, or has closed the connection"
    return type(error).__name__
