"""One sample, played: a fresh room, a fresh agent, a caller, and what was observed."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from agent.call_log import TurnLatency
from agent.caller import Caller, CallFailedError, Spoken
from agent.client import ServiceClient, ServiceError
from agent.realtime import SignallingError
from agent.recording import Int16, Sound, read_audio, write_wav
from agent.replay.sample import Sample, Step

#: How long anything that is waited for may take; a sample as a whole may take `SAMPLE_TIMEOUT_S`.
WAIT_S = 30.0
SAMPLE_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    interrupted: bool


@dataclass(slots=True)
class Observation:
    """What happened, in the caller's eyes and ears. Times are on the caller's clock."""

    #: What the agent understood, segment by segment.
    heard: list[str] = field(default_factory=list)
    #: What it answered, the greeting left out.
    answers: list[Answer] = field(default_factory=list)
    spoken: list[Spoken] = field(default_factory=list)
    #: What sounded from the first thing said on.
    sounds: list[Sound] = field(default_factory=list)
    latencies: list[TurnLatency] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    recording: Path | None = None
    #: Why the call broke down; None: it did not.
    failure: str | None = None

    def first_sounds_ms(self) -> list[float | None]:
        """For each thing said: how long until the answer sounded; None when none began before the next."""
        result: list[float | None] = []
        for i, spoken in enumerate(self.spoken):
            following = self.spoken[i + 1 :]
            until_ms = next((s.start_ms for s in following if s.start_ms is not None), float("inf"))
            starts = (s.start_ms for s in self.sounds if spoken.said_by_ms <= s.start_ms < until_ms)
            first = next(starts, None)
            result.append(None if first is None else first - spoken.said_by_ms)
        return result

    def stop_ms(self) -> float | None:
        """From the first sound of an interruption to the last of the answer it cut; None without one."""
        for spoken in self.spoken:
            if spoken.start_ms is None:
                continue
            cut = (s.end_ms for s in self.sounds if s.start_ms < spoken.start_ms < s.end_ms)
            if (end_ms := next(cut, None)) is not None:
                return end_ms - spoken.start_ms
        return None


async def play_sample(
    sample: Sample, service: ServiceClient, *, silent: bool, out_dir: Path | None = None
) -> Observation:
    """Play `sample` to a new agent in a new room; what it is heard to say goes to ``out_dir/NAME.wav``.

    `silent`: no answer is expected, so none is waited for.

    Raises `ServiceError` when the service refuses and `AudioFileError` for a file that holds no sound. A call
    that breaks down is told in the observation.
    """
    clips = {wav: await asyncio.to_thread(read_audio, wav) for wav in dict.fromkeys(sample.wavs)}
    room = f"replay-{sample.name[:80]}-{secrets.token_hex(4)}"
    agent, _ = await service.dispatch(
        room,
        persona=sample.persona,
        instructions=sample.instructions,
        greeting=sample.greeting,
        language=sample.language,
    )
    caller = Caller(service, room, name="replay", agent_peer_id=agent.peer_id)
    failure: str | None = None
    try:
        async with asyncio.timeout(SAMPLE_TIMEOUT_S), caller:
            await caller.ready()
            for step in sample.play:
                await _do(step, caller, sample, clips)
            if not silent:
                await caller.wait_for_reply(WAIT_S)
            await caller.wait_for_quiet(sample.listen_ms, WAIT_S)
    except (CallFailedError, SignallingError) as error:
        failure = str(error)
    except TimeoutError:
        failure = f"the sample took longer than {SAMPLE_TIMEOUT_S:g} s"
    finally:
        await _dismiss(service, agent.id)
    return await asyncio.to_thread(_observe, sample, caller, failure, out_dir)


async def _do(step: Step, caller: Caller, sample: Sample, clips: dict[Path, Int16]) -> None:
    if step.wav is not None:
        await caller.say(step.wav, clips[sample.folder / step.wav])
    elif step.pause_ms is not None:
        await caller.pause(step.pause_ms)
    elif step.after_reply_ms is not None:
        if not await caller.wait_for_sound(step.after_reply_ms, WAIT_S):
            raise CallFailedError(f"no answer to interrupt was heard within {WAIT_S:g} s")
    elif not await caller.wait_for_reply(WAIT_S):
        raise CallFailedError(f"no finished answer was heard within {WAIT_S:g} s")


async def _dismiss(service: ServiceClient, agent_id: str) -> None:
    try:
        await service.remove(agent_id)
    except ServiceError:
        # The verdict is about the call, which is over; the agent leaves an empty room by itself.
        return


def _observe(sample: Sample, caller: Caller, failure: str | None, out_dir: Path | None) -> Observation:
    _, samples = caller.recording.render()
    path = None
    if out_dir is not None and len(samples):
        path = out_dir / f"{sample.name}.wav"
        write_wav(path, samples)
    from_ms = caller.spoken[0].began_ms if caller.spoken else float("inf")
    return Observation(
        heard=[line.text for line in caller.log.said("caller")],
        answers=[Answer(a.text, a.interrupted) for a in caller.log.said("agent", after_ms=from_ms)],
        spoken=list(caller.spoken),
        sounds=[sound for sound in caller.recording.sounds() if sound.end_ms >= from_ms],
        latencies=list(caller.log.latencies),
        problems=list(caller.log.problems),
        recording=path,
        failure=failure,
    )
