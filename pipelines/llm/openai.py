"""Any endpoint that speaks OpenAI's chat completions: OpenAI, vLLM, Ollama, llama.cpp server …"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import openai
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk
from prometheus_client import Counter

from pipelines.base import EngineError, EngineInfo, EngineUnavailableError
from pipelines.llm.base import Delta, Message, TextDelta, ToolCall, ToolSpec
from pipelines.models import ModelStore
from pipelines.options import LlmOptions

log = logging.getLogger(__name__)
# At debug level the library logs whole requests; what people say stays out of logs.
logging.getLogger("openai").setLevel(logging.INFO)

OPENAI_URL = "https://api.openai.com/v1"
#: The library's own retries; the first-token timeout holds over all of them.
MAX_RETRIES = 1
#: Stands before what cut the model off. Not a message of its own: many chat templates refuse a system message
#: that is not the first, and a first one that changes costs a server what it has cached of the dialogue.
INTERRUPTION = "[You were interrupted; of your last message only the words above were heard.]"
#: What a broken model could otherwise fill the memory with.
MAX_TOOL_CALLS = 16
MAX_ARGUMENTS_CHARS = 64_000
_FIRST_STATUS_OF_SERVER_ERRORS = 500

_ERRORS = Counter("voice_agent_llm_errors_total", "Requests to the language model that failed", ("kind",))


class OpenAIEngine:
    """A client of one endpoint and one model."""

    def __init__(self, options: LlmOptions, *, reason: str) -> None:
        self._url = options.base_url or OPENAI_URL
        self._options = options
        key = options.api_key.get_secret_value() if options.api_key else ""
        # Local servers want no key, but the client insists on one.
        self._client = AsyncOpenAI(base_url=self._url, api_key=key or "none", max_retries=MAX_RETRIES)
        self._info = EngineInfo("llm", "openai", f"{options.model} at {self._url}", reason)

    @classmethod
    async def load(cls, options: LlmOptions, *, models: ModelStore, reason: str) -> OpenAIEngine:  # noqa: ARG003
        """Make the client; the endpoint is not asked before the first call.

        Raises `EngineUnavailableError` when neither an address nor a key is set.
        """
        if options.base_url is None and options.api_key is None:
            raise EngineUnavailableError(
                "the language model has neither an address nor a key",
                fix="set llm.base_url to an OpenAI-compatible endpoint, or llm.api_key for OpenAI's own",
            )
        return cls(options, reason=reason)

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
    ) -> AsyncIterator[Delta]:
        """See `LanguageModel.stream`. Tool calls come whole, after the text."""
        started = time.monotonic()
        response = await self._open(messages, tools)
        try:
            calls = _ToolCalls()
            finished = spoken = False
            while True:
                limit_s = self._options.stall_timeout_s
                if not spoken:
                    limit_s = started + self._options.first_token_timeout_s - time.monotonic()
                chunk = await self._next(response, limit_s, started=spoken)
                if chunk is None:
                    break
                for choice in chunk.choices[:1]:
                    finished = finished or choice.finish_reason is not None
                    if choice.delta and choice.delta.tool_calls:
                        spoken = True
                        calls.add(choice.delta.tool_calls)
                    if choice.delta and choice.delta.content:
                        spoken = True
                        yield TextDelta(choice.delta.content)
            if not finished:
                raise self._failed("cut", "broke off in the middle of the answer")
            for call in calls.complete():
                yield call
        finally:
            await response.close()

    async def close(self) -> None:
        await self._client.close()

    async def _open(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec]
    ) -> AsyncStream[ChatCompletionChunk]:
        options = self._options
        # OpenAI renamed the limit; most other servers know only the old name.
        limit = "max_tokens" if options.base_url else "max_completion_tokens"
        request: dict[str, Any] = {
            "model": options.model,
            "messages": [_message(message) for message in messages],
            "temperature": options.temperature,
            limit: options.max_tokens,
            "stream": True,
        }
        if tools:
            request["tools"] = [_tool(tool) for tool in tools]
        try:
            async with asyncio.timeout(options.first_token_timeout_s):
                response: AsyncStream[ChatCompletionChunk] = await self._client.chat.completions.create(
                    **request
                )
                return response
        except TimeoutError:
            raise self._too_slow(started=False) from None
        except openai.OpenAIError as error:
            raise self._readable(error) from None
        except Exception as error:
            # The boundary to the library: what it cannot encode (half a surrogate pair in a typed message)
            # or parse ends this answer, not the call.
            kind = type(error).__name__
            log.warning("the request to the language model failed: %s", kind)
            raise self._failed("request", f"could not be asked ({kind})") from None

    async def _next(
        self, response: AsyncStream[ChatCompletionChunk], limit_s: float, *, started: bool
    ) -> ChatCompletionChunk | None:
        try:
            async with asyncio.timeout(max(0.0, limit_s)):
                return await anext(response, None)
        except TimeoutError:
            raise self._too_slow(started=started) from None
        except openai.APIStatusError as error:
            raise self._readable(error) from None
        except Exception as error:
            # The boundary to the library's transport, whose exceptions come through a stream as they please.
            log.warning("the stream of the language model failed: %s", type(error).__name__)
            raise self._failed("cut", "broke off in the middle of the answer") from None

    def _readable(self, error: openai.OpenAIError) -> EngineError:
        """What whoever runs the service can act on; never the key, never the server's echo of the words."""
        match error:
            case openai.APITimeoutError():
                return self._too_slow(started=False)
            case openai.APIConnectionError():
                return self._failed(
                    "connection", "cannot be reached; check llm.base_url and that the server runs"
                )
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                return self._failed("key", "refused the key; check llm.api_key")
            case openai.NotFoundError():
                return self._failed(
                    "model", f"knows no model {self._options.model!r}; check llm.model and llm.base_url"
                )
            case openai.RateLimitError():
                return self._failed("rate", "has no capacity for this key now (rate limit or quota)")
            case openai.APIStatusError() if error.status_code >= _FIRST_STATUS_OF_SERVER_ERRORS:
                return self._failed("server", f"failed with status {error.status_code}")
            case openai.APIStatusError():
                return self._failed("request", f"refused the request with status {error.status_code}")
        return self._failed(
            "protocol", f"sent something that is not chat completions ({type(error).__name__})"
        )

    def _too_slow(self, *, started: bool) -> EngineError:
        if started:
            return self._failed(
                "stall", f"sent nothing for {self._options.stall_timeout_s:g} s in mid-answer"
            )
        return self._failed("timeout", f"sent no token within {self._options.first_token_timeout_s:g} s")

    def _failed(self, kind: str, what: str) -> EngineError:
        _ERRORS.labels(kind).inc()
        return EngineError(f"the language model at {self._url} {what}")


@dataclass(slots=True)
class _Fragments:
    id: str = ""
    name: str = ""
    arguments: str = ""


class _ToolCalls:
    """Puts tool calls together from the pieces in which they are streamed."""

    def __init__(self) -> None:
        self._by_index: dict[int, _Fragments] = {}

    def add(self, deltas: Sequence[Any]) -> None:
        for delta in deltas:
            call = self._by_index.setdefault(delta.index, _Fragments())
            call.id = call.id or delta.id or ""
            if delta.function is not None:
                call.name += delta.function.name or ""
                call.arguments += delta.function.arguments or ""
            if len(self._by_index) > MAX_TOOL_CALLS or len(call.arguments) > MAX_ARGUMENTS_CHARS:
                raise EngineError("the language model asked for more tool calls than are accepted")

    def complete(self) -> list[ToolCall]:
        return [
            ToolCall(call.id or f"call-{index}", call.name, call.arguments or "{}")
            for index, call in sorted(self._by_index.items())
            if call.name
        ]


def _message(message: Message) -> dict[str, Any]:
    out: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.interrupts:
        out["content"] = f"{INTERRUPTION} {message.content}"
    if message.name and message.role == "user":
        out["name"] = message.name
    if message.tool_calls:
        out["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    return out


def _tool(tool: ToolSpec) -> dict[str, Any]:
    described = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": described}
