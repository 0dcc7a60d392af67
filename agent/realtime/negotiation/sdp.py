"""What the peer layer must read from and change in session descriptions. Pure text in, pure text out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

MAX_SDP_CHARS = 60_000
#: Each section that is received costs a thread for its decoder. A browser that sends a microphone, a camera,
#: a screen with its sound, and data has five.
MAX_SECTIONS = 8
#: In one description and behind it together. The time aioice takes to pair them grows with their square: a
#: thousand would hold up every call of the process for more than a second.
MAX_CANDIDATES = 200
MAX_ID_CHARS = 256

#: One-byte header extensions have 4 bits for the id; 0 is padding and 15 is reserved.
_EXTENSION_IDS = range(1, 15)

_UFRAG = re.compile(r"^a=ice-ufrag:(\S+)", re.MULTILINE)
_SECTION = re.compile(r"^(?=m=)", re.MULTILINE)
_KIND = re.compile(r"^m=(\w+) ")
_MID = re.compile(r"^a=mid:(\S+)", re.MULTILINE)
_MSID = re.compile(r"^a=(?:ssrc:\d+ )?msid:(\S+)(?: (\S+))?", re.MULTILINE)
#: What `str.splitlines`, and so aiortc, takes for the end of a line and SDP does not.
_OTHER_LINE_END = re.compile(r"\r(?!\n)|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_OPUS = re.compile(r"^a=rtpmap:(\d{2,3}) opus/48000", re.MULTILINE | re.IGNORECASE)
#: Where the address is in a candidate.
_ADDRESS_FIELD = 4
#: Payload types whose meaning each session gives them.
_DYNAMIC = range(96, 128)
_EXTMAP = re.compile(r"^a=extmap:(\d+)(/\w+)? (\S+)(.*)$")


@dataclass(frozen=True, slots=True)
class Msid:
    """What a section says about its track. None where the sender names nothing."""

    stream_id: str | None
    track_id: str | None


def ice_ufrag(sdp: str) -> str | None:
    """The first ICE user name fragment; another one than before means the other side started over."""
    match = _UFRAG.search(sdp)
    return match[1] if match else None


def kinds(sdp: str) -> list[str]:
    """The media kind of every section, in order."""
    return [match[1] for section in _sections(sdp) if (match := _KIND.match(section))]


def section_count(sdp: str) -> int:
    """How many media sections there are."""
    return len(_sections(sdp))


def candidate_count(sdp: str) -> int:
    """How many candidates there are, at most."""
    return sdp.count("a=candidate:")


def is_name(candidate: str) -> bool:
    """Whether a candidate hides its address behind a name, which has to be asked for in the local network."""
    fields = candidate.split()
    return len(fields) > _ADDRESS_FIELD and fields[_ADDRESS_FIELD].lower().endswith(".local")


def without_names(sdp: str) -> tuple[str, list[tuple[int, str]]]:
    """The same without the candidates that are names, and those, each with the number of its section.

    Without any it is unchanged; otherwise it leaves open whether more candidates follow.
    """
    if ".local" not in sdp.lower():
        return sdp, []
    head, *sections = _SECTION.split(sdp)
    plain, names = [head], list[tuple[int, str]]()
    for index, section in enumerate(sections):
        kept = []
        for line in section.splitlines(keepends=True):
            if line.startswith("a=candidate:") and is_name(line):
                names.append((index, line.strip().removeprefix("a=")))
            else:
                kept.append(line)
        plain.append("".join(kept))
    text = "".join(plain)
    return (without_end_of_candidates(text) if names else text), names


def has_plain_lines(sdp: str) -> bool:
    """Whether every reader sees the same lines; otherwise aiortc finds more than was counted here."""
    return _OTHER_LINE_END.search(sdp) is None


def mids(sdp: str) -> set[str]:
    """The identifiers of all sections."""
    return set(_MID.findall(sdp))


def msids_by_mid(sdp: str) -> dict[str, Msid]:
    """Stream and track id of each section that names any; ids over 256 characters are ignored."""
    found: dict[str, Msid] = {}
    for section in _sections(sdp):
        mid, msid = _MID.search(section), _MSID.search(section)
        if mid and msid:
            found[mid[1]] = Msid(_usable(msid[1]), _usable(msid[2]))
    return found


def without_end_of_candidates(sdp: str) -> str:
    """The same, leaving open whether more candidates follow."""
    return sdp.replace("a=end-of-candidates\r\n", "")


def extension_ids(sdp: str) -> dict[str, int]:
    """The id of each header extension, by URI; the first mention counts."""
    found: dict[str, int] = {}
    for line in sdp.splitlines():
        if match := _EXTMAP.match(line):
            found.setdefault(match[3], int(match[1]))
    return found


def pin_extension_ids(sdp: str, negotiated: Mapping[str, int]) -> str:
    """Give header extensions the ids they already have in this session.

    aiortc numbers them anew in each offer, which a browser that offered first refuses. An extension not
    negotiated yet gets an unused id, and is left out when there is none.
    """
    if not negotiated:
        return sdp
    ids = dict(negotiated)
    free = iter(sorted(set(_EXTENSION_IDS) - set(ids.values())))
    return "".join(_pinned(sdp.splitlines(keepends=True), ids, free))


def opus_type(sdp: str) -> int | None:
    """The payload type that stands for Opus; None if none does."""
    match = _OPUS.search(sdp)
    return int(match[1]) if match and int(match[1]) in _DYNAMIC else None


def opus_parameters_by_mid(sdp: str) -> dict[str, dict[str, str]]:
    """Of each section with Opus, the format parameters its author wants Opus with."""
    found: dict[str, dict[str, str]] = {}
    for section in _sections(sdp):
        mid, number = _MID.search(section), opus_type(section)
        if mid and number is not None:
            match = re.search(rf"^a=fmtp:{number} (.*)$", section, re.MULTILINE)
            pairs = (pair.split("=", 1) for pair in (match[1] if match else "").split(";") if "=" in pair)
            found[mid[1]] = {name.strip().lower(): value.strip() for name, value in pairs}
    return found


def pin_opus_type(sdp: str, number: int | None) -> str:
    """Let `number` stand for Opus in every audio section, None for what stands there.

    aiortc offers its own number again when the other side's is in use, and then keeps sending and expecting
    the old one: nobody hears anything any more.
    """
    if number is None:
        return sdp
    head, *sections = _SECTION.split(sdp)
    return head + "".join(_with_opus_type(section, number) for section in sections)


def _with_opus_type(section: str, number: int) -> str:
    old = opus_type(section)
    if old is None or old == number or not section.startswith("m=audio "):
        return section
    first, rest = section.split("\n", 1)
    # Its fields: kind, port, protocol, and then the types.
    fields = first.split(" ")
    types = re.sub(rf"\b{old}\b", str(number), " ".join(fields[3:]))
    attribute = re.compile(rf"^(a=(?:rtpmap|fmtp|rtcp-fb):){old} ", re.MULTILINE)
    return " ".join([*fields[:3], types]) + "\n" + attribute.sub(rf"\g<1>{number} ", rest)


def _pinned(lines: Iterable[str], ids: dict[str, int], free: Iterator[int]) -> Iterator[str]:
    for line in lines:
        match = _EXTMAP.match(line.rstrip("\r\n"))
        if match is None:
            yield line
            continue
        uri = match[3]
        number = ids[uri] if uri in ids else next(free, None)
        if number is not None:
            ids[uri] = number
            yield f"a=extmap:{number}{match[2] or ''} {uri}{match[4]}\r\n"


def _sections(sdp: str) -> list[str]:
    return _SECTION.split(sdp)[1:]


def _usable(name: str | None) -> str | None:
    return None if name is None or name == "-" or len(name) > MAX_ID_CHARS else name
