"""``voice-agent hub`` as its own process, and what it refuses to do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from typer.testing import CliRunner
from websockets.asyncio.client import connect

from agent.cli.hub import app
from agent.hub import Hub, HubOptions, SecretKey
from agent.hub.standalone import hub_options, standalone_app
from agent.realtime.tokens import mint_token
from agent.settings import DEVELOPMENT_KEY, DEVELOPMENT_SECRET, DEVELOPMENT_SECRET_ID, HubSettings
from tests.agent.hub.hub_parts import Raw
from tests.redis_server import redis_server

#: About 4 MB of them: more than a socket holds, less than what a client may owe before it is closed.
MESSAGES = 110
DEVELOPMENT_PAIR = f"{DEVELOPMENT_SECRET_ID}:{DEVELOPMENT_SECRET}"


class Command:
    """A running ``voice-agent hub``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""
        self.url = ""

    async def says(self, pattern: str) -> str:
        """Wait until it has said this; returns the first group."""
        assert self.process.stderr is not None
        while not (found := re.search(pattern, self.said)):
            line = await self.process.stderr.readline()
            assert line, f"it ended without saying {pattern!r}: {self.said}"
            self.said += line.decode()
        return found[1] if found.groups() else found[0]


@asynccontextmanager
async def command(*arguments: str) -> AsyncIterator[Command]:
    program = "from agent.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        "hub",
        "--port",
        "0",
        *arguments,
        stderr=asyncio.subprocess.PIPE,
        # A shell tells what it runs in the background to ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    running = Command(process)
    try:
        running.url = await running.says(r"The hub is at (ws://\S+)")
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_it_starts_says_how_to_connect_and_stops_with_a_goodbye() -> None:
    async with command() as hub:
        await hub.says("REST .*\n")
        assert f'apiKey: "{DEVELOPMENT_KEY}"' in hub.said
        assert f'api_key="{DEVELOPMENT_KEY}"' in hub.said
        assert f"VOICE_AGENT__ROOMS__URL={hub.url} " in hub.said
        assert DEVELOPMENT_PAIR in hub.said
        http_url = hub.url.replace("ws", "http", 1)
        async with (
            httpx.AsyncClient(base_url=http_url) as http,
            connect(f"{hub.url}/v1?key={DEVELOPMENT_KEY}", proxy=None) as websocket,
        ):
            raw = Raw(websocket)
            assert (await raw.read())["type"] == "welcome"
            assert (await http.get("/healthz")).json() == {"status": "ok"}
            assert "voice_agent_hub_connections 1.0" in (await http.get("/metrics")).text
            usage = await http.get("/v1/usage", headers={"authorization": f"Bearer {DEVELOPMENT_PAIR}"})
            assert usage.json()["concurrentNow"] == 1
            hub.process.send_signal(signal.SIGINT)
            assert (await raw.read())["type"] == "going_away"
            assert (await raw.closed())[0] == 1001
        assert await hub.process.wait() == 0


async def test_asked_twice_it_does_not_wait_for_a_client_that_does_not_read() -> None:
    # Bytes wait in the sockets' buffers first: these are kept small, and what is sent is more than they hold.
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.setblocking(False)
    async with command() as hub:
        address = f"{hub.url}/v1?key={DEVELOPMENT_KEY}"
        await asyncio.get_running_loop().sock_connect(deaf, ("127.0.0.1", int(hub.url.rsplit(":", 1)[1])))
        async with (
            connect(address, proxy=None, sock=deaf, close_timeout=0.1) as silent,
            connect(address, proxy=None) as talker,
        ):
            await silent.recv()
            await Raw(silent).subscribe("room")
            silent.transport.pause_reading()
            await talker.recv()
            for number in range(MESSAGES):
                data = {"type": "publish", "channel": "room", "data": "x" * 60_000, "requestId": str(number)}
                await talker.send(json.dumps(data))
                assert json.loads(await talker.recv())["type"] == "ack"
            hub.process.send_signal(signal.SIGINT)
            await hub.says("Stopping")
            assert hub.process.returncode is None
            hub.process.send_signal(signal.SIGINT)
            assert await hub.process.wait() in {130, -signal.SIGINT}


@pytest.mark.network
async def test_two_of_them_share_their_rooms_through_redis() -> None:
    async with redis_server() as redis, command("--redis", redis.url) as one, command() as alone:
        await one.says("Rooms are shared")
        async with (
            command("--redis", redis.url) as two,
            connect(f"{one.url}/v1?key={DEVELOPMENT_KEY}", proxy=None) as first,
            connect(f"{two.url}/v1?key={DEVELOPMENT_KEY}", proxy=None) as second,
            connect(f"{alone.url}/v1?key={DEVELOPMENT_KEY}", proxy=None) as third,
        ):
            here, there, elsewhere = Raw(first), Raw(second), Raw(third)
            peer_id = (await here.read())["peerId"]
            await there.read()
            await elsewhere.read()
            assert (await here.subscribe("room"))["joined"] == []
            # In the roster, or in the news after it: the other hub hears of a newcomer while it is answered.
            roster = (await there.subscribe("room"))["joined"]
            assert (roster or (await there.read())["joined"]) == [{"peerId": peer_id}]
            assert (await elsewhere.subscribe("room"))["joined"] == []
            one.process.send_signal(signal.SIGINT)
            # It says so before it goes: nobody waits for a lease to end.
            assert (await there.read())["left"] == [{"peerId": peer_id}]
            assert await one.process.wait() == 0


# ---- refusals -------------------------------------------------------------------------------------------

LONG = "s" * 40


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--host", "0.0.0.0"], r"well-known development keys will not do.*--key"),
        (["--host", "::"], r"will not do"),
        (["--set", "hub.allowed_hosts=[x.example]"], r"allowed_hosts can be reached.*will not do"),
        (["--set", "hub.allowed_hosts=[x]", "--key", LONG, "--fault", "drop=1"], r"--fault is for tests"),
        (["--host", "0.0.0.0", "--key", DEVELOPMENT_KEY], r"everybody knows the development keys"),
        (["--host", "0.0.0.0", "--secret-key", f"x:{DEVELOPMENT_SECRET}"], r"everybody knows"),
        (["--host", "0.0.0.0", "--key", LONG, "--fault", "drop=1"], r"--fault is for tests on this machine"),
        (["--key", ""], r"hub.keys.0.key: .*at least 1"),
        (["--set", "hub.keys=[{key: x, origins: ['https://x.example/']}]"], r"an origin is like https://"),
        (["--fault", "drip=1"], r"'drip=1' is not a fault: accepted are drop=P"),
        (["--secret-key", "no-colon"], r"expected ID:SECRET"),
        (["--secret-key", "id:short"], r"at least 32 characters"),
        (["--secret-key", f":{LONG}"], r"the id of a secret key"),
        (["--ice-server", "a,b"], r"expected URL or URL,USERNAME,CREDENTIAL"),
        (["--port", "0", "--ice-server", "http://x"], r"stun:"),
        (["--port", "99999"], r"hub.port"),
        (["--port", "0", "--redis", f"redis://:{LONG}@127.0.0.1:1"], r"hub.redis_url: .*start Redis"),
        (["--port", "0", "--redis", f"http://{LONG}"], r"hub.redis_url: the Redis URL must look like"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_what_it_refuses(arguments: list[str], reason: str) -> None:
    result = CliRunner().invoke(app, ["hub", *arguments])
    assert result.exit_code in {1, 2}
    said = " ".join(result.output.split())
    assert re.search(reason, said), said
    assert LONG not in said


def test_a_port_that_is_taken_is_said_to_be() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["hub", "--port", port])
    assert result.exit_code == 1
    assert "choose another with --port" in " ".join(result.output.split())


# ---- the app --------------------------------------------------------------------------------------------


def session(hub: Hub, settings: HubSettings, *, host: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(standalone_app(hub, settings))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


@pytest.mark.parametrize("reach", [{"host": "0.0.0.0"}, {"allowed_hosts": ["x.example"]}])
async def test_metrics_of_a_public_hub_need_a_secret_key(reach: dict[str, object]) -> None:
    pair = SecretKey("sk_id_x", LONG)
    settings = HubSettings.model_validate({**reach, "secret_keys": [{"id": "sk_id_x", "secret": LONG}]})
    async with (
        Hub(HubOptions(secret_keys=(pair,))) as hub,
        session(hub, settings, host="x.example") as http,
    ):
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/metrics")).status_code == 401
        answer = await http.get("/metrics", headers={"authorization": f"Bearer sk_id_x:{LONG}"})
        assert "voice_agent_hub_connections" in answer.text
        await hub.close()
        assert (await http.get("/healthz")).status_code == 503


async def test_a_local_hub_answers_to_its_own_names_only() -> None:
    async with Hub(HubOptions()) as hub:
        for host, status in (("localhost", 200), ("[::1]", 200), ("rebound.example", 400)):
            async with session(hub, HubSettings(), host=host) as http:
                answer = await http.get("/healthz")
                assert answer.status_code == status
        assert "hub.allowed_hosts" in answer.text


async def test_a_local_hub_refuses_who_is_brought_by_a_proxy() -> None:
    async with Hub(HubOptions()) as hub, session(hub, HubSettings(), host="localhost") as http:
        answer = await http.get("/metrics", headers={"x-forwarded-for": "192.0.2.7"})
        assert answer.status_code == 400
        assert "hub.allowed_hosts" in answer.text


def test_a_hub_behind_a_proxy_on_this_machine_has_limits() -> None:
    settings = HubSettings.model_validate({"allowed_hosts": ["x.example"], "keys": [{"key": LONG}]})
    options = hub_options(settings)
    assert options.connects_per_minute == HubOptions().connects_per_minute
    assert options.rest_rate == HubOptions().rest_rate
    assert hub_options(HubSettings()).connects_per_minute is None


async def test_development_keys_are_for_pages_of_this_machine(start_hub: object) -> None:
    options = hub_options(HubSettings())
    async with start_hub(options) as hub:  # type: ignore[operator]
        minted, _ = mint_token(DEVELOPMENT_SECRET_ID, DEVELOPMENT_SECRET, peer_id="x", channels=["room"])
        for query in (f"key={DEVELOPMENT_KEY}", f"token={minted}"):
            url = f"{hub.url}/v1?{query}"
            async with connect(url, proxy=None, origin="http://localhost:5173") as websocket:
                assert (await Raw(websocket).read())["type"] == "welcome"
            with pytest.raises(Exception, match="401"):
                await connect(url, proxy=None, origin="https://evil.example")


def test_keys_of_ones_own_replace_the_development_keys() -> None:
    settings = HubSettings.model_validate(
        {
            "host": "0.0.0.0",
            "keys": [{"key": "pk_mine", "channels": ["app/*"], "actions": ["subscribe"], "origins": []}],
            "ice_servers": [{"urls": ["turn:t:1"], "username": "u", "credential": "c"}],
            "max_messages": 5,
        }
    )
    options = hub_options(settings)
    [key] = options.publishable_keys
    assert (key.key, key.channel_patterns, key.actions) == ("pk_mine", ("app/*",), {"subscribe"})
    assert key.allowed_origins == frozenset()
    assert options.secret_keys == ()
    assert options.max_messages == 5
    assert options.connects_per_minute is not None
    assert options.ice_servers[0].credential == "c"
