"""The room layer: a signalling client, a WebRTC peer, and audio out of it and into it.

The modules beside this one are what all share: the protocol's frames, names, codes and tokens, JSON, errors,
Opus. The packages, each built on those before it only: `signalling`, `rest`, `ice`, `negotiation`,
`sending`, `receiving`, `connections`, `remote`, `room`.
"""

from agent.realtime.connections.channels import DataChannel
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
from agent.realtime.ice_servers import IceServer, parse_ice_servers
from agent.realtime.receiving.receive import iter_audio, iter_frames, iter_speech
from agent.realtime.receiving.received_audio import ReceivedAudio
from agent.realtime.remote.peer_events import (
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
from agent.realtime.remote.remote_peer import RemotePeer
from agent.realtime.remote.remote_tracks import RemoteTrack
from agent.realtime.rest.control import ControlPlane, Plan, Token, Usage
from agent.realtime.rest.json_api import RestError
from agent.realtime.rest.turn_rest import TurnApi
from agent.realtime.rest.turn_secret import shared_secret_credential
from agent.realtime.room.peer import Peer
from agent.realtime.sending.files import Media, MediaError, from_file, from_rtsp
from agent.realtime.sending.source import AudioSource
from agent.realtime.sending.tracks import MediaSource
from agent.realtime.signalling.backoff import Backoff
from agent.realtime.signalling.link import Timeouts
from agent.realtime.tokens import LISTENER, PARTICIPANT, mint_token

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
