"""The calls to the registry's HTTP API that the story makes; as any Consul client makes them."""

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from .errors import StepFailed

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Registry:
    """`http` is host:port. Every method blocks, and raises StepFailed when the answer is not 200."""

    http: str

    def register(self, definition: dict[str, Any]) -> dict[str, Any]:
        """Registers a service instance; answers its credential."""
        answer: dict[str, Any] = self._ask("PUT", "agent/service/register?credential", definition)
        return answer

    def update(self, definition: dict[str, Any]) -> None:
        """Registers again; the instance's credential stays."""
        self._ask("PUT", "agent/service/register", definition)

    def deregister(self, service_id: str) -> None:
        self._ask("PUT", f"agent/service/deregister/{service_id}")

    def intend(self, source: str, destination: str, action: str) -> None:
        """Sets the intention `source -> destination` to "allow" or "deny"."""
        query = urllib.parse.urlencode({"source": source, "destination": destination})
        self._ask("PUT", f"connect/intentions/exact?{query}", {"Action": action})

    def services(self) -> list[str]:
        return sorted(self._ask("GET", "catalog/services"))

    def passing(self, service: str) -> list[str]:
        """The ids of the instances whose checks all pass."""
        entries = self._ask("GET", f"health/service/{service}?passing")
        return sorted(entry["Service"]["ID"] for entry in entries)

    def roots_pem(self) -> str:
        """The roots of the mesh."""
        return "".join(root["RootCert"] for root in self._ask("GET", "connect/ca/roots")["Roots"])

    def leaf(self, service: str) -> tuple[str, str]:
        """A certificate chain and its key for `service`, PEM."""
        answer = self._ask("GET", f"agent/connect/ca/leaf/{service}")
        return answer["CertPEM"], answer["PrivateKeyPEM"]

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.http}/v1/{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                reason = error.read().decode(errors="replace")
            raise StepFailed(f"{method} /v1/{path}: {error.code} {reason}") from error
        except OSError as error:
            raise StepFailed(f"{method} /v1/{path}: {error}") from error
        return json.loads(text) if text else None
