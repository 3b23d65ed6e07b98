"""Each rule that a careful team learns in production has a test named after it: `test_trap_NN_...`.

A name here is what the rule is about; the tests say the rest. Rules about what is not built yet are added
with it: consensus and disks of several servers (19, 24), tokens (26).
"""

import re

import pytest

from tests.support.sources import PROJECT

RULES = {
    1: "no identity without a credential bound to one instance; names in a CSR are ignored",
    2: "keys lie on disk with mode 0600 only; the leaf endpoint is the declared exception",
    3: "server identities have a root of their own",
    4: "a revoked instance is cut off within a second",
    5: "loopback is shared: sockets with modes, and the exposure is named",
    6: "the application learns its caller from the sidecar alone",
    7: "TLS sessions never resume",
    8: "a root speaks for its own trust domain only",
    9: "a context cannot forget a root; keys load from memory",
    10: "an upstream is usable once its SETTINGS have arrived",
    11: "a cache key holds every input of the answer, identity included",
    12: "a block that touches the table is never memoised, and always decoded",
    13: "every new string is validated; secrets never enter a dynamic table",
    14: "bytes that do not parse are refused, never spliced",
    15: "flow control: no stalled stream starves the others, every buffer is bounded",
    16: "resets, GOAWAY and drain lose nothing",
    17: "an application that is gone is safe to retry elsewhere, and leaves the pool",
    18: "a deny ends open streams, and the connection of who may call nothing",
    20: "a failed sync stops the log, a full disk refuses writes",
    21: "bad content is a result, an unknown command halts",
    22: "the same log makes the same bytes",
    23: "time in a command never goes back",
    25: "the CA signs fenced by the root's epoch",
    27: "a log in etcd is ordered by index, fenced, trimmed, and never goes back",
    28: "health checks have an address policy and bounds; logs hide tokens",
}


def numbers() -> set[int]:
    tests = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    return {int(number) for number in re.findall(r"def test_traps?_?(\d+)", tests)}


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_each_rule_has_a_test_named_after_it(rule: int) -> None:
    assert rule in numbers(), f"no test_trap_{rule:02}_...: {RULES[rule]}"
