#!/usr/bin/env python3
"""logdisk.py FILE LOG MOUNTPOINT: serves FILE at MOUNTPOINT, a file, and keeps a log of what is written and synced, as writelog.py reads it.

A loop device on MOUNTPOINT is a disk whose log has each write and each flush of the file system that is on it. What needs no virtual machine
can be recorded so at this machine's own speed. It ends when MOUNTPOINT is unmounted; a line "ready" on standard output says that it is served.
"""

import ctypes
import errno
import os
import struct
import sys

from writelog import FLUSH, MAGIC

SECTOR = 512
ROOT = 1
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, GETXATTR, FLUSHED, INIT, INTERRUPT, DESTROY, BATCH_FORGET, FALLOCATE = \
    1, 2, 3, 4, 14, 15, 16, 17, 18, 20, 22, 25, 26, 36, 38, 42, 43
LARGEST = 1 << 20
HEAD = struct.Struct("<IIQQIIII")


class Log:
    def __init__(self, path):
        self.file = open(path, "wb", buffering=0)
        self.count = 0
        self.file.write(struct.pack("<QQQL", MAGIC, 1, 0, SECTOR).ljust(SECTOR, b"\0"))

    def add(self, offset, data, flags):
        head = struct.pack("<QQQQ", offset // SECTOR, len(data) // SECTOR, flags, 0).ljust(SECTOR, b"\0")
        self.file.write(head + data)


class Disk:
    def __init__(self, path, log):
        self.file = os.open(path, os.O_RDWR)
        self.size = os.fstat(self.file).st_size
        self.log = Log(log)

    def attributes(self):
        return struct.pack("<QQQQQQIIIIIIIIII", ROOT, self.size, self.size // SECTOR, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, SECTOR, 0)

    def answer(self, operation, body):
        """Bytes, or the number of an error."""
        if operation == INIT:
            major, minor, readahead, _ = struct.unpack_from("<IIII", body)
            return struct.pack("<IIIIHHIIHHI28x", 7, min(minor, 31), readahead, 1 << 5, 16, 12, LARGEST, 1, LARGEST // 4096, 0, 0)
        if operation in (GETATTR, SETATTR):
            return struct.pack("<QII", 3600, 0, 0) + self.attributes()
        if operation == OPEN:
            return struct.pack("<QII", 1, 1, 0)  # no page cache between the loop device and us
        if operation == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return os.pread(self.file, size, offset)
        if operation == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            data = body[40:40 + size]
            os.pwrite(self.file, data, offset)
            self.log.add(offset, data, 0)
            return struct.pack("<II", size, 0)
        if operation == FSYNC:
            self.log.add(0, b"", FLUSH)
            return b""
        if operation == STATFS:
            return struct.pack("<QQQQQIIII24x", self.size // 4096, 0, 0, 1, 0, 4096, 255, 4096, 0)
        if operation in (RELEASE, FLUSHED):
            return b""
        return errno.ENOSYS

    def serve(self, device):
        while True:
            try:
                request = os.read(device, LARGEST + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                raise
            _, operation, unique, _, _, _, _, _ = HEAD.unpack_from(request)
            if operation in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            try:
                answer = self.answer(operation, request[HEAD.size:])
            except OSError as error:
                answer = error.errno
            failed = answer if isinstance(answer, int) else 0
            data = b"" if failed else answer
            os.write(device, struct.pack("<IiQ", 16 + len(data), -failed, unique) + data)
            if operation == DESTROY:
                return


def main():
    path, log, mountpoint = sys.argv[1:]
    disk = Disk(path, log)
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=100000,user_id=0,group_id=0,max_read={LARGEST}"
    if libc.mount(b"logdisk", mountpoint.encode(), b"fuse", 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), "mount the logged disk")
    print("ready", flush=True)
    disk.serve(device)


if __name__ == "__main__":
    main()
