"""What one HTTP/1.1 head costs to read and to write: `python -m bench.http1`."""

import timeit
from collections.abc import Callable
from itertools import count

from sidecar.http1.decoder import Decoder
from sidecar.http1.encoder import RequestEncoder, ResponseEncoder, chunk
from sidecar.http1.reader import Reader

ROUNDS = 20_000
_STARTS = count()
HEAD = (
    b"GET /api/orders?page=1 HTTP/1.1\r\nHost: orders:8080\r\nUser-Agent: bench/1\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip, deflate\r\nX-Tenant: acme\r\n"
)


def main() -> None:
    cases: dict[str, Callable[[int], object]] = {
        "a head seen before": _reader(lambda number: HEAD + b"\r\n"),
        "a head with its own traceparent": _reader(
            lambda number: HEAD + b"traceparent: 00-%032x\r\n\r\n" % number
        ),
        "a head that is new": _reader(lambda number: HEAD + b"x-id: %d\r\n\r\n" % number),
        "a request written": _writer(RequestEncoder(b"")),
        "a response written": _writer(ResponseEncoder()),
        "a body of 16 KiB in chunks of 1 KiB": _chunks(),
    }
    for name, case in cases.items():
        best = min(_rounds(case) for _ in range(3))
        print(f"{best / ROUNDS * 1e6:8.2f} µs  {name}")


def _rounds(case: Callable[[int], object]) -> float:
    numbers = count(next(_STARTS) * ROUNDS)
    return timeit.timeit(lambda: case(next(numbers)), number=ROUNDS)


def _reader(make: Callable[[int], bytes]) -> Callable[[int], object]:
    reader = Reader(Decoder(requests=True))

    def case(number: int) -> object:
        reader.feed(make(number))
        return reader.head()

    return case


def _writer(encoder: RequestEncoder | ResponseEncoder) -> Callable[[int], object]:
    message = Decoder(requests=True).decode(HEAD + b"traceparent: 00-1\r\n\r\n")
    fields = message.head.fields if isinstance(encoder, RequestEncoder) else ((b":status", b"200"),)
    return lambda number: encoder.encode(fields, message.extra)


def _chunks() -> Callable[[int], object]:
    reader = Reader(Decoder(requests=True))
    data = HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunk(bytes(1024)) * 16 + b"0\r\n\r\n"

    def case(number: int) -> object:
        reader.feed(data)
        message = reader.head()
        assert message is not None and reader.frame_request(message)
        return reader.body(1 << 20)

    return case


if __name__ == "__main__":
    main()
