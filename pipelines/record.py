"""What is kept of the decisions about the floor: a line in the log, without words, and figures."""

from __future__ import annotations

import logging

from prometheus_client import Counter, Histogram

from pipelines import events as ev

_log = logging.getLogger(__name__)
_SILENCE = Histogram(
    "voice_agent_turn_silence_seconds",
    "Silence after which a caller's turn was taken to be over",
    buckets=(0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.3, 1.6, 2, 3),
)
_OVERLAPS = Counter(
    "voice_agent_overlaps_total",
    "Speech over a reply: taken (it got the floor) or given_back (it was nothing)",
    ["outcome"],
)
_SPECULATIONS = Counter(
    "voice_agent_speculations_total",
    "Answers prepared before the turn was over: used, unchanged (more sound, same words), withheld; "
    "wasted: every answer that was thrown away unheard, when the turn was over already too",
    ["outcome"],
)


def record(decision: ev.TurnEnded | ev.OverlapEnded | ev.Speculated) -> None:
    """Log and count `decision`."""
    match decision:
        case ev.TurnEnded(turn, silence_ms, reasons):
            why = ", ".join(f"{name} {ms:+.0f}" for name, ms in reasons)
            _log.info("turn %d is over after %.0f ms of silence (%s)", turn, silence_ms, why)
            _SILENCE.observe(silence_ms / 1000)
        case ev.OverlapEnded(taken, speech_ms, silence_ms, words):
            outcome = "taken" if taken else "given_back"
            _log.info(
                "floor %s: speech over the reply of %.0f ms, %d words, silent for %.0f ms",
                outcome,
                speech_ms,
                words,
                silence_ms,
            )
            _OVERLAPS.labels(outcome).inc()
        case ev.Speculated(outcome):
            _SPECULATIONS.labels(outcome).inc()
