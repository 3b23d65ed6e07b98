"""What of a request goes to a server, and what of its answer comes back."""

import pytest
from multidict import CIMultiDict, MultiDict

from registry.api.errors import NotFound
from registry.api.query import Query
from registry.client_agent.forward import PARKED_MARGIN_S, patience_s, target
from registry.client_agent.headers import end_to_end
from registry.client_agent.servers import CALL_S


def test_headers_of_one_connection_stay_behind() -> None:
    given = CIMultiDict(
        [
            *(("Connection", "keep-alive, X-Mine"), ("Keep-Alive", "5"), ("X-Mine", "1"), ("TE", "trailers")),
            *(("Upgrade", "h2c"), ("Transfer-Encoding", "chunked"), ("Proxy-Authorization", "x")),
            *(("X-Consul-Index", "7"), ("Content-Encoding", "gzip"), ("Cache-Control", "max-age=3")),
        ]
    )
    assert dict(end_to_end(given)) == {
        "X-Consul-Index": "7",
        "Content-Encoding": "gzip",
        "Cache-Control": "max-age=3",
    }


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("/v1/kv/a%2Fb", "/v1/kv/a%2Fb"),
        ("/v1/kv/a?raw", "/v1/kv/a?raw"),
        ("/v1/kv/a?token=secret", "/v1/kv/a"),
        ("/v1/kv/a?raw&token=secret&index=3", "/v1/kv/a?raw&index=3"),
        ("/v1/kv/a?%74oken=secret&raw", "/v1/kv/a?raw"),
        ("/v1/catalog/nodes?near=_agent&filter=a+%3D%3D+b", "/v1/catalog/nodes?near=n1&filter=a+%3D%3D+b"),
    ],
)
def test_a_token_never_travels_in_the_address(asked: str, sent: str) -> None:
    assert target(asked, "n1") == sent


@pytest.mark.parametrize("asked", ["*", "", "evil.example/v1/kv/a", "@evil.example/"])
def test_only_a_path_is_put_behind_a_server(asked: str) -> None:
    with pytest.raises(NotFound):
        target(asked, "n1")


def test_a_parked_query_may_take_its_wait_and_what_jitter_adds() -> None:
    assert patience_s(Query(MultiDict())) == CALL_S
    assert patience_s(Query(MultiDict(index="5", wait="160s"))) == 160 + 10 + PARKED_MARGIN_S
    assert patience_s(Query(MultiDict(hash="abc", wait="16s"))) == 17 + PARKED_MARGIN_S
