"""Is somebody who speaks over the reply interrupting it? Pure: the floor and the listeners ask."""

from pipelines.interruption.echo import ECHO, ECHO_IN_SPEECH, EchoGate, PlayedLevels
from pipelines.interruption.verdict import Overlap, Verdict, judge
from pipelines.options import InterruptionOptions

__all__ = [
    "ECHO",
    "ECHO_IN_SPEECH",
    "EchoGate",
    "InterruptionOptions",
    "Overlap",
    "PlayedLevels",
    "Verdict",
    "judge",
]
