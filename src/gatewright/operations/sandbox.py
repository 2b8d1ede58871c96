"""What a recipe may not do: taken from its process for good before its first line is read.

Linux only, and nothing here needs a privilege. In this order: an own user, network, IPC and mount
namespace, where the kernel gives one; then, always, no new privileges, no capabilities, limits,
Landlock (files: landlock(7)) and a seccomp filter (system calls: seccomp(2)). What could not be had
is not in the answer of :func:`enter`, and the parent refuses to believe a child that lacks one of
``REQUIRED``; the child itself stops before the recipe.

Landlock allows reading where Python's libraries are and, where the scratch folder is a file system
of its own with a size, writing there; everything else (homes, keys, other processes under /proc)
stays closed. The filter refuses what Landlock does not see: sockets, new processes and programs,
signals and limits for others, watching files, modes, owners and times of files, memory that no limit
counts.

Not promised: anything against a fault in the kernel itself, or in the processor. Landlock does not
close metadata: that a file exists, its size and its times can be seen everywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from gatewright.operations.child_protocol import Limits

NO_PRIVILEGES = "no privileges"
FILES = "files of libraries only (Landlock)"
CALLS = "no sockets, no other processes (seccomp)"
NAMESPACE = "own network namespace"
SCRATCH = "scratch folder of its own"
LIMITS = ("limit on memory", "limit on processor time", "limit on file size", "limit on open files")
REQUIRED = (NO_PRIVILEGES, FILES, CALLS, *LIMITS)

OPEN_FILES = 512
SCRATCH_FILES = 10_000
LANDLOCK_OLDEST = 3
"""Linux 6.2: older ones let a process cut files off that it may not write."""

_NEW_NAMESPACES = 0x10000000 | 0x40000000 | 0x08000000 | 0x00020000  # user, net, ipc, mount: linux/sched.h
_CLONE_THREAD = 0x00010000
_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION = 0x20080522  # linux/capability.h
_MS_PRIVATE = 1 << 18 | 1 << 14  # with MS_REC: linux/mount.h
_MS_NOSUID_NODEV = 2 | 4

_EXECUTE, _WRITE, _READ_FILE, _READ_DIR = 1, 1 << 1, 1 << 2, 1 << 3  # linux/landlock.h
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_READ_ONE = _EXECUTE | _READ_FILE
_OF_VERSION_3, _IOCTL = (1 << 15) - 1, 1 << 15
_NO_TCP, _NO_SIGNALS_OR_ABSTRACT_SOCKETS = 3, 3
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every processor

LIBRARIES = ("/usr", "/lib", "/lib64", "/nix/store", "/sys/devices/system/cpu")
"""Folders with shared libraries and the facts that numeric libraries ask for."""
FACTS = ("/etc/ld.so.cache", "/etc/localtime", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/self")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")

_OWN = Path("/proc/self")
_AUDIT = MappingProxyType({"x86_64": 0xC000003E, "aarch64": 0xC00000B7})  # linux/audit.h
_EPERM, _ENOSYS = 1, 38
_COMPAT_CALLS = 0x40000000  # x32: another table of numbers on the same processor

# (x86_64, aarch64) numbers of what a recipe may not call at all; None where there is no such call.
_REFUSED: tuple[tuple[int | None, int | None], ...] = (
    (41, 198), (53, 199),  # socket, socketpair
    (57, None), (58, None), (59, 221), (322, 281),  # fork, vfork, execve, execveat
    (101, 117), (310, 270), (311, 271), (440, 440),  # ptrace, process_vm_readv, _writev, process_madvise
    (434, 434), (438, 438), (424, 424), (312, 272),  # pidfd_open, _getfd, _send_signal, kcmp
    (200, 130), (129, 138), (297, 240),  # tkill, rt_sigqueueinfo, rt_tgsigqueueinfo
    (141, 140), (251, 30), (203, 122), (144, 119), (142, 118), (314, 274),  # priorities of others
    (256, 238), (279, 239),  # migrate_pages, move_pages
    (426, 426), (427, 427), (447, 447),  # io_uring_enter, io_uring_register, memfd_secret
    (29, 194), (68, 186), (64, 190), (240, 180),  # shmget, msgget, semget, mq_open
    (90, None), (91, 52), (268, 53), (452, 452),  # chmod and its kin
    (92, None), (93, 55), (94, None), (260, 54),  # chown
    (132, None), (235, None), (261, None), (280, 88),  # utime
    (188, 5), (189, 6), (190, 7), (197, 14), (198, 15), (199, 16), (463, 463), (466, 466), (469, 469),  # xattr
    (165, 40), (166, 39), (155, 41), (161, 51), (442, 442),  # mount, umount2, pivot_root, chroot, mount_setattr
    (428, 428), (429, 429), (430, 430), (431, 431), (432, 432), (433, 433),  # open_tree to fspick
    (272, 97), (308, 268),  # unshare, setns
    (321, 280), (298, 241), (323, 282),  # bpf, perf_event_open, userfaultfd
    (248, 217), (249, 218), (250, 219),  # add_key, request_key, keyctl
    (254, 27), (300, 262), (301, 263),  # inotify_add_watch, fanotify_init, fanotify_mark: Landlock sees none
)  # fmt: skip
# Libraries try these and go on without them where the kernel does not know them.
_UNKNOWN = ((435, 435), (425, 425), (319, 279))  # clone3, io_uring_setup, memfd_create


def enter(limits: Limits, folder: str, hidden: Sequence[str]) -> list[str]:
    """Give up every right; returns what protects from now on, in words.

    ``folder`` is the scratch folder. What lies in ``hidden`` stays closed: a folder that holds one
    of these paths is not opened, even if libraries are there. Must be called while the process has
    one thread.
    """
    if sys.platform != "linux":
        return []
    system = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(OSError):
        (_OWN / "oom_score_adj").write_text("1000")  # this process goes first where memory runs out
    active = _namespaces(system, folder, limits)
    active += _limits(limits, scratch=SCRATCH in active, counted=NAMESPACE in active)
    if _without_privileges(system):
        active.append(NO_PRIVILEGES)
    if _landlock(system, folder if SCRATCH in active else None, hidden):
        active.append(FILES)
    if _filter_calls(system):
        active.append(CALLS)
    return active


def _namespaces(system: ctypes.CDLL, folder: str, limits: Limits) -> list[str]:
    """An own network without a way out, and an own file system of a fixed size as scratch folder."""
    user, group = os.getuid(), os.getgid()
    if system.unshare(_NEW_NAMESPACES) != 0:
        return []
    try:
        (_OWN / "setgroups").write_text("deny")
        (_OWN / "uid_map").write_text(f"{user} {user} 1")
        (_OWN / "gid_map").write_text(f"{group} {group} 1")
    except OSError:
        return [NAMESPACE]
    options = f"size={limits.scratch_bytes},nr_inodes={SCRATCH_FILES},mode=700".encode("ascii")
    alone = system.mount(None, b"/", None, _MS_PRIVATE, None) == 0
    if not alone or system.mount(b"scratch", os.fsencode(folder), b"tmpfs", _MS_NOSUID_NODEV, options) != 0:
        return [NAMESPACE]
    os.chdir(folder)
    return [NAMESPACE, SCRATCH]


def _limits(limits: Limits, *, scratch: bool, counted: bool) -> list[str]:
    """``counted`` says that the kernel counts this namespace's tasks apart from the user's others."""
    bounds = {
        "memory": (resource.RLIMIT_AS, limits.memory_bytes),
        "processor time": (resource.RLIMIT_CPU, limits.seconds * limits.threads),
        "file size": (resource.RLIMIT_FSIZE, limits.scratch_bytes if scratch else 0),
        "open files": (resource.RLIMIT_NOFILE, OPEN_FILES),
        "core dumps": (resource.RLIMIT_CORE, 0),
    }
    if counted:
        bounds["tasks"] = (resource.RLIMIT_NPROC, limits.tasks)
    active = []
    for name, (which, bound) in bounds.items():
        try:
            resource.setrlimit(which, (bound, bound))
        except (ValueError, OSError):
            continue
        active.append(f"limit on {name}")
    return active


def _without_privileges(system: ctypes.CDLL) -> bool:
    """No new privileges ever, and none of the old, also not those of root; an end with the parent's end."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    return not (
        system.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        or system.capset(header, bytes(24))
        or system.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    )


def _landlock(system: ctypes.CDLL, scratch: str | None, hidden: Sequence[str]) -> bool:
    """Close every file but those of the libraries, a few facts, and the scratch folder."""
    version = system.syscall(_CREATE, None, ctypes.c_size_t(0), 1)
    if version < LANDLOCK_OLDEST:
        return False
    everything = _OF_VERSION_3 | (_IOCTL if version >= 5 else 0)
    attributes = struct.pack("=QQQ", everything, _NO_TCP, _NO_SIGNALS_OR_ABSTRACT_SOCKETS)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = system.syscall(_CREATE, attributes, ctypes.c_size_t(size), 0)
    if rules < 0:
        return False
    try:
        closed = [os.path.realpath(each) for each in hidden]
        for path, rights in _grants(scratch, everything):
            if path and not any(_holds(os.path.realpath(path), each) for each in closed):
                _allow(system, rules, path, rights)
        return bool(system.syscall(_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _grants(scratch: str | None, everything: int) -> Iterable[tuple[str, int]]:
    for path in (sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path, *LIBRARIES, *FACTS):
        yield path, _READ
    for path in DEVICES:
        yield path, _READ_FILE | _WRITE
    if scratch is not None:
        yield scratch, everything


def _holds(folder: str, path: str) -> bool:
    return os.path.commonpath([folder, path]) == folder


def _allow(system: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    """Allow ``rights`` on a file or under a folder; what is not there needs no rule."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not Path(path).is_dir():
            rights &= _READ_ONE | _WRITE
        system.syscall(_ADD, rules, 1, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


# ---- The filter: a small program that the kernel runs before each system call ----------------------

_Program = list[tuple[int, int, int, int]]
_LOAD, _AND, _EQUAL, _AT_LEAST, _JUMP, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x05, 0x06  # linux/bpf_common.h
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000  # linux/seccomp.h
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16  # places in struct seccomp_data


def _filter_calls(system: ctypes.CDLL) -> bool:
    """Install the filter; False on a processor whose numbers are not known here."""
    machine = platform.machine()
    if machine not in _AUDIT:
        return False
    program = b"".join(struct.pack("=HBBI", *step) for step in _program(machine, os.getpid()))
    steps = ctypes.create_string_buffer(program, len(program))

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))

    whole = Filter(len(program) // 8, ctypes.addressof(steps))
    return bool(system.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(whole), 0, 0) == 0)


def _program(machine: str, own: int) -> _Program:
    """The steps of the filter for the process ``own``; what they do not name is allowed."""
    side = 0 if machine == "x86_64" else 1
    numbers: Mapping[str, int] = {
        "clone": (56, 220)[side], "kill": (62, 129)[side], "tgkill": (234, 131)[side],
        "prlimit": (302, 261)[side], "fcntl": (72, 25)[side], "ioctl": (16, 29)[side],
        "prctl": (157, 167)[side],
    }  # fmt: skip
    program: _Program = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 1, 0, _AUDIT[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _COMPAT_CALLS),
        (_RETURN, 0, 0, _ERROR | _ENOSYS),
    ]
    for pairs, error in ((_REFUSED, _EPERM), (_UNKNOWN, _ENOSYS)):
        for number in (pair[side] for pair in pairs):
            if number is not None:
                program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERROR | error)]
    program += _only(numbers["clone"], 0, (_CLONE_THREAD,), mask=_CLONE_THREAD)
    program += _only(numbers["kill"], 0, (own,))
    program += _only(numbers["tgkill"], 0, (own,))
    program += _only(numbers["prlimit"], 0, (0, own))
    program += _never(numbers["prctl"], 0, (_PR_SET_PDEATHSIG,))
    program += _never(numbers["fcntl"], 1, (8, 10, 15))  # F_SETOWN, F_SETSIG, F_SETOWN_EX: signals to others
    program += _never(
        numbers["ioctl"], 1, (0x40086602, 0x401C5820)
    )  # file flags: FS_IOC_SETFLAGS, _FSSETXATTR
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _only(number: int, argument: int, values: Sequence[int], mask: int = 0xFFFFFFFF) -> _Program:
    """Refuse a call unless the low half of an argument, masked, is one of the values."""
    last = len(values) - 1
    return _guarded(
        number, argument, mask,
        [*((_EQUAL, last - at + 1, 0, value) for at, value in enumerate(values)), (_RETURN, 0, 0, _ERROR | _EPERM)],
    )  # fmt: skip


def _never(number: int, argument: int, values: Sequence[int]) -> _Program:
    """Refuse a call where the low half of an argument is one of the values."""
    last = len(values) - 1
    tests = [(_EQUAL, last - at + 1, 0, value) for at, value in enumerate(values)]
    return _guarded(
        number, argument, 0xFFFFFFFF, [*tests, (_JUMP, 0, 0, 1), (_RETURN, 0, 0, _ERROR | _EPERM)]
    )


def _guarded(number: int, argument: int, mask: int, tests: _Program) -> _Program:
    """The tests of an argument, run for one call only; the call's number is loaded again after them."""
    body = [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument), (_AND, 0, 0, mask), *tests, (_LOAD, 0, 0, _NUMBER)]
    return [(_EQUAL, 0, len(body), number), *body]
