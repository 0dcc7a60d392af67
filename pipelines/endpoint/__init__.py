"""Is the caller's turn over? What is known at a pause decides how long a silence has to last to mean that.

`silence_needed` is pure: evidence in, milliseconds and their reasons out. `pipelines.turns` asks it again
whenever the evidence grows; what is measured for it comes from the other modules of this package.
"""

from pipelines.endpoint.decision import silence_needed
from pipelines.endpoint.evidence import Decision, Evidence, Prosody
from pipelines.endpoint.prosody import ProsodyTracker
from pipelines.options import EndpointOptions

__all__ = ["Decision", "EndpointOptions", "Evidence", "Prosody", "ProsodyTracker", "silence_needed"]
