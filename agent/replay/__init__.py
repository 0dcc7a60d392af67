"""Replay: plays recorded callers to a freshly dispatched agent over real WebRTC and judges what came back."""

from agent.replay.judge import Verdict, judge
from agent.replay.runner import Observation, play_sample
from agent.replay.sample import Sample, SampleError, find_samples, load_sample

__all__ = [
    "Observation",
    "Sample",
    "SampleError",
    "Verdict",
    "find_samples",
    "judge",
    "load_sample",
    "play_sample",
]
