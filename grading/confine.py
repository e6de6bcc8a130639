"""The last program before untrusted code: it gives up every right it does not need, then becomes the command.

It is run by its path: ``python -I -S confine.py SPEC``. At level "bubblewrap" it runs inside the sandbox of bubblewrap.
At level "namespaces" it makes the namespaces itself. At level "limits" there are none. It imports only the standard
library, because no other module of the package is visible inside.
"""

import contextlib
import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys

NOBODY = 65534
NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
READ_ONLY = MOUNT_ATTR_RDONLY = 1
MNT_DETACH, AT_RECURSIVE, MOUNT_SETATTR = 2, 0x8000, 442
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
PR_CAPBSET_DROP = 24
STACK = 8 << 20  # bytes of address space for the stack of each thread; less if the host's limit is lower

# System calls that no lesson needs. Each is a way round a limit. The numbers are for x86_64 and for aarch64.
# They give memory that is not counted for any process, or access to other processes, or more rights in the kernel.
FORBIDDEN = {
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "unshare": (272, 97),
    "setns": (308, 268),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
}
CLONE, CLONE3, MMAP, SOCKET = (56, 220), (435, 435), (9, 222), (41, 198)
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, name in the filter
AF_UNIX, SHARED_ANONYMOUS = 1, 0x21
EPERM, ENOSYS = 1, 38


def main(spec, become):
    """Give up all rights, then call ``become(spec)``. Errors are written to the descriptor ``spec["report"]``."""
    os.set_inheritable(spec["report"], False)
    os.umask(0o022)
    try:
        if spec["level"] == "namespaces":
            enter_namespaces(spec)
        if spec["level"] != "limits":
            _prctl(PR_SET_DUMPABLE, 0)  # the command must not read /proc/1
            if child := os.fork():
                be_init(child, spec["report"])
            _prctl(PR_SET_DUMPABLE, 1)  # otherwise it could not write the id maps in /proc/self
        give_up_rights(spec)
        become(spec)
    except OSError as error:
        what = error.filename or spec["command"][0]
        _tell(spec["report"], {"error": f"could not start: {what}: {error.strerror}"})
    os._exit(127)


def become_program(spec):
    """Become the program ``spec["command"]``."""
    os.execve(spec["command"][0], spec["command"], spec["environment"])


def be_init(child, report):
    """Be process 1 of the namespace: collect ended orphans. When the command ends, everything else ends with it."""
    # The command runs in another user namespace, so it cannot change this process. Signals from inside do not kill
    # process 1. So the status below can be trusted.
    null = os.open("/dev/null", os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    while True:
        pid, status = os.wait()
        if pid == child:
            _tell(report, {"status": status})
            os._exit(0)


def enter_namespaces(spec):
    """Do what bubblewrap does, for machines without it. Returns in process 1 of the new namespaces, in the new root."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.geteuid() != 0:
        uid, gid = os.geteuid(), os.getegid()
        _call("unshare", NEWUSER)
        _map_ids((uid, uid), (gid, gid))
    _call("unshare", NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS | NEWCGROUP)
    if child := os.fork():
        os.waitpid(child, 0)
        os._exit(0)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    # The new root hides /tmp, and visible files may be in /tmp: open them first.
    sources = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in spec["visible"] + spec["devices"]}
    root = "/tmp"
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for folder in spec["folders"] + ["/proc"]:
        os.makedirs(root + folder, exist_ok=True)
    for path, source in sources.items():
        target, opened = root + path, f"/proc/self/fd/{source}"
        if os.path.isdir(opened):
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_RDONLY))
        _mount(opened, target, None, MS_BIND | MS_REC)
        os.close(source)
        protection = READ_ONLY | MS_NOSUID | (0 if path in spec["devices"] else MS_NODEV)
        _protect(target, protection, AT_RECURSIVE)
    for link, target in spec["links"].items():
        os.symlink(target, root + link)
    _mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _protect(root, READ_ONLY, 0)
    os.chdir(root)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", MNT_DETACH)
    os.chdir("/")


def give_up_rights(spec):
    """Keep only these rights: read what is visible, write to the scratch folder, compute within the limits."""
    limits, home = spec["limits"], spec["environment"]["HOME"]
    alone = spec["level"] != "limits"
    if os.geteuid() == 0 and (alone or _readable_by_nobody([*spec["visible"], os.path.dirname(home)])):
        if not alone:
            os.chown(home, NOBODY, NOBODY)
        _become_nobody()
    if alone:
        # A new user namespace gives no rights outside it, and RLIMIT_NPROC counts only the processes of this sandbox.
        uid, gid = os.geteuid(), os.getegid()
        _call("unshare", NEWUSER | NEWNS | NEWUTS)
        _map_ids((NOBODY, uid), (NOBODY, gid))
        _call("sethostname", b"sandbox", 7)
        # Empty files need no space, but they need memory. nr_inodes limits their number.
        options = f"mode=700,size={limits['scratch_bytes']},nr_inodes={1000 + limits['scratch_bytes'] // 16384}"
        _mount("tmpfs", home, "tmpfs", MS_NOSUID | MS_NODEV, options)
        _mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700,size=1m,nr_inodes=1000")
    else:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    os.chdir(home)
    for name, value in {
        "NPROC": limits["processes"],
        "FSIZE": limits["file_bytes"],
        "NOFILE": limits["open_files"],
        "STACK": STACK,
        # The watching process counts memory and CPU time of all processes together, and reports which limit was
        # reached. The limits here stop a single process that is faster than the watching process. Memory is limited
        # by RLIMIT_DATA, not by RLIMIT_AS, because TensorFlow reserves far more addresses than it uses.
        "DATA": 2 * limits["memory_bytes"],
        "CPU": limits["cpu_seconds"] + 1,
        "CORE": 1,  # with 0 the kernel would still call the host's crash reporter; with 1 it does not
    }.items():
        which = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(which)[1]
        value = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
        resource.setrlimit(which, (value, value))
    with contextlib.suppress(OSError):  # ends at one that the kernel does not know or may not drop
        for capability in range(64):
            _prctl(PR_CAPBSET_DROP, capability)  # takes effect at the next exec
    drop_capabilities()
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    forbid_calls()


def drop_capabilities():
    """Drop all capabilities now: a process that the warm process forked never calls exec."""
    version, myself, none = 0x20080522, 0, 0
    _call("capset", struct.pack("=Ii", version, myself), struct.pack("=6I", *[none] * 6))


def forbid_calls():
    """Install a seccomp filter. Machines that are not in MACHINES get none, and the other limits must be enough."""
    if platform.machine() not in MACHINES or sys.maxsize < 2**32:
        return
    column, architecture = MACHINES[platform.machine()]
    load, equal, at_least, any_bit, mask, answer = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
    low_word_of_argument = 16  # offset; each argument has 8 bytes, the low word first
    kill, refuse, unknown, allow = 0x80000000, 0x50000 | EPERM, 0x50000 | ENOSYS, 0x7FFF0000
    program = [(load, 0, 0, 4), (equal, 1, 0, architecture), (answer, 0, 0, kill), (load, 0, 0, 0)]
    if column == 0:  # the x32 numbers for the same calls
        program += [(at_least, 0, 1, 0x40000000), (answer, 0, 0, unknown)]
    for numbers in FORBIDDEN.values():
        program += [(equal, 0, 1, numbers[column]), (answer, 0, 0, refuse)]
    program += [(equal, 0, 1, CLONE3[column]), (answer, 0, 0, unknown)]  # then the C library uses clone
    spaces = NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
    # Each block: skip 4 or 5 lines if it is another call; load an argument; refuse or allow.
    program += [
        (equal, 0, 4, CLONE[column]),
        (load, 0, 0, low_word_of_argument),
        (any_bit, 0, 1, spaces),
        (answer, 0, 0, refuse),
        (answer, 0, 0, allow),
    ]
    program += [
        (equal, 0, 4, SOCKET[column]),
        (load, 0, 0, low_word_of_argument),
        (equal, 1, 0, AF_UNIX),
        (answer, 0, 0, refuse),
        (answer, 0, 0, allow),
    ]
    # Shared memory without a file can remain when no process maps it any more. Then it is not counted for any process.
    program += [
        (equal, 0, 4, MMAP[column]),
        (load, 0, 0, low_word_of_argument + 3 * 8),
        (mask, 0, 0, SHARED_ANONYMOUS),
        (equal, 0, 1, SHARED_ANONYMOUS),
        (answer, 0, 0, refuse),
    ]
    program += [(answer, 0, 0, allow)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    _prctl(PR_SET_SECCOMP, 2, ctypes.addressof(header))


def _become_nobody():
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    _prctl(PR_SET_DUMPABLE, 1)  # as above: the change of user set it to 0


def _readable_by_nobody(paths):
    """Whether root can become nobody and then still read all paths."""
    if child := os.fork():
        return os.waitpid(child, 0)[1] == 0
    with contextlib.suppress(OSError):  # in many containers root cannot become nobody
        _become_nobody()
        os._exit(not all(os.access(path, os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK) for path in paths))
    os._exit(1)


def _map_ids(*pairs):
    with open("/proc/self/setgroups", "w") as file:
        file.write("deny")
    for name, (inside, outside) in zip(("uid_map", "gid_map"), pairs, strict=True):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(f"{inside} {outside} 1")


def _mount(source, target, kind, flags, options=None):
    arguments = [text.encode() if text else None for text in (source, target, kind)]
    _call("mount", *arguments, ctypes.c_ulong(flags), options.encode() if options else None, what=target)


def _protect(path, attributes, flags):
    """Call mount_setattr. Unlike a remount, it keeps the other attributes and also changes the mounts below."""
    request = ctypes.create_string_buffer(struct.pack("=QQQQ", attributes, 0, 0, 0), 32)
    _call("syscall", MOUNT_SETATTR, -100, path.encode(), flags, request, ctypes.c_size_t(32), what=path)


def _prctl(option, value, pointer=0):
    _call("prctl", option, *(ctypes.c_ulong(number) for number in (value, pointer, 0, 0)))


def _call(name, *arguments, what=None):
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"{name} {what}" if what else name)


def _tell(report, message):
    os.write(report, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), become_program)
