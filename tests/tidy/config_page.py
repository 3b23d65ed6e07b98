"""Writes docs/config-entries.md from the kinds and examples/config: `python -m tests.tidy.config_page`.

A tidy test runs the same code and compares.
"""

from pathlib import Path

from registry.config_entries.explain import page
from registry.config_entries.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "config-entries.md"
EXAMPLES = ROOT / "examples" / "config"

INTRO = """\
# Config entries

What holds for services, their callers and the mesh is written as config entries: Consul's kinds with
Consul's fields, and kinds of our own in the same style. Write one from a file, in HCL or JSON:

    weft config write examples/config/service-defaults.hcl
    weft config read --kind service-defaults --name orders
    weft config list --kind service-defaults
    weft config delete --kind service-defaults --name orders

or by `PUT /v1/config`. `?cas=<ModifyIndex>` writes only what nobody has changed meanwhile, and `?cas=0`
only what is not there. Keys may be spelt `PathPrefix` or `path_prefix`. A field that a kind does not have
is refused, and so is a value out of its bounds: the message begins with the field's path (400). What would
make a chain impossible is refused too, whichever entry is at fault (500, as Consul answers): a splitter or
router on a service whose protocol is declared as `tcp`, a subset that its resolver does not have, a circle.

A protocol need not be declared: sidecars detect it, and routers and splitters work without.

    curl -s 127.0.0.1:8500/v1/discovery-chain/orders

shows what entries make of calls to a service: the chain from its router over splitters to resolvers and
targets.

How a service uses its upstreams can be said in four places. The narrower goes before the wider, field by
field: proxy-defaults' `Config`, service-defaults' `UpstreamConfig.Defaults` and `UpstreamConfig.Overrides`
of the calling service, and `Config` of the upstream in its registration, which has the same fields. What is
said of the upstream that is called holds for all targets that it leads to, unless something is said of the
target's own service.

The examples stand in `examples/config`, and can be written in the order of this page. Durations are Go's:
`250ms`, `1m30s`. Below, `[]` is each item of a list and `["…"]` each value of an object by name.
"""


def render() -> str:
    return page(INTRO, {kind: (EXAMPLES / f"{kind}.hcl").read_text() for kind in KINDS})


if __name__ == "__main__":
    PAGE.write_text(render())
    print(f"wrote {PAGE.relative_to(ROOT)}")
