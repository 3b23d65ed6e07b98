"""An agent's first word to a server: it redeems its join token for a certificate.

Nothing is known of the servers but the pins in the token's text. So the agent looks at the certificates of
who answers first, takes the root that a pin names, and says the secret only on a second connection that this
root vouches for.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import aiohttp
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf import json_format

from ca.bundle import der_to_pem
from weft.bodies import BodyTooLarge, read_whole
from weft.errors import WeftError
from weft.pb.agent.v1 import agent_pb2 as pb
from weft.tls import peer_chain

from ..identity.join_text import JoinText, pin, pins_of
from ..replica.peer_tls import server_name
from .errors import JoinRefused, NotOurServer, ServersAway
from .files import Membership, MembershipFiles
from .schedule import pause_s

log = structlog.get_logger(__name__)

TIMEOUT_S = 15.0  # an election, and a little
ANSWER_BYTES_MAX = 1024 * 1024
HTTPS_PORT = 8501


class Joiner:
    """`servers` are `host:port` of HTTPS listeners, or `http://host:port` on this machine's loopback."""

    def __init__(
        self,
        servers: Sequence[str],
        text: JoinText,
        node: str,
        datacenter: str,
        files: MembershipFiles,
        draw: Callable[[], float],
    ) -> None:
        self._servers = tuple(servers)
        self._text = text
        self._node = node
        self._name = server_name(datacenter)
        self._files = files
        self._draw = draw

    async def join(self) -> Membership:
        """Asks one server after the other until one answers, and keeps what it gives.

        Raises JoinRefused, MembershipDamaged, EnvironmentProblem.
        """
        key = self._files.pending_key()
        attempts = 0
        while True:
            server = self._servers[attempts % len(self._servers)]
            try:
                answer = await self._ask(server, key)
            except JoinRefused:
                raise
            except WeftError as error:
                log.warning("this agent has not joined yet", server=server, reason=str(error))
                attempts += 1
                await asyncio.sleep(pause_s(attempts // len(self._servers) + 2, 0.5 + self._draw() / 2))
                continue
            membership = Membership.made_of(self._node, key, answer)
            self._files.save(membership)
            log.info("this agent has joined", node=self._node, server=server)
            return membership

    async def _ask(self, server: str, key: ec.EllipticCurvePrivateKey) -> pb.JoinResponse:
        """Raises JoinRefused, NotOurServer, ServersAway."""
        plain = server.startswith("http://")
        context = None if plain else _trusting(await discover_root(server, self._text.pins))
        body = json_format.MessageToJson(self._request(key), indent=None)
        url = f"{server if plain else f'https://{server}'}/v1/join"
        more = {} if context is None else {"ssl": context, "server_hostname": self._name}
        timeout = aiohttp.ClientTimeout(TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.put(url, data=body, **more) as answer,  # type: ignore[arg-type]
            ):
                found = await read_whole(answer.content, ANSWER_BYTES_MAX)
                return self._answered(server, answer.status, found.decode("utf-8", "replace"))
        except BodyTooLarge as error:
            raise ServersAway(f"{server}: {error}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ServersAway(f"{server} does not answer ({error or type(error).__name__})") from None

    def _request(self, key: ec.EllipticCurvePrivateKey) -> pb.JoinRequest:
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        return pb.JoinRequest(
            token_id=self._text.id,
            secret=self._text.secret,
            node=self._node,
            csr_der=csr.public_bytes(Encoding.DER),
        )

    def _answered(self, server: str, status: int, text: str) -> pb.JoinResponse:
        """Raises JoinRefused where asking again would not help."""
        if status in (400, 403, 409):
            raise JoinRefused(f"{server} refuses: {' '.join(text.split())[:300]}")
        if status != 200:
            raise ServersAway(f"{server} answers {status}: {' '.join(text.split())[:300]}")
        try:
            answer = json_format.Parse(text, pb.JoinResponse())
        except json_format.ParseError:
            raise ServersAway(f"{server} answers something else: run the same version everywhere") from None
        if not set(self._text.pins) & set(pins_of(answer.cluster.registry_ca_pem)):
            raise NotOurServer(f"{server} names other roots than the join token does")
        return answer


async def discover_root(server: str, pins: Sequence[bytes]) -> str:
    """The root among the certificates of who answers at `host:port` that a pin names, PEM. Nothing is sent.

    Raises NotOurServer, ServersAway.
    """
    parts = urlsplit(f"https://{server}")
    looking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    looking.minimum_version = ssl.TLSVersion.TLSv1_3
    looking.check_hostname, looking.verify_mode = False, ssl.CERT_NONE  # the pin is what counts
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or HTTPS_PORT, ssl=looking)
        try:
            chain = peer_chain(writer.get_extra_info("ssl_object"))
        finally:
            writer.transport.abort()
    except (OSError, TimeoutError) as error:
        raise ServersAway(f"{server} does not answer ({error or type(error).__name__})") from None
    for der in chain:
        if pin(x509.load_der_x509_certificate(der)) in pins:
            return der_to_pem(der)
    raise NotOurServer(
        f"{server} is not vouched for by the root that the join token names: check --server, or somebody "
        "stands between"
    )


def _trusting(root_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the name and the chain
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=root_pem)
    return context
