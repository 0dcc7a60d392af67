"""The brain without an endpoint: a handful of skills in English, so that a first call needs no account.

It looks at the dialogue alone and keeps nothing. It says plainly what it is, and how to connect a real model.
"""

from __future__ import annotations

import datetime as dt
import re
import zlib
from collections.abc import AsyncIterator, Callable, Sequence

from pipelines.base import EngineInfo
from pipelines.llm.arithmetic import answer_arithmetic
from pipelines.llm.base import Delta, Message, TextDelta, ToolCall, ToolSpec
from pipelines.models import ModelStore
from pipelines.options import LlmOptions

WHAT_I_AM = (
    "I am the built-in demo brain of this voice agent, a small script and not a language model. "
    "To connect a real one, set the base URL, the key and the model of any OpenAI compatible endpoint, "
    "and start me again."
)
WHAT_I_CAN = (
    "I can tell you the time and the date, do arithmetic, roll dice, tell jokes and stories, "
    "repeat what you say, and remember your name. Try: what is twelve times three?"
)
_CANNOT_KNOW = "I am only the demo brain, so I cannot {what}. A real model with tools could."
_JOKES = (
    "Why did the packet cross the network? Because the router told it to.",
    "I told my computer a joke about silence. It is still waiting for the end of it.",
    "There are ten kinds of people: those who understand binary, and those who do not.",
)
_STORY = (
    "Once upon a time a microphone fell in love with a loudspeaker. "
    "They got too close, and the whole room heard about it. "
    "Since then they keep a polite distance, and they live happily ever after."
)

#: Sentences it understands; a persona lists them as what callers are expected to say.
UNDERSTOOD_PHRASES: tuple[str, ...] = (
    "hello", "hello there", "hi", "hi there", "good morning", "good afternoon", "good evening",
    "how are you", "how are you today", "nice to meet you",
    "who are you", "what are you", "what is your name", "are you a robot", "are you a real person",
    "what can you do", "help", "can you help me", "can you hear me", "are you there",
    "my name is david", "my name is anna", "my name is mary", "my name is john", "my name is sarah",
    "what is my name", "do you know my name",
    "what time is it", "what is the time", "tell me the time", "what day is it", "what day is it today",
    "what is the date", "what is the date today", "what is today's date",
    "what is two plus two", "what is twelve times three", "what is nine minus four",
    "what is ten divided by two",
    "how much is seven times eight", "what is twenty plus thirty", "what is one hundred minus six",
    "roll a die", "roll the dice", "roll two dice", "throw the dice", "please roll the dice",
    "tell me a joke", "tell me another joke", "tell me a story", "sing a song",
    "please repeat that", "can you repeat that", "say that again", "what did you say", "pardon",
    "repeat after me good morning everyone", "say hello world", "say it again please",
    "please speak more slowly", "i do not understand",
    "yes", "yes please", "no", "no thank you", "okay", "never mind", "stop", "wait a moment", "start over",
    "thank you", "thank you very much", "thanks", "bye", "goodbye", "good night", "see you tomorrow",
    "what is the news today", "where is my order", "where is the train station", "how much does it cost",
    "what is the weather in berlin", "will it rain in tokyo today", "what is the weather today",
    "set a timer for five minutes", "set an alarm for nine in the morning",
    "remind me to call sarah on monday",
    "turn off the living room fan", "turn on the light", "send a message to mary",
    "book a table for twelve people tomorrow", "can you help me order a pizza",
    "i would like to change my password", "my order number is two three two seven",
)  # fmt: skip

Clock = Callable[[], dt.datetime]


def _local_now() -> dt.datetime:
    return dt.datetime.now().astimezone()


class ScriptedEngine:
    """A language model by its interface only."""

    def __init__(self, *, reason: str = "chosen", clock: Clock = _local_now) -> None:
        self._info = EngineInfo("llm", "scripted", "built-in demo brain", reason, ("en",))
        self._clock = clock

    @classmethod
    async def load(cls, options: LlmOptions, *, models: ModelStore, reason: str) -> ScriptedEngine:  # noqa: ARG003
        """Nothing to load."""
        return cls(reason=reason)

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
    ) -> AsyncIterator[Delta]:
        """See `LanguageModel.stream`; one word at a time."""
        answer = _answer(messages, tools, self._clock())
        if isinstance(answer, ToolCall):
            yield answer
            return
        for word in re.findall(r"\S+\s*", answer):
            yield TextDelta(word)

    async def close(self) -> None:
        """Nothing to close."""


def _answer(messages: Sequence[Message], tools: Sequence[ToolSpec], now: dt.datetime) -> str | ToolCall:
    last = next((m for m in reversed(messages) if m.role in ("user", "tool")), None)
    if last is None:
        return f"Hello! {WHAT_I_CAN}"
    if last.role == "tool":
        return _speak_result(last.content)
    said = _plain(last.content)
    if not said:
        return "I did not hear anything."
    if _ROLL.search(said) and any(tool.name == "roll_dice" for tool in tools):
        return ToolCall(f"call-{len(messages)}", "roll_dice", f'{{"sides": {_sides(said)}}}')
    return (
        _about_the_dialogue(said, last.content, messages)
        or _about_now(said, now)
        or answer_arithmetic(said)
        or _from_the_list(said, len(messages))
        or _lost(last.content)
    )


_ROLL = re.compile(r"\b(roll|throw)\b.*\b(dice|die|cube)\b")
_SIDES = re.compile(r"\b(\d{1,3}|four|eight|ten|twelve|twenty) ?(sides|sided)\b")
_SIDE_WORDS = {"four": 4, "eight": 8, "ten": 10, "twelve": 12, "twenty": 20}
_ECHO = re.compile(
    r"^(?:please )?(?:repeat after me|say after me|say)\b[\s:,]*(.+)$", re.IGNORECASE | re.DOTALL
)
_AGAIN = re.compile(
    r"\b(repeat that|repeat it|repeat please|please repeat|say (that|it) again|what did you say|once more|"
    r"speak more slowly|did not (hear|understand) you|do not understand)\b|^(pardon|again|repeat)$"
)
_MY_NAME = re.compile(r"\b(?:my name is|call me|my name's) ([a-z][a-z'-]*)")
_ASKS_NAME = re.compile(r"\b(what is|what's|do you (know|remember)|remember) my name\b")


def _about_the_dialogue(said: str, heard: str, messages: Sequence[Message]) -> str | None:
    if _AGAIN.search(said):
        return _last_answer(messages) or "I have not said anything yet."
    if echo := _ECHO.match(heard.strip()):
        return echo[1].strip()[:500]
    if _ASKS_NAME.search(said):
        name = _callers_name(messages)
        return f"Your name is {name}." if name else "You have not told me your name yet."
    if name_said := _MY_NAME.search(said):
        return f"Nice to meet you, {name_said[1].capitalize()}."
    return None


def _about_now(said: str, now: dt.datetime) -> str | None:
    if re.search(r"\b(what time|the time|time is it)\b", said):
        return f"It is {now.hour % 12 or 12}:{now.minute:02d} {'a.m.' if now.hour < 12 else 'p.m.'}"
    if re.search(r"\b(what day|which day|the date|what date|today's date|day is it)\b", said):
        return f"Today is {now:%A}, {now:%B} {now.day}, {now.year}."
    return None


def _knows_not(what: str) -> str:
    return _CANNOT_KNOW.format(what=what)


# Tried in order: what names a thing comes before what is only polite.
_REPLIES: tuple[tuple[str, str], ...] = (
    (r"^(stop|quiet|be quiet|shut up|wait|wait a (moment|minute|second)|hold on|one moment)\b", "All right."),
    (r"\bnever mind|forget it\b", "No problem. What else can I do for you?"),
    (r"\bstart over\b", "All right, from the beginning. What can I do for you?"),
    (
        r"\b(who|what) are you\b|\bare you (a |an )?(robot|real|human|machine|person|computer|model)",
        WHAT_I_AM,
    ),
    (r"\b(your name|who made you)\b", "I have no name of my own. " + WHAT_I_AM),
    (r"\bwhat can (you|i)\b|^help\b|\bhow (do|does) (you|this) work\b", WHAT_I_CAN),
    (r"\bhear me\b|\bare you (still )?there\b", "Yes, I can hear you."),
    (r"\bstory\b", _STORY),
    (r"\bsing\b|\bsong\b", "I would rather not sing. " + _JOKES[1]),
    (r"\bweather\b|\brain\b|\bsunny\b", _knows_not("look up the weather")),
    (r"\bnews\b", _knows_not("read the news")),
    (r"\border number\b", "Thank you. But " + _knows_not("look up orders")),
    (r"\border\b|\bpizza\b", _knows_not("place or look up orders")),
    (r"\bcost\b|\bprice\b|\bhow much\b", _knows_not("look up prices")),
    (r"\bstation\b|\btrain\b|\bhow do i get to\b", _knows_not("find places")),
    (r"\btimer\b|\balarm\b|\bremind\b", _knows_not("set timers or reminders")),
    (r"\bturn (on|off|up|down)\b|\blights?\b", _knows_not("switch things on or off")),
    (r"\bmessage\b|^call\b", _knows_not("send messages or place calls")),
    (r"\bbook\b|\btable\b", _knows_not("book anything")),
    (r"\bpassword\b|\baccount\b", _knows_not("change anything in your account")),
    (r"\broll\b|\bdice\b", "I have no dice in this conversation."),
    (r"\b(good ?bye|bye|see you|good night)\b", "Goodbye! It was nice talking to you."),
    (r"\bhow are you\b", "I am fine, thank you. How can I help you?"),
    (r"\b(help me|i need help)\b", "Gladly. " + WHAT_I_CAN),
    (r"\b(no|nope)\b.*\bthank", "All right. Tell me if there is anything else."),
    (r"\b(thank you|thanks)\b", "You are welcome."),
    (r"\bnice to meet you\b", "Nice to meet you too."),
    (r"^(hello|hi|hey|good (morning|afternoon|evening))\b", "Hello! What can I do for you?"),
    (
        r"^(yes|yeah|yep|sure|okay|ok|correct|that is (right|correct))\b",
        "Good. What would you like me to do?",
    ),
    (r"^(no|nope|not|that is not right)\b", "All right. What would you like instead?"),
)
_COMPILED = tuple((re.compile(pattern), reply) for pattern, reply in _REPLIES)


def _from_the_list(said: str, turn: int) -> str | None:
    if re.search(r"\bjoke\b|\bfunny\b|\blaugh\b", said):
        return _JOKES[(zlib.crc32(said.encode()) + turn) % len(_JOKES)]
    return next((reply for pattern, reply in _COMPILED if pattern.search(said)), None)


def _lost(heard: str) -> str:
    quoted = " ".join(heard.split())[:200].rstrip(".?!")
    return (
        f"I heard: {quoted}. I am only the built-in demo brain and have no answer to that; "
        "connect a real model for a real conversation, or ask me what I can do."
    )


def _speak_result(result: str) -> str:
    text = " ".join(result.split())[:500]
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return f"It is a {text}."
    return text or "That is done."


def _last_answer(messages: Sequence[Message]) -> str | None:
    said = (m.content.rstrip(" …") for m in reversed(messages) if m.role == "assistant")
    return next((text for text in said if text), None)


def _callers_name(messages: Sequence[Message]) -> str | None:
    speaker = next((m.name for m in reversed(messages) if m.role == "user"), None)
    for message in reversed(messages):
        if (
            message.role == "user"
            and message.name == speaker
            and (match := _MY_NAME.search(_plain(message.content)))
        ):
            return match[1].capitalize()
    return None


def _sides(said: str) -> int:
    match = _SIDES.search(said)
    if match is None:
        return 6
    return _SIDE_WORDS.get(match[1]) or max(2, int(match[1]))


def _plain(text: str) -> str:
    kept = re.sub(r"[^a-z0-9' .+*/÷×-]", " ", text.lower().replace("’", "'"))
    return " ".join(kept.rstrip(". ").split())
