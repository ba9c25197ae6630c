"""Asks many containers' resolvers from one process, at a steady rate, and measures each answer."""

import select
import socket
import struct
import time

from harness import in_namespace

ADDRESS, REVERSE, IPV6 = 1, 12, 28


def query(name, kind=ADDRESS, number=0):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def code_and_count(answer):
    """The response code and how many answers there are."""
    flags, _, count = struct.unpack_from("!3H", answer, 2)
    return flags & 15, count


def sockets_in(pids, address=("127.0.0.11", 53)):
    """One connected UDP socket in the network namespace of each process."""
    out = [in_namespace(pid, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)) for pid in pids]
    for each in out:
        each.connect(address)
    return out


def load(sockets, names, rate, seconds, kind=ADDRESS, meanwhile=lambda elapsed: None):
    """`rate` questions a second over all sockets in turns. Returns the seconds of each answer, and how many had none or a wrong one."""
    poll = select.epoll()
    by_fd = {one.fileno(): one for one in sockets}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    bodies = [query(name, kind)[2:] for name in names]
    took, waiting, wrong, sent = [], {}, 0, 0
    started = time.perf_counter()
    total = int(rate * seconds)
    while True:
        now = time.perf_counter()
        elapsed = now - started
        meanwhile(elapsed)
        due = min(total, int(elapsed * rate))
        while sent < due:
            one = sockets[sent % len(sockets)]
            number = (sent // len(sockets)) & 0xffff
            waiting[one.fileno(), number] = time.perf_counter()
            one.send(number.to_bytes(2, "big") + bodies[sent % len(bodies)])
            sent += 1
            if sent % 16 == 0:
                break
        for fd, _ in poll.poll(0 if sent < due else 0.0005):
            try:
                answer = by_fd[fd].recv(2048)
            except BlockingIOError:
                continue
            asked = waiting.pop((fd, int.from_bytes(answer[:2], "big")), None)
            if asked is not None:
                took.append(time.perf_counter() - asked)
                code, count = code_and_count(answer)
                wrong += code != 0 or count == 0
        if sent == total and (not waiting or time.perf_counter() > started + seconds + 3):
            break
    poll.close()
    return took, len(waiting) + wrong
