"""An embedded signalling server that speaks the room protocol."""

from .connection import MessageRate
from .keys import ALL_ACTIONS, PublishableKey, SecretKey
from .rest import rest_router
from .server import UVICORN_OPTIONS, Hub, HubOptions

__all__ = [
    "ALL_ACTIONS",
    "UVICORN_OPTIONS",
    "Hub",
    "HubOptions",
    "MessageRate",
    "PublishableKey",
    "SecretKey",
    "rest_router",
]
