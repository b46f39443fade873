"""The record of verified blocks: what an interrupted copy may go on with, and what it must not believe."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvcopy import fileio
from hvcopy.files import blocks
from hvcopy.files.blocks import BlockRecord, make_durable
from hvcopy.session.assembly import Assembly
from hvcopy.wire.digests import digest

MIB = 1 << 20
SIZE = 3 * MIB + 5
IDENTITY = b"identity-of-file"
BOOT = b"this boot's id.."
HEAD = 64
ENTRY = struct.Struct("<Q16s")


class Files:
    """A part of the right length and its record, as an interrupted copy leaves them."""

    def __init__(self, folder: Path) -> None:
        self.part_path, self.record_path = folder / "part", folder / "blocks"
        self.part = os.open(self.part_path, os.O_RDWR | os.O_CREAT)
        os.ftruncate(self.part, SIZE)
        self._opened = [self.part]

    def open(self) -> BlockRecord:
        """Open the record once more."""
        return BlockRecord(os.open(self.record_path, os.O_RDWR | os.O_CREAT))

    def block(self, index: int) -> bytes:
        """Return what block *index* of the source is."""
        return bytes([65 + index]) * min(MIB, SIZE - index * MIB)

    def write(self, *indexes: int) -> None:
        """Write blocks into the part."""
        for index in indexes:
            fileio.write_at(self.part, self.block(index), index * MIB, False)

    def note(self, *indexes: int, identity: bytes = IDENTITY) -> None:
        """Write blocks and note them, in a copy that is then interrupted."""
        record = self.open()
        assembly = Assembly(SIZE)
        record.restore(self.part, identity, assembly)
        self.write(*indexes)
        for index in indexes:
            record.add(index, digest(self.block(index)))
        record.close()

    def restored(self, *, identity: bytes = IDENTITY, size: int = SIZE) -> list[int]:
        """Return the blocks that the next copy takes over."""
        record, assembly = self.open(), Assembly(size)
        taken = record.restore(self.part, identity, assembly)
        record.close()
        found = [index for index in range(assembly.count) if assembly.has(index)]
        assert taken == len(found)
        for index in found:
            assert assembly.digest_of(index) == digest(self.block(index))
        return found


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """Part and record in a machine that was booted as BOOT."""
    monkeypatch.setattr(blocks, "boot_id", lambda: BOOT)
    files = Files(tmp_path)
    yield files
    os.close(files.part)


@pytest.fixture(params=["same boot", "other boot", "no boot id"])
def reboot(request: pytest.FixtureRequest, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened to the machine between the two attempts: what must hold in any case."""
    kind: str = request.param
    if kind == "other boot":
        files.note()
        monkeypatch.setattr(blocks, "boot_id", lambda: b"the next boot id")
    elif kind == "no boot id":
        monkeypatch.setattr(blocks, "boot_id", lambda: bytes(16))


def test_boot_id_is_sixteen_bytes_and_stays_the_same() -> None:
    assert len(blocks.boot_id()) == 16
    assert blocks.boot_id() == blocks.boot_id()


def test_restore_of_a_new_record_takes_nothing_over(files: Files) -> None:
    assert files.restored() == []


def test_restore_takes_over_what_was_noted(files: Files) -> None:
    files.note(0, 3)
    assert files.restored() == [0, 3]
    files.note(1)
    assert files.restored() == [0, 1, 3]


def test_layout_of_the_record_is_a_head_and_an_entry_a_block(files: Files) -> None:
    files.note(2)
    raw = files.record_path.read_bytes()
    assert raw[:56] == b"hvblk\r\n1" + IDENTITY + struct.pack("<QQ", SIZE, MIB) + BOOT
    assert raw[HEAD:] == ENTRY.pack(2, digest(files.block(2)))


@pytest.mark.parametrize("torn", range(1, ENTRY.size))
def test_restore_cuts_off_a_torn_entry(files: Files, torn: int) -> None:
    files.note(0, 1)
    os.truncate(files.record_path, HEAD + ENTRY.size + torn)
    assert files.restored() == [0]
    assert files.record_path.stat().st_size == HEAD + ENTRY.size
    files.note(2)
    assert files.restored() == [0, 2]


@pytest.mark.parametrize("length", [0, 1, 8, 40, 63])
def test_restore_of_a_torn_head_starts_anew(files: Files, length: int) -> None:
    files.note(0, 1)
    os.truncate(files.record_path, length)
    assert files.restored() == []
    assert files.record_path.stat().st_size == HEAD


@pytest.mark.parametrize("offset", [0, 7, 8, 23, 24, 31, 32, 39])
def test_restore_of_another_head_starts_anew(files: Files, offset: int) -> None:
    """Another magic, identity, size or block size: nothing of it may be believed."""
    files.note(0, 1)
    raw = bytearray(files.record_path.read_bytes())
    raw[offset] ^= 1
    files.record_path.write_bytes(raw)
    assert files.restored() == []
    assert files.record_path.stat().st_size == HEAD


def test_restore_of_a_source_that_changed_takes_nothing_over(files: Files) -> None:
    files.note(0, 1)
    assert files.restored(identity=b"another identity") == []
    assert files.restored() == []


def test_restore_of_another_size_takes_nothing_over(files: Files) -> None:
    files.note(0, 1)
    assert files.restored(size=SIZE + 1) == []


@pytest.mark.usefixtures("reboot")
def test_restore_of_a_whole_part_takes_it_over_whatever_happened(files: Files) -> None:
    files.note(0, 1, 2, 3)
    assert files.restored() == [0, 1, 2, 3]


def test_restore_record_whose_part_is_gone_takes_nothing_over(files: Files) -> None:
    """A kill between the name and the record's end leaves the record alone; the part that is made next is empty."""
    files.note(0, 1)
    os.ftruncate(files.part, 0)
    assert files.restored() == []
    assert files.record_path.stat().st_size == HEAD
    os.ftruncate(files.part, SIZE)
    assert files.restored() == []


def test_restore_record_beside_a_part_of_another_length_takes_nothing_over(files: Files) -> None:
    files.note(0, 1)
    os.ftruncate(files.part, 2 * MIB)
    assert files.restored() == []


def test_restore_after_another_boot_believes_only_what_it_reads(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash the record may be on disk and the block not: zeros stand there."""
    files.note(0, 1, 3)
    fileio.write_at(files.part, bytes(MIB), MIB, False)
    monkeypatch.setattr(blocks, "boot_id", lambda: b"the next boot id")
    assert files.restored() == [0, 3]
    assert files.restored() == [0, 3]


def test_restore_without_boot_ids_always_reads(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "boot_id", lambda: bytes(16))
    files.note(0, 1)
    fileio.write_at(files.part, b"x", 7, False)
    assert files.restored() == [1]
    fileio.write_at(files.part, b"x", MIB, False)
    assert files.restored() == []


def test_restore_after_another_boot_writes_a_record_of_this_boot(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.note(0, 2)
    monkeypatch.setattr(blocks, "boot_id", lambda: b"the next boot id")
    files.restored()
    raw = files.record_path.read_bytes()
    assert raw[40:56] == b"the next boot id"
    assert {index for index, _ in ENTRY.iter_unpack(raw[HEAD:])} == {0, 2}


def test_restore_of_stale_data_in_the_same_boot_trusts_the_page_cache(files: Files) -> None:
    """Why this is no hole: between two attempts only hvcopy writes the part, under a lock (files/incoming.py)."""
    files.note(0)
    fileio.write_at(files.part, b"x", 0, False)
    assert files.restored() == [0]


@pytest.mark.parametrize("index", [4, 5, 2**64 - 1])
def test_restore_passes_over_blocks_outside_the_file(files: Files, index: int) -> None:
    files.note(0)
    with files.record_path.open("ab") as file:
        file.write(ENTRY.pack(index, bytes(16)))
    assert files.restored() == [0]


def test_restore_passes_over_a_block_noted_twice(files: Files) -> None:
    files.note(0)
    with files.record_path.open("ab") as file:
        file.write(ENTRY.pack(0, b"another digest.."))
    assert files.restored() == [0]


def test_restore_passes_over_a_block_without_a_digest(files: Files) -> None:
    files.note(0)
    with files.record_path.open("ab") as file:
        file.write(ENTRY.pack(1, bytes(16)))
    assert files.restored() == [0]


def test_restore_reads_a_record_of_more_entries_than_one_piece(files: Files) -> None:
    files.note(0)
    with files.record_path.open("ab") as file:
        file.write(ENTRY.pack(2**32, bytes(16)) * 9000 + ENTRY.pack(3, digest(files.block(3))))
    assert files.restored() == [0, 3]


def test_add_reaches_the_file_after_a_few_blocks(files: Files) -> None:
    record = files.open()
    record.restore(files.part, IDENTITY, Assembly(SIZE))
    for number in range(blocks.FLUSH_BLOCKS - 1):
        record.add(number, bytes(16))
    assert files.record_path.stat().st_size == HEAD
    record.add(99, bytes(16))
    assert files.record_path.stat().st_size == HEAD + blocks.FLUSH_BLOCKS * ENTRY.size
    record.close()


def test_flush_to_a_full_disk_costs_the_record_and_not_the_copy(files: Files) -> None:
    files.note(0)
    read_only = os.open(files.record_path, os.O_RDONLY)
    record = BlockRecord(read_only)  # every append fails, as on a full disk
    record.add(1, bytes(16))
    record.close()
    assert files.restored() == [0]


def test_what_is_on_disk_is_vouched_for(files: Files) -> None:
    files.note(0, 1)
    record = files.open()
    make_durable(files.part, record)
    record.close()
    assert record.vouches
    assert files.restored() == [0, 1]


def test_a_part_that_could_not_be_made_durable_is_vouched_for_by_nothing(files: Files) -> None:
    files.note(0, 1)
    record = files.open()
    record.restore(files.part, IDENTITY, Assembly(SIZE))
    record.add(2, digest(files.block(2)))
    nowhere, end = os.pipe()
    with pytest.raises(OSError, match="Invalid"):  # what fsync(2) says of a pipe
        make_durable(nowhere, record)
    for one in (nowhere, end):
        os.close(one)
    assert not record.vouches
    record.add(3, digest(files.block(3)))  # another lane may have been about to
    record.close()
    assert files.restored() == []
