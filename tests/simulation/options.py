"""What a seed decides before the run: size, load, limits, and which faults are on."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from registry.raft.limits import Limits

from .clock import MS, SECOND
from .machines import CatalogMachine, KvMachine, Machine
from .nemesis import FAULTS
from .network import Weather


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    theme: str
    servers: int
    clients: int
    keys: int
    think_us: int
    attempt_us: int
    """After so long a client asks again, perhaps elsewhere."""
    faults: tuple[str, ...]
    fault_gap_us: int
    run_us: int
    tick_us: int
    election_ticks: int
    drift_ppm_max: int
    sync_us_mean: int
    snapshot_entries: int
    kept_entries: int
    segment_records: int
    pipelined_readies: int
    weather: Weather
    limits: Limits
    machine: Callable[[], Machine]

    @property
    def election_us(self) -> int:
        return self.tick_us * self.election_ticks

    def __str__(self) -> str:
        return (
            f"{self.servers} servers, {self.clients} clients, {self.keys} keys, "
            f"{self.machine.__name__}, faults: {', '.join(self.faults)}"
        )


def draw_options(seed: int) -> Options:
    draw = random.Random(f"options {seed}")
    theme = draw_theme(seed)
    busy = theme == "reads"  # a stale read shows when another client has just written
    hurried = theme == "elections"  # as many of them as fit
    limits = Limits(
        append_bytes_max=draw.choice((1, 1 if hurried else 200, 1024 * 1024)),
        inflight_bytes_max=draw.choice((300, 16 * 1024 * 1024)),
        inflight_messages_max=draw.choice((1, 4, 256)),
        committed_bytes_max=draw.choice((1, 200, 4 * 1024 * 1024)),
        chunk_bytes_max=draw.choice((64, 256, 256 * 1024)),
        promote_lag_entries_max=draw.choice((2, 4096)),
    )
    return Options(
        seed=seed,
        theme=theme,
        servers=draw.choices((1, 2, 3, 4, 5), (1, 1, 10, 2, 6))[0],
        clients=5 if busy else draw.randint(2, 5),
        keys=1 if busy else draw.randint(1, 3),
        think_us=(10 if busy else draw.choice((20, 60, 150))) * MS,
        attempt_us=(50 if busy else draw.choice((50, 150, 400))) * MS,
        faults=_draw_faults(draw, theme),
        fault_gap_us=draw.choice((100, 200) if hurried else (250, 500, 1000)) * MS,
        run_us=draw.randint(5, 9) * SECOND,
        tick_us=20 * MS if hurried else draw.choice((20, 40)) * MS,
        election_ticks=6 if hurried else draw.choice((6, 10)),
        drift_ppm_max=limits.clock_drift_percent * 10_000,
        sync_us_mean=draw.choice((1, 4, 15)) * MS,
        snapshot_entries=draw.choice((5, 15, 40, 1_000)),
        kept_entries=draw.choice((0, 3, 20)),
        segment_records=draw.choice((4, 16, 64)),
        pipelined_readies=draw.choice((1, 2, 4)),
        weather=Weather(
            delay_us_mean=draw.choice((500, 2_000, 8_000)),
            drop=draw.choice((0.0, 0.0, 0.01, 0.05)),
            duplicate=draw.choice((0.0, 0.0, 0.02, 0.1)),
            straggle=draw.choice((0.0, 0.0, 0.005, 0.03)),
        ),
        limits=limits,
        machine=draw.choices((KvMachine, CatalogMachine), (9, 1))[0],
    )


THEMES = {
    "elections": ("election_storm", "transfer_to_all", "crash_leader", "isolate_leader"),
    "reads": ("transfer_and_cut", "cut_off_slow_leader", "isolate_leader", "pause_cut_off_leader"),
    "members": ("reconfigure", "reconfigure_hastily", "crash_some", "partition", "corrupt", "transfer"),
}
"""What belongs together: bugs that need several of these at once are rare where everything is on."""


def draw_theme(seed: int) -> str:
    """ "" for any mixture of all faults."""
    draw = random.Random(f"theme {seed}")
    return draw.choice(sorted(THEMES)) if draw.random() < 0.5 else ""


def _draw_faults(draw: random.Random, theme: str) -> tuple[str, ...]:
    if theme:
        return THEMES[theme]
    few = draw.random() < 0.5
    chosen = [name for name in FAULTS if draw.random() < (0.2 if few else 0.5)]
    return tuple(chosen or draw.sample(sorted(FAULTS), 2))
