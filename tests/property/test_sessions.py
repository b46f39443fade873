"""Sender's and receiver's book over a link in memory: honest ends always agree, and of a hostile one only refusals escape.

The model has no files: block *i* of file *n* is a digest.  What is under test is the book-keeping and the decoding.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import event, given
from hypothesis import strategies as st

from hvcopy.errors import DigestMismatch, HvcopyError, NotHvcopy
from hvcopy.session.assembly import Assembly
from hvcopy.session.receiver import ReceiverBook
from hvcopy.session.sender import Asked, Packed, SenderBook
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.digests import ABSENT, digest, zeros_digest
from hvcopy.wire.frames import HEADER, PACK_RECORD, Type

MIB = 1 << 20
Sent = tuple[Type, int, bytes]
HOLE_FILE = b"hole"


def block_digest(path: bytes, index: int, length: int) -> bytes:
    """Return the digest of a block of the model's file *path*."""
    return zeros_digest(length) if path == HOLE_FILE else digest(b"%s %d" % (path, index))


def message(one: m.Message) -> Sent:
    """Return *one* as it goes over the link."""
    frame = m.encode(one)
    return frames.parse_header(frame[: HEADER.size])[0], 0, frame[HEADER.size :]


@dataclass
class Sender:
    """An honest sender: it asks, sends what is wanted, and compares what is acknowledged."""

    out: deque[Sent]
    book: SenderBook = field(default_factory=SenderBook)
    delivered: int = 0
    links: set[int] = field(default_factory=set)

    def ask(self, path: bytes, size: int) -> None:
        """Announce a file."""
        one = self.book.ask(0, path, size)
        self.out.append(message(m.Entries([m.Entry(m.FILE, one.id, 0, path, 0o644, size)])))

    def link(self, path: bytes) -> None:
        """Announce a symbolic link."""
        one = self.book.ask(0, path, 0, link=True)
        self.links.add(one.id)
        self.out.append(message(m.Entries([m.Entry(m.SYMLINK, one.id, 0, path, extra=m.Extra(target=b"t"))])))

    def pack(self, names: list[bytes]) -> None:
        """Send small files, each as long as its name."""
        records = b"".join(PACK_RECORD.pack(len(name), 0, 0o644, 0, 0, 0, 0) for name in names)
        groups = [m.Group(0, b"d", names, records)]
        pack = Packed(self.book.new_id(), digest(b"".join(names)), groups, len(names))
        self.book.packs[pack.id] = pack
        manifest = m.encode_groups(groups)
        body = frames.PACK.pack(pack.digest, pack.id, len(manifest), 0) + manifest + b"".join(names)
        self.out.append((Type.PACK, 0, body))

    def take(self, kind: Type, flags: int, body: bytes) -> None:
        """Hear one frame.  Raises HvcopyError."""
        if kind is Type.SUMS:
            ident, first, digests = frames.decode_sums(body)
            one = self.book.sums(ident, first, digests, last=bool(flags & frames.LAST))
            if one is not None:
                self._send(one)
            return
        heard = m.decode(kind, body) if kind in m.SCHEMA else None
        if isinstance(heard, m.Answers):
            for answer in heard.answers:
                one = self.book.answer(answer)
                if one is not None and one.verb == m.ALL:
                    self._send(one)
        elif isinstance(heard, m.Acks):
            for ack in heard.acks:
                self._acknowledged(ack)
        else:
            raise NotHvcopy("out of turn")

    def _send(self, one: Asked) -> None:
        assembly = one.assembly
        assert assembly is not None
        for index in range(assembly.count):
            if assembly.has(index):
                continue
            length, offset = assembly.length_of(index), index * assembly.block
            value = block_digest(one.path, index, length)
            if one.path == HOLE_FILE:
                assembly.add_hole(offset, length)
                frame = Type.HOLE, 0, frames.HOLE.pack(one.id, offset, length)
            else:
                assembly.add(index, value)
                frame = Type.DATA, 0, frames.DATA.pack(one.id, offset, value) + length.to_bytes(8, "little")
            if one.verb != m.COMPARE:
                self.out.append(frame)
        one.root, one.ended = assembly.root(), True
        state = 0
        if one.verb == m.COMPARE:
            same = [one.sums.get(index) == assembly.digest_of(index) for index in range(assembly.count)]
            state = 2 if all(same) else 3
        self.out.append((Type.END, 0, frames.encode_end(frames.End(one.id, state, 0, one.size, one.root))))

    def _acknowledged(self, ack: m.Ack) -> None:
        one = self.book.acknowledge(ack)
        if isinstance(one, Packed):
            for index, _, _ in ack.failures:
                m.place_in_pack(one.groups, index)
            if ack.digest != one.digest:
                raise DigestMismatch("another pack")
        elif one.id not in self.links:
            if not one.ended:
                raise NotHvcopy("before its end")
            if ack.digest != one.root:
                raise DigestMismatch("another root")
        self.delivered += 1


@dataclass
class Receiver:
    """An honest receiver that has some blocks of some files already; *verbs* says how it answers them in turn."""

    out: deque[Sent]
    verbs: list[int]
    book: ReceiverBook = field(default_factory=lambda: ReceiverBook(dirs=[True], check_path=lambda path: None))

    def take(self, kind: Type, flags: int, body: bytes) -> None:
        """Hear one frame.  Raises HvcopyError."""
        match kind:
            case Type.DATA:
                if len(body) != frames.DATA.size + 8:
                    raise NotHvcopy("no block of the model")
                ident, offset, value = frames.DATA.unpack_from(body)
                one = self.book.get(ident)
                length = int.from_bytes(body[frames.DATA.size :], "little")
                one.assembly.add(one.assembly.index_of(offset, length), value)
                self._settle(ident)
            case Type.HOLE:
                ident, offset, length = frames.unpack(frames.HOLE, body, "HOLE")
                self.book.get(ident).assembly.add_hole(offset, length)
                self._settle(ident)
            case Type.END:
                self._end(frames.decode_end(body))
            case Type.PACK:
                self._pack(body)
            case Type.ENTRIES:
                heard = m.decode(kind, body)
                assert isinstance(heard, m.Entries)
                for entry in heard.entries:
                    self._entry(entry)
            case _:
                raise NotHvcopy("out of turn")

    def _entry(self, entry: m.Entry) -> None:
        self.book.admit(entry.source, entry.path)
        self.book.announce(entry)
        if entry.kind == m.SYMLINK:
            self.out.append(message(m.Acks([m.Ack(entry.id, m.DONE)])))
            return
        if entry.kind != m.FILE:
            raise NotHvcopy("of a kind the model has not")
        verb = self.verbs[entry.id % len(self.verbs)]
        self.out.append(message(m.Answers([m.Answer(entry.id, verb, 10 if verb == m.REFUSE else 0)])))
        if verb in (m.SKIP, m.REFUSE):
            return
        assembly = Assembly(entry.size)
        if assembly.count > 1000:
            raise NotHvcopy("too large for the model, however it got so large")
        sums = [
            block_digest(entry.path, index, assembly.length_of(index)) if verb == m.COMPARE or index % 2 else ABSENT
            for index in range(assembly.count)
        ]
        if verb == m.REST:
            assembly.add_sums(0, b"".join(sums))
        self.book.expect(entry, verb, assembly)
        if verb == m.ALL:
            return
        half = assembly.count // 2
        self.out.append((Type.SUMS, 0, frames.SUMS.pack(entry.id, 0) + b"".join(sums[:half])))
        self.out.append((Type.SUMS, frames.LAST, frames.SUMS.pack(entry.id, half) + b"".join(sums[half:])))

    def _end(self, end: frames.End) -> None:
        one = self.book.get(end.id)
        if one.ended or (end.state >= 2) != (one.verb == m.COMPARE):
            raise NotHvcopy("ended twice, or in a way not asked for")
        one.ended, one.length, one.root = True, end.length, end.root
        if one.verb == m.COMPARE:
            self.out.append(message(m.Acks([m.Ack(end.id, m.SAME if end.state == 2 else m.FAILED, digest=end.root)])))
            self.book.close(one)
        else:
            self._settle(end.id)

    def _settle(self, ident: int) -> None:
        one = self.book.get(ident)
        if one.ended and one.assembly.complete:
            one.assembly.check_end(one.length, one.root)
            self.book.close(one)
            self.out.append(message(m.Acks([m.Ack(ident, m.DONE, digest=one.root)])))

    def _pack(self, body: bytes) -> None:
        if len(body) < frames.PACK.size:
            raise NotHvcopy("short")
        value, ident, length, _ = frames.PACK.unpack_from(body)
        groups = m.decode_groups(body[frames.PACK.size : frames.PACK.size + length])
        contents = body[frames.PACK.size + length :]
        count = self.book.check_pack(groups, len(contents))
        for group in groups:
            self.book.admit(group.source, group.directory)
        if digest(contents) != value:
            raise DigestMismatch("damaged")
        failures = [(count - 1, 10, "no")] if count else []
        self.out.append(message(m.Acks([m.Ack(ident, m.DONE, 0, "", value, count - len(failures), 0, 0, failures)])))


SIZES = st.lists(st.sampled_from([0, 1, MIB, MIB + 1, 3 * MIB, 5 * MIB + 7]), max_size=6)
VERBS = st.lists(st.sampled_from([m.ALL, m.REST, m.COMPARE, m.SKIP, m.REFUSE]), min_size=1, max_size=5)


def session(sizes: list[int], verbs: list[int]) -> tuple[Sender, Receiver]:
    """Return both ends, with everything the sender has to say at first on its way."""
    sender, receiver = Sender(deque()), Receiver(deque(), verbs)
    for number, size in enumerate(sizes):
        sender.ask(HOLE_FILE if number % 3 == 2 else b"file %d" % number, size)
        if number % 2:
            sender.pack([b"a" * number, b"b"][: number % 3])
    sender.link(b"link")
    return sender, receiver


@given(sizes=SIZES, verbs=VERBS, data=st.data())
def test_honest_ends_always_agree_however_their_words_interleave(
    sizes: list[int], verbs: list[int], data: st.DataObject
) -> None:
    sender, receiver = session(sizes, verbs)
    while sender.out or receiver.out:
        forward = bool(sender.out) and (not receiver.out or data.draw(st.booleans()))
        if forward:
            receiver.take(*sender.out.popleft())
        else:
            sender.take(*receiver.out.popleft())
    assert sender.book.idle
    assert receiver.book.open == {}
    wanted = sum(verbs[one % len(verbs)] not in (m.SKIP, m.REFUSE) for one in _file_ids(sizes))
    assert sender.delivered == wanted + len(sizes) // 2 + 1


def _file_ids(sizes: list[int]) -> list[int]:
    ids, ident = [], 1
    for number in range(len(sizes)):
        ids.append(ident)
        ident += 2 if number % 2 else 1
    return ids


@given(sizes=SIZES, verbs=VERBS, data=st.data())
def test_blocks_may_come_in_any_order(sizes: list[int], verbs: list[int], data: st.DataObject) -> None:
    """As over several lanes: contents and ends of all files are shuffled, announcements stay in order."""
    sender, receiver = session(sizes, verbs)
    while sender.out:
        receiver.take(*sender.out.popleft())
    while receiver.out:
        sender.take(*receiver.out.popleft())
    for frame in data.draw(st.permutations(list(sender.out))):
        receiver.take(*frame)
    while receiver.out:
        sender.take(*receiver.out.popleft())
    assert sender.book.idle
    assert receiver.book.open == {}


FOREIGN = st.sampled_from(
    [
        message(m.Answers([m.Answer(1, m.ALL), m.Answer(2, 9)])),
        message(m.Answers([m.Answer(2**63 - 1, m.REST)])),
        message(m.Acks([m.Ack(1, m.DONE), m.Ack(1, m.DONE)])),
        message(m.Acks([m.Ack(3, m.DONE, failures=[(2**32 - 1, 0, "")])])),
        message(m.Entries([m.Entry(m.FILE, 1, 0, b"x", 0, 2**63 - 1)])),
        message(m.Entries([m.Entry(m.FILE, 99, 7, b"x")])),
        message(m.Entries([m.Entry(9, 99, 0, b"x")])),
        message(m.Bye()),
        (Type.SUMS, 1, frames.SUMS.pack(1, 2**64 - 1) + bytes(15) + b"x"),
        (Type.SUMS, 1, frames.SUMS.pack(1, 0)),
        (Type.HOLE, 0, frames.HOLE.pack(1, 0, 2**64 - 1)),
        (Type.HOLE, 0, frames.HOLE.pack(1, 2**64 - 1, 1)),
        (Type.DATA, 0, frames.DATA.pack(1, 2**64 - 1, bytes(16)) + bytes(8)),
        (Type.END, 0, frames.END.pack(1, 0, 0, 0, bytes(16))),
        (Type.PACK, 0, frames.PACK.pack(bytes(16), 1, 2**32 - 1, 0)),
    ]
)
"""Frames that are well formed and out of place."""


def mutate(queue: deque[Sent], data: st.DataObject) -> None:
    """Do to the frames under way what a hostile end may do."""
    kind, flags, body = queue[0]
    match data.draw(st.sampled_from(["drop", "repeat", "rotate", "flip", "cut", "flags", "type", "foreign"])):
        case "drop":
            queue.popleft()
        case "repeat":
            queue.append(queue[0])
        case "rotate":
            queue.rotate(data.draw(st.integers(1, 5)))
        case "flip" if body:
            position = data.draw(st.integers(0, len(body) - 1))
            flipped = body[position] ^ data.draw(st.integers(1, 255))
            queue[0] = kind, flags, body[:position] + bytes([flipped]) + body[position + 1 :]
        case "cut":
            queue[0] = kind, flags, body[: data.draw(st.integers(0, len(body)))]
        case "flags":
            queue[0] = kind, flags ^ 1, body
        case "type":
            queue[0] = data.draw(st.sampled_from(list(Type))), flags, body
        case _:
            queue.appendleft(data.draw(FOREIGN))


@given(sizes=SIZES, verbs=VERBS, data=st.data())
def test_of_a_hostile_end_only_refusals_escape(sizes: list[int], verbs: list[int], data: st.DataObject) -> None:
    """Either side may lie in any way: the other goes on as it was told, or raises HvcopyError, and nothing else."""
    sender, receiver = session(sizes, verbs)
    refused: HvcopyError | None = None
    try:
        for _ in range(400):
            queues = [queue for queue in (sender.out, receiver.out) if queue]
            if not queues:
                break
            queue = data.draw(st.sampled_from(queues)) if len(queues) > 1 else queues[0]
            if data.draw(st.integers(0, 3)) == 0:
                mutate(queue, data)
                continue
            (receiver if queue is sender.out else sender).take(*queue.popleft())
    except HvcopyError as error:
        refused = error
    event(type(refused).__name__ if refused else "went on")
    assert refused is None or refused.exit_code in (7, 8)
    _check(sender, receiver)


def _check(sender: Sender, receiver: Receiver) -> None:
    """What must hold in any state: the bounds count exactly what is open."""
    assert receiver.book._blocks == sum(one.assembly.count for one in receiver.book.open.values())
    assert sender.book._blocks == sum(-(-one.size // MIB) for one in sender.book.asked.values())
    for one in receiver.book.open.values():
        held = sum(one.assembly.has(index) for index in range(one.assembly.count))
        assert one.assembly.missing == one.assembly.count - held
