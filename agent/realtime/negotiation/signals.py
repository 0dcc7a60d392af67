"""What peers send each other to get connected: descriptions, candidates, and properties of tracks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from agent.realtime.negotiation.sdp import (
    MAX_CANDIDATES,
    MAX_SDP_CHARS,
    MAX_SECTIONS,
    candidate_count,
    has_plain_lines,
    section_count,
    without_names,
)

MAX_CANDIDATE_CHARS = 1000
MAX_NAME_CHARS = 256
TRACK_META_KEY = "__meteredTrackMeta"


@dataclass(frozen=True, slots=True)
class Description:
    kind: Literal["offer", "answer"]
    sdp: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A remote address to try; `text` is None at the end of candidates."""

    text: str | None
    sdp_mid: str | None = None
    sdp_mline_index: int | None = None
    ufrag: str | None = None


@dataclass(frozen=True, slots=True)
class TrackMeta:
    """Application-defined properties of one of the sender's tracks; None clears them."""

    track_id: str
    metadata: Mapping[str, Any] | None
    kind: str | None = None
    stream_id: str | None = None


#: A signal that has the shape of WebRTC signalling and cannot be used.
@dataclass(frozen=True, slots=True)
class Unusable:
    reason: str


Signal: TypeAlias = Description | Candidate | TrackMeta | Unusable


def parse(data: Any) -> Signal | None:
    """The signal in a direct message; None if it is application data."""
    if not isinstance(data, dict):
        return None
    match data.get("type"):
        case "rtc-description" if isinstance(data.get("description"), dict):
            return _description(data["description"])
        case "rtc-ice" if data.get("candidate") is None or isinstance(data["candidate"], dict):
            return _candidate(data.get("candidate"))
    if isinstance(data.get(TRACK_META_KEY), dict):
        return _track_meta(data[TRACK_META_KEY])
    return None


def split_names(text: str) -> tuple[str, list[Candidate]]:
    """A description without the addresses that are names, and those, with the end if that was in it."""
    plain, names = without_names(text)
    found = [Candidate(name, sdp_mline_index=index) for index, name in names]
    if found and "a=end-of-candidates" in text:
        found.append(Candidate(None))
    return plain, found


def description(kind: str, sdp: str) -> dict[str, Any]:
    """The payload that carries an offer or an answer."""
    return {"type": "rtc-description", "description": {"type": kind, "sdp": sdp}}


def candidate(found: Candidate) -> dict[str, Any]:
    """The payload that carries one candidate, or says that no more come."""
    if found.text is None:
        return {"type": "rtc-ice", "candidate": None}
    body = {"candidate": found.text, "sdpMid": found.sdp_mid, "sdpMLineIndex": found.sdp_mline_index}
    if found.ufrag is not None:
        body["usernameFragment"] = found.ufrag
    return {"type": "rtc-ice", "candidate": body}


def track_meta(meta: TrackMeta) -> dict[str, Any]:
    """The payload that sets or, without metadata, clears the properties of a track."""
    body: dict[str, Any] = {"trackId": meta.track_id}
    if meta.metadata is not None:
        body["metadata"] = dict(meta.metadata)
        body.update({k: v for k, v in (("kind", meta.kind), ("streamId", meta.stream_id)) if v is not None})
    return {TRACK_META_KEY: body}


def _description(body: Mapping[str, Any]) -> Signal:
    kind, sdp = body.get("type"), body.get("sdp")
    if kind not in ("offer", "answer") or not isinstance(sdp, str):
        return Unusable("a description is an offer or an answer with an sdp")
    if len(sdp) > MAX_SDP_CHARS:
        return Unusable(f"an sdp has at most {MAX_SDP_CHARS} characters")
    if not has_plain_lines(sdp):
        return Unusable("the lines of an sdp end in CR LF")
    if candidate_count(sdp) > MAX_CANDIDATES:
        return Unusable(f"an sdp has at most {MAX_CANDIDATES} candidates")
    if section_count(sdp) > MAX_SECTIONS:
        return Unusable(f"an sdp has at most {MAX_SECTIONS} media sections")
    return Description(kind, sdp)


def _candidate(body: Mapping[str, Any] | None) -> Signal:
    if body is None or body.get("candidate") in (None, ""):
        return Candidate(None)
    text, mid, index = body["candidate"], body.get("sdpMid"), body.get("sdpMLineIndex")
    if not isinstance(text, str) or len(text) > MAX_CANDIDATE_CHARS:
        return Unusable(f"a candidate is a string of at most {MAX_CANDIDATE_CHARS} characters")
    mid = mid if isinstance(mid, str) else None
    index = index if isinstance(index, int) and not isinstance(index, bool) else None
    if mid is None and index is None:
        return Unusable("a candidate names its section")
    ufrag = body.get("usernameFragment")
    return Candidate(text, mid, index, ufrag if isinstance(ufrag, str) else None)


def _track_meta(body: Mapping[str, Any]) -> Signal:
    track_id, metadata = body.get("trackId"), body.get("metadata")
    names = (body.get("kind"), body.get("streamId"))
    if not isinstance(track_id, str) or not 0 < len(track_id) <= MAX_NAME_CHARS:
        return Unusable(f"a track id has 1-{MAX_NAME_CHARS} characters")
    if metadata is not None and not isinstance(metadata, dict):
        return Unusable("track metadata is an object")
    if any(name is not None and not _is_name(name) for name in names):
        return Unusable(f"kind and stream id are strings of 1-{MAX_NAME_CHARS} characters")
    return TrackMeta(track_id, metadata, *names)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARS
