"""Every reach into the private parts of aiortc that decide which receiver hears which source (SSRC).

Checked with aiortc 1.16 and pylibsrtp 1.0; tests/agent/realtime/receiving/test_source_seam.py guards it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

from aiortc import rtp
from prometheus_client import Counter

logger = logging.getLogger(__name__)

FORGOTTEN = Counter(
    "voice_agent_received_sources_forgotten_total",
    "Sources forgotten because the other side sent under more numbers than are remembered",
)
FAILED_REPORTS = Counter(
    "voice_agent_receiver_reports_failed_total",
    "Reports of what was received that could not be sent; counting begins anew after each",
)

#: Sources one receiver remembers. A sender has one, and another after each change of what it sends; each is
#: in every report, of which SRTP carries some 60.
MAX_SOURCES = 8
#: Sources of a connection that can be decrypted without beginning anew: some for each of eight sections, and
#: for what they say in reports.
MAX_CONTEXTS = 64

_NEVER = datetime.min.replace(tzinfo=UTC)


class Sources:
    """Takes the place of the table by which a transport assigns packets to receivers.

    aiortc remembers every source there ever was, and puts all of them into each report: a stranger that sends
    under a hundred numbers ends the reports, after which the receiver cannot be stopped. And it does not look
    at which section a packet says that it is of, so a source that was not announced is dropped where there
    are two sections of sound.
    """

    def __init__(self, dtls: Any) -> None:
        self._dtls = dtls
        self._router = dtls._rtp_router
        self._router.route_rtp = self._route
        self._set_up = dtls._setup_srtp
        if dtls._rx_srtp is None:
            dtls._setup_srtp = self._set_up_bounded
        else:
            self._bound_contexts()

    @classmethod
    def of(cls, dtls: Any) -> Sources:
        """Those of a transport; made at the first time."""
        known = getattr(dtls._rtp_router.route_rtp, "__self__", None)
        return known if isinstance(known, cls) else cls(dtls)

    def assign(self, source: int, receiver: Any) -> None:
        """From now on `receiver` hears `source`. Of too many, the one longest silent is forgotten."""
        table: dict[int, Any] = self._router.ssrc_table
        table[source] = receiver
        active: dict[int, datetime] = receiver._RTCRtpReceiver__active_ssrc
        others = [other for other, hears in table.items() if hears is receiver and other != source]
        while len(others) >= MAX_SOURCES:
            oldest = min(others, key=lambda other: active.get(other, _NEVER))
            others.remove(oldest)
            del table[oldest]
            _forget(receiver, oldest)
            FORGOTTEN.inc()

    def _route(self, packet: rtp.RtpPacket) -> Any:
        """The receiver of a packet; None if there is none (RFC 8843, section 9.2)."""
        router = self._router
        able = router.payload_type_table.get(packet.payload_type, ())
        receiver = router.ssrc_table.get(packet.ssrc)
        if receiver is not None:
            return receiver if receiver in able else None
        if packet.extensions.mid is not None:
            receiver = router.mid_table.get(packet.extensions.mid)
        elif len(able) == 1:
            (receiver,) = able
        if receiver is None or receiver not in able:
            return None
        self.assign(packet.ssrc, receiver)
        return receiver

    def _set_up_bounded(self) -> None:
        self._set_up()
        if self._dtls._rx_srtp is not None:
            self._bound_contexts()

    def _bound_contexts(self) -> None:
        self._dtls._rx_srtp = _Contexts(self._dtls._rx_srtp)


def _forget(receiver: Any, source: int) -> None:
    for name in ("remote_streams", "active_ssrc", "lsr", "lsr_time"):
        getattr(receiver, f"_RTCRtpReceiver__{name}").pop(source, None)
    estimator = receiver._RTCRtpReceiver__remote_bitrate_estimator
    if estimator is not None:
        estimator.ssrcs.pop(source, None)


class _Contexts:
    """Takes the place of a session that decrypts: libsrtp keeps half a kilobyte for every source for good."""

    def __init__(self, session: Any) -> None:
        self._session = session
        #: By the bytes of their numbers, those heard last at the end.
        self._sources: OrderedDict[bytes, None] = OrderedDict()

    def unprotect(self, data: bytes) -> bytes:
        opened: bytes = self._session.unprotect(data)
        self._heard(data[8:12])
        return opened

    def unprotect_rtcp(self, data: bytes) -> bytes:
        opened: bytes = self._session.unprotect_rtcp(data)
        self._heard(data[4:8])
        return opened

    def _heard(self, source: bytes) -> None:
        self._sources[source] = None
        self._sources.move_to_end(source)
        if len(self._sources) > MAX_CONTEXTS:
            oldest, _ = self._sources.popitem(last=False)
            self._session.remove_stream(int.from_bytes(oldest, "big"))


def keep_reporting(receiver: Any) -> None:
    """Go on with the reports of a receiver after one that could not be sent, and let it be stopped.

    To be called before the receiver starts. aiortc's task ends with the first error, such as a number that a
    stranger's packets made too large, and leaves whoever stops the receiver waiting for ever.
    """
    run = receiver._run_rtcp
    exited: asyncio.Event = receiver._RTCRtpReceiver__rtcp_exited

    async def run_rtcp() -> None:
        try:
            while not exited.is_set():
                try:
                    await run()
                except Exception as error:
                    FAILED_REPORTS.inc()
                    logger.debug("a report of what was received failed: %s", type(error).__name__)
                    receiver._RTCRtpReceiver__remote_streams.clear()
        finally:
            exited.set()

    receiver._run_rtcp = run_rtcp
