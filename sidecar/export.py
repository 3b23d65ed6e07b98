"""Carries spans to an OpenTelemetry collector in the background: OTLP over HTTP or gRPC.

Requests never wait for it: spans queue up to a bound, a batch at a time goes out in a thread, and what the
collector does not take is counted and gone (the exporter has tried again by then).
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from .calls import EndedCall
from .events import SPANS
from .outlets import Spans
from .telemetry import Telemetry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from .spans import SpanMaker

BATCH_SPANS_MAX = 512  # OpenTelemetry's default
PAUSE_S = 1.0  # between batches; a trace is looked at minutes later
TIMEOUT_S = 5.0  # of one batch, repeats included
TRACES_PATH = "/v1/traces"  # OTLP/HTTP, where the endpoint names no path
FLUSH_S = 2.0  # for what waits when the process ends

log = structlog.get_logger(__name__)


class Export:
    """Sends `spans` to the endpoint that is configured, if any. `run` is its task."""

    def __init__(self, spans: Spans, telemetry: Telemetry, service: str, instance_key: str) -> None:
        self._spans = spans
        self._telemetry = telemetry
        self._service = service
        self._instance_key = instance_key
        self._endpoint = ""
        self._carrier: tuple[str, SpanExporter] | None = None  # and where to; of the thread that sends
        self._maker: SpanMaker | None = None
        self._failing = False
        self._wanted = asyncio.Event()

    def use(self, endpoint: str) -> None:
        """From the next batch on, spans go there; "" sends none."""
        self._endpoint = endpoint
        if endpoint:
            self._wanted.set()
        else:
            self._wanted.clear()

    async def run(self) -> None:
        while True:
            await self._wanted.wait()
            await asyncio.sleep(PAUSE_S)
            while await self._send_some():
                pass

    async def close(self) -> None:
        """Sends what waits, for a moment, and lets go of the collector."""
        try:
            async with asyncio.timeout(FLUSH_S):
                while self._endpoint and await self._send_some():
                    pass
        except TimeoutError:
            pass
        if self._carrier is not None:
            self._carrier[1].shutdown()

    async def _send_some(self) -> bool:
        """One batch; whether another full one waits."""
        batch = self._spans.take(BATCH_SPANS_MAX)
        if batch and self._endpoint:
            sent = await asyncio.to_thread(self._send, batch, self._endpoint)
            self._telemetry.count(SPANS, "exported" if sent else "failed").value += len(batch)
            self._tell(sent)
        return len(batch) == BATCH_SPANS_MAX

    def _tell(self, sent: bool) -> None:
        if sent == self._failing:
            self._failing = not sent
            if sent:
                log.info("spans are exported again", endpoint=self._endpoint)
            else:
                log.warning("spans are not exported; is a collector there?", endpoint=self._endpoint)

    def _send(self, batch: list[EndedCall], endpoint: str) -> bool:
        """In a thread. False where the collector did not take them."""
        try:
            if self._maker is None:
                from .spans import SpanMaker

                self._maker = SpanMaker(self._service, self._instance_key)
            result = self._exporter(endpoint).export(self._maker.spans(batch))
        except Exception as error:  # a library's own, whatever it is: spans must not end a sidecar
            log.warning("spans could not be sent", error=f"{type(error).__name__}: {error}"[:300])
            return False
        return getattr(result, "name", "") == "SUCCESS"

    def _exporter(self, endpoint: str) -> "SpanExporter":
        """In a thread. The one of this endpoint; another's is let go."""
        if self._carrier is None or self._carrier[0] != endpoint:
            if self._carrier is not None:
                self._carrier[1].shutdown()
            self._carrier = endpoint, exporter_for(endpoint)
        return self._carrier[1]


def exporter_for(endpoint: str) -> "SpanExporter":
    """OpenTelemetry's exporter for an endpoint as `policy.telemetry` lets them pass."""
    # It logs each attempt, through the standard library; once per outage is said above.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    parts = urlsplit(endpoint)
    if parts.scheme.startswith("http"):
        import requests
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http

        session = requests.Session()
        session.trust_env = False  # a proxy named in the environment is meant for web browsers
        whole = parts if parts.path.strip("/") else parts._replace(path=TRACES_PATH)
        return Http(endpoint=whole.geturl(), timeout=TIMEOUT_S, session=session)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

    insecure = parts.scheme == "grpc"
    options: Any = (("grpc.enable_http_proxy", 0),)  # the library calls them text; gRPC wants the number
    return Grpc(endpoint=parts.netloc, insecure=insecure, timeout=TIMEOUT_S, channel_options=options)
