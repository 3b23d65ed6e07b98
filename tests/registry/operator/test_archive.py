"""Snapshot archives: written, read back, and refused where anything does not check."""

import gzip
import io
import tarfile
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.operator.archive import META, STATE, SUMS, Meta, StateWriter, read_archive
from registry.operator.errors import ArchiveInvalid

RECORDS = [b"head", b"", b"row" * 1000]
META_OF_RECORDS = Meta(7, 2, "c", "dc1", "c.consul", 1000, "0", 3, 11 + 3 * 4 + 4 + 3000)


def archive(records: list[bytes] = RECORDS, meta: Meta = META_OF_RECORDS) -> bytes:
    writer = StateWriter()
    writer.write(records[:1])
    writer.write(records[1:])
    with writer.pack(meta) as packed:
        data = packed.read()
    writer.close()
    return data


def parts(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]


def repacked(found: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in found.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def test_what_was_written_is_read() -> None:
    with read_archive(io.BytesIO(archive())) as found:
        assert found.meta == META_OF_RECORDS
        assert list(found.records()) == RECORDS
        assert list(found.records()) == RECORDS


def test_the_archive_is_laid_out_as_consuls() -> None:
    data = archive()
    assert data[:2] == b"\x1f\x8b"
    found = parts(data)
    assert list(found) == [META, STATE, SUMS]
    assert [line.split("  ")[1] for line in found[SUMS].decode().splitlines()] == [META, STATE]


CHANGES: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = {
    "a changed byte": (lambda it: it | {STATE: it[STATE][:-1] + b"x"}, "is not what SHA256SUMS says"),
    "changed meta": (lambda it: it | {META: it[META].replace(b"7", b"8")}, "is not what SHA256SUMS says"),
    "no sums": (lambda it: {name: it[name] for name in (META, STATE)}, "SHA256SUMS is missing"),
    "no state": (lambda it: {name: it[name] for name in (META, SUMS)}, "state.bin is missing"),
    "something more": (lambda it: it | {"../evil": b"x"}, "which no snapshot does"),
    "sums that are none": (lambda it: it | {SUMS: b"nonsense"}, "format of sha256sum"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_check_is_refused(name: str) -> None:
    change, text = CHANGES[name]
    with pytest.raises(ArchiveInvalid, match=text):
        read_archive(io.BytesIO(repacked(change(parts(archive())))))


@pytest.mark.parametrize(
    ("meta", "text"),
    [
        (replace(META_OF_RECORDS, records=4), "does not hold what meta.json says"),
        (replace(META_OF_RECORDS, index="7"), "Index is not of type"),  # type: ignore[arg-type]
    ],
)
def test_meta_must_be_true(meta: Meta, text: str) -> None:
    with pytest.raises(ArchiveInvalid, match=text):
        read_archive(io.BytesIO(archive(meta=meta)))


def test_a_file_that_is_cut_or_no_archive_is_refused() -> None:
    data = archive()
    for broken in (b"", b"nonsense", data[:40], data[: len(data) // 2], gzip.compress(b"no tar")):
        with pytest.raises(ArchiveInvalid):
            read_archive(io.BytesIO(broken))


ARCHIVE = archive()


@given(st.integers(0, len(ARCHIVE) - 1), st.integers(1, 255), st.integers(0, len(ARCHIVE)))
def test_a_damaged_archive_is_refused_or_tells_the_same(at: int, flip: int, length: int) -> None:
    """Bytes that no check covers, such as the time in gzip's head, may be others."""
    damaged = bytearray(ARCHIVE)
    damaged[at] ^= flip
    for data in (bytes(damaged), ARCHIVE[:length], ARCHIVE + damaged):
        try:
            with read_archive(io.BytesIO(data)) as found:
                assert (found.meta, list(found.records())) == (META_OF_RECORDS, RECORDS)
        except ArchiveInvalid:
            pass


@given(
    st.binary(max_size=2000),
    st.dictionaries(st.sampled_from([META, STATE, SUMS, "x"]), st.binary(max_size=300)),
)
def test_whatever_is_uploaded_as_a_snapshot(data: bytes, files: dict[str, bytes]) -> None:
    for upload in (data, gzip.compress(data), repacked(files)):
        with pytest.raises(ArchiveInvalid):
            read_archive(io.BytesIO(upload))
