"""Is somebody who speaks over the reply interrupting it? Pure: the floor and the listeners ask."""

from pipelines.interruption.echo import ECHO, EchoGate, PlayedLevels
from pipelines.interruption.verdict import Overlap, Verdict, judge
from pipelines.options import InterruptionOptions

__all__ = ["ECHO", "EchoGate", "InterruptionOptions", "Overlap", "PlayedLevels", "Verdict", "judge"]
