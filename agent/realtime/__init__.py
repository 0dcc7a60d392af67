"""The room layer: a signalling client, a WebRTC peer, and audio out of it and into it."""

from agent.realtime.backoff import Backoff
from agent.realtime.channels import DataChannel
from agent.realtime.control import ControlPlane, Plan, Token, Usage
from agent.realtime.errors import (
    AckTimeoutError,
    ChannelClosedError,
    ChannelError,
    ChannelFullError,
    ChannelOverflowError,
    DisconnectedError,
    FrameTooLargeError,
    NotConnectedError,
    ServerRequestError,
    SignallingConnectError,
    SignallingError,
    TokenProviderError,
)
from agent.realtime.files import Media, MediaError, from_file, from_rtsp
from agent.realtime.ice import IceServer, parse_ice_servers
from agent.realtime.link import Timeouts
from agent.realtime.peer import Peer
from agent.realtime.peer_events import (
    DataChannelOpened,
    DataReceived,
    FatalError,
    PeerEvent,
    PeerEvents,
    PeerJoined,
    PeerLeft,
    StateChanged,
    TrackAdded,
    TrackEnded,
)
from agent.realtime.receive import iter_audio, iter_frames, iter_speech
from agent.realtime.received_audio import ReceivedAudio
from agent.realtime.remote import RemotePeer
from agent.realtime.remote_tracks import RemoteTrack
from agent.realtime.rest import RestError
from agent.realtime.source import AudioSource
from agent.realtime.tokens import LISTENER, PARTICIPANT, mint_token
from agent.realtime.tracks import MediaSource
from agent.realtime.turn_rest import TurnApi
from agent.realtime.turn_secret import shared_secret_credential

__all__ = [
    "LISTENER",
    "PARTICIPANT",
    "AckTimeoutError",
    "AudioSource",
    "Backoff",
    "ChannelClosedError",
    "ChannelError",
    "ChannelFullError",
    "ChannelOverflowError",
    "ControlPlane",
    "DataChannel",
    "DataChannelOpened",
    "DataReceived",
    "DisconnectedError",
    "FatalError",
    "FrameTooLargeError",
    "IceServer",
    "Media",
    "MediaError",
    "MediaSource",
    "NotConnectedError",
    "Peer",
    "PeerEvent",
    "PeerEvents",
    "PeerJoined",
    "PeerLeft",
    "Plan",
    "ReceivedAudio",
    "RemotePeer",
    "RemoteTrack",
    "RestError",
    "ServerRequestError",
    "SignallingConnectError",
    "SignallingError",
    "StateChanged",
    "Timeouts",
    "Token",
    "TokenProviderError",
    "TrackAdded",
    "TrackEnded",
    "TurnApi",
    "Usage",
    "from_file",
    "from_rtsp",
    "iter_audio",
    "iter_frames",
    "iter_speech",
    "mint_token",
    "parse_ice_servers",
    "shared_secret_credential",
]
