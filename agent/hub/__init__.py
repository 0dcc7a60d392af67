"""An embedded signalling server that speaks the room protocol."""

from .connection import MessageRate
from .faults import Faults, parse_faults
from .keys import ALL_ACTIONS, PublishableKey, SecretKey
from .redis_link import ClusterError
from .rest import rest_router
from .server import Hub, HubOptions
from .uvicorn_seam import UVICORN_OPTIONS

__all__ = [
    "ALL_ACTIONS",
    "UVICORN_OPTIONS",
    "ClusterError",
    "Faults",
    "Hub",
    "HubOptions",
    "MessageRate",
    "PublishableKey",
    "SecretKey",
    "parse_faults",
    "rest_router",
]
