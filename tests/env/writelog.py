"""The log of a disk's writes that qemu's blklogwrites keeps (dm-log-writes' format), and the disks that a power cut could leave.

A write is durable when a flush came after it, or when it was a FUA write. What was not flushed may be there or not, in any
combination: choose() keeps some of it at random, or none.
"""

import dataclasses
import struct

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD = 1, 2, 4


@dataclasses.dataclass
class Entry:
    offset: int  # on the disk
    length: int
    flags: int
    data: int  # where in the log


def read_log(path):
    entries = []
    with open(path, "rb") as log:
        log.seek(0, 2)
        end = log.tell()
        log.seek(0)
        magic, _, _, sector = struct.unpack("<QQQL", log.read(28))
        if magic != MAGIC:
            raise ValueError(f"{path} is not a log of writes")
        at = sector
        while at + sector <= end:
            log.seek(at)
            number, count, flags, _ = struct.unpack("<QQQQ", log.read(32))
            if flags > 31 or (count == 0 and flags == 0):
                break
            size = 0 if flags & DISCARD else count * sector
            if at + sector + size > end:
                break
            entries.append(Entry(number * sector, count * sector, flags, at + sector))
            at += sector + size
    return entries


def apply(log, disk, entry):
    """Both are open files."""
    disk.seek(entry.offset)
    if entry.flags & DISCARD:
        left = entry.length
        while left > 0:
            piece = min(left, 1 << 20)
            disk.write(b"\0" * piece)
            left -= piece
    elif entry.length:
        log.seek(entry.data)
        disk.write(log.read(entry.length))


def last_flush(entries, cut):
    """So many entries from the start on are durable when the power goes after entry `cut`."""
    for at in range(cut, -1, -1):
        if entries[at].flags & FLUSH:
            return at + 1
    return 0


def choose(entries, cut, random, keep):
    """Of what was written after the last flush: the writes that survive, each with the probability `keep`."""
    first = last_flush(entries, cut)
    return [entry for entry in entries[first:cut + 1] if entry.flags & FUA or random.random() < keep]
