"""A hand-driven HTTP/2 client over TLS, for what no gRPC library would send."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

HOST = "127.0.0.1"
TIMEOUT_S = 10.0
Header = tuple[str, str]


@dataclass
class Answer:
    """What came back on one stream."""

    headers: list[tuple[bytes, bytes]] = field(default_factory=list)  # trailers too
    data: bytes = b""
    ended: bool = False
    reset: int | None = None

    def get(self, name: str) -> str | None:
        return next((value.decode() for key, value in self.headers if key == name.encode()), None)


class Refused(Exception):
    """The peer closed the connection before its SETTINGS."""


class RawClient:
    """One connection. `closed` once the peer has ended it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        config = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=None
        )
        self._h2 = h2.connection.H2Connection(config)
        self._answers: dict[int, Answer] = {}
        self.greeted = False
        self.closed = False

    @property
    def tls(self) -> ssl.SSLObject:
        found: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        return found

    async def greet(self) -> None:
        """Sends the preface and waits for the peer's SETTINGS. Raises Refused."""
        self._h2.initiate_connection()
        self._flush()
        while not self.greeted and not self.closed:
            await self._receive()
        if not self.greeted:
            raise Refused("closed before SETTINGS")

    def request(self, path: str, *extra: Header, body: bytes | None = None, end: bool = True) -> int:
        """Sends a gRPC request (fields as given, unchecked); answers its stream id."""
        stream = self._h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"),
            ("content-type", "application/grpc"), ("te", "trailers"), *extra,
        ]  # fmt: skip
        self._answers[stream] = Answer()
        self._h2.send_headers(stream, headers, end_stream=end and body is None)
        if body is not None:
            self._h2.send_data(stream, len(body).to_bytes(5, "big") + body, end_stream=end)
        self._flush()
        return stream

    async def answer(self, stream: int) -> Answer:
        """Waits until the stream or the connection has ended."""
        answer = self._answers[stream]
        while not (answer.ended or answer.reset is not None or self.closed):
            await self._receive()
        return answer

    async def has_data(self, stream: int) -> None:
        """Waits until something of the answer's body has come."""
        answer = self._answers[stream]
        while not answer.data and not answer.ended and not self.closed:
            await self._receive()
        assert answer.data, f"no data on stream {stream}: {answer}"

    async def until_closed(self) -> None:
        while not self.closed:
            await self._receive()

    async def _receive(self) -> None:
        try:
            data = await asyncio.wait_for(self._reader.read(65536), TIMEOUT_S)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if not data:
            self.closed = True
            return
        for event in self._h2.receive_data(data):
            self._take(event)
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        answer = self._answers.get(getattr(event, "stream_id", None) or 0, Answer())
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self.greeted = True
        elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            answer.headers.extend(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            answer.data += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = event.error_code

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())


@contextlib.asynccontextmanager
async def raw_connection(port: int, context: ssl.SSLContext | None) -> AsyncIterator[RawClient]:
    """Raises Refused when the TLS handshake or the greeting fails."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
    except (ConnectionError, ssl.SSLError) as error:
        raise Refused(str(error)) from error
    client = RawClient(reader, writer)
    try:
        await client.greet()
        yield client
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), TIMEOUT_S)


def client_context(
    folder: Path, chain_pem: bytes = b"", key_pem: bytes = b"", roots: Sequence[str] = ()
) -> ssl.SSLContext:
    """A TLS 1.3 client that shows `chain_pem` (nothing when empty) and believes any server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if chain_pem:
        both = folder / "client.pem"
        both.write_bytes(chain_pem + key_pem)
        context.load_cert_chain(both)
    return context
