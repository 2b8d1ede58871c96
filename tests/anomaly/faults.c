/* Makes the n-th change below one folder fail, tear or kill: a preloaded library for tests on Linux.
 *
 * Every libc call that changes a file, a folder or a name below the armed folder is a *point* and is
 * counted. The armed point fails with EIO or ENOSPC, writes only half and then finds the disk full,
 * is interrupted as by Ctrl-C, or kills the process before, in the middle of, or after the call.
 * "Sticky" keeps failing what such a disk would refuse from then on.
 *
 * A program of its own is told from outside instead: FAULTS_BELOW names the folder, and the first byte
 * of the file FAULTS_CONTROL says what its disk is like now (0 fine, 1 full, 2 read-only, 3 fails every
 * sync). Each change is appended to FAULTS_TRACE, those that failed with a "!".
 *
 * Not seen: stores through a memory map (SQLite's -shm file is one, and holds nothing durable), and
 * stdio's own buffers inside libc. A killed process leaves the page cache whole, so a missing fsync
 * does not show in what it leaves. For that there is the *journal*: every change with its bytes, and
 * every sync, from which the states that a power loss can leave are built (lost_writes.py).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode { COUNT, FAIL_EIO, FAIL_ENOSPC, SHORT_WRITE, KILL_BEFORE, KILL_TORN, KILL_AFTER, INTERRUPT };
enum verdict { GO, FAIL, HALF, GO_THEN_KILL, HALF_THEN_KILL };
/* What a full disk still allows: giving names and blocks back, and reporting. */
enum need { NEEDS_SPACE, NEEDS_NOTHING };

static char home[PATH_MAX];
static size_t home_length;
static atomic_long seen;
static atomic_int fired;
static long armed_point;
static enum mode armed_mode;
static int sticky;
static int trace_fd = -1;
static int journal_fd = -1;
enum disk { FINE, FULL, READ_ONLY, NO_SYNC };
static const volatile unsigned char *disk_now;

void gw_arm(long point, int mode, int keep_failing, const char *folder) {
    snprintf(home, sizeof home, "%s", folder);
    armed_point = point;
    armed_mode = (enum mode)mode;
    sticky = keep_failing;
    atomic_store(&seen, 0);
    atomic_store(&fired, 0);
    home_length = strlen(home);
}
void gw_disarm(void) { home_length = 0; }
void gw_trace(int fd) { trace_fd = fd; }
void gw_journal(int fd) { journal_fd = fd; }
long gw_count(void) { return atomic_load(&seen); }
int gw_fired(void) { return atomic_load(&fired); }

static int below(const char *path) {
    return strncmp(path, home, home_length) == 0 && (path[home_length] == '/' || path[home_length] == '\0');
}

/* The absolute path of an open descriptor; 0 where it has none. */
static int path_of(int fd, char *out) {
    char link[64];
    if (fd == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, out, (size_t)PATH_MAX - 1);
    if (length <= 0) return 0;
    out[length] = '\0';
    return 1;
}

static int locate(int folder_fd, const char *path, char *out) {
    if (!path) return 0;
    if (path[0] == '/') return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
    char folder[PATH_MAX];
    if (!path_of(folder_fd, folder)) return 0;
    return snprintf(out, PATH_MAX, "%s/%s", folder, path) < PATH_MAX;
}

static void note(const char *what, const char *path) {
    if (trace_fd < 0) return;
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s %s\n", what, path + home_length + (path[home_length] == '/'));
    syscall(SYS_write, trace_fd, line, (size_t)length);
}

static enum verdict refuse(void) {
    errno = armed_mode == FAIL_EIO ? EIO : ENOSPC;
    return FAIL;
}

/* The disk that is told from outside; a read-only one keeps what was written, so that a sync succeeds. */
static enum verdict judge_disk(const char *what, const char *path, enum need need) {
    int sync = strcmp(what, "fsync") == 0 || strcmp(what, "fdatasync") == 0;
    int wrong = 0;
    if (*disk_now == FULL && need == NEEDS_SPACE) wrong = ENOSPC;
    if (*disk_now == READ_ONLY && !sync) wrong = EROFS;
    if (*disk_now == NO_SYNC && sync) wrong = EIO;
    char told[64];
    snprintf(told, sizeof told, "%s%s", wrong ? "!" : "", what);
    note(told, path);
    errno = wrong;
    return wrong ? FAIL : GO;
}

__attribute__((constructor)) static void take_control(void) {
    const char *control = getenv("FAULTS_CONTROL"), *folder = getenv("FAULTS_BELOW"), *trace = getenv("FAULTS_TRACE");
    if (!control || !folder || !trace) return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
    void *found = fd < 0 ? MAP_FAILED : mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
    if (found == MAP_FAILED) abort();
    trace_fd = (int)syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    snprintf(home, sizeof home, "%s", folder);
    disk_now = found;
    home_length = strlen(home);
}

/* One point: counts it and says what becomes of the call. */
static enum verdict judge(const char *what, const char *path, enum need need) {
    if (disk_now) return judge_disk(what, path, need);
    long now = atomic_fetch_add(&seen, 1) + 1;
    note(what, path);
    if (armed_mode == COUNT || now < armed_point) return GO;
    if (now > armed_point) {
        if (!sticky || !atomic_load(&fired)) return GO;
        if (armed_mode == FAIL_EIO) return refuse();
        if ((armed_mode == FAIL_ENOSPC || armed_mode == SHORT_WRITE) && need == NEEDS_SPACE) return refuse();
        return GO;
    }
    atomic_store(&fired, 1);
    switch (armed_mode) {
    case FAIL_EIO:
    case FAIL_ENOSPC:
        return refuse();
    case SHORT_WRITE:
        errno = ENOSPC;
        return HALF;
    case KILL_BEFORE:
        kill(getpid(), SIGKILL);
        return FAIL;
    case KILL_TORN:
        return HALF_THEN_KILL;
    case KILL_AFTER:
        return GO_THEN_KILL;
    case INTERRUPT:
        kill(getpid(), SIGINT);
        return GO;
    default:
        return GO;
    }
}

static enum verdict judge_fd(const char *what, int fd, enum need need) {
    char path[PATH_MAX];
    if (!home_length || !path_of(fd, path) || !below(path)) return GO;
    return judge(what, path, need);
}

static enum verdict judge_path(const char *what, int folder_fd, const char *name, enum need need) {
    char path[PATH_MAX];
    if (!home_length || !locate(folder_fd, name, path) || !below(path)) return GO;
    return judge(what, path, need);
}

/* A rename or link is a point when either end lies below the folder; it is told by its new name. */
static enum verdict judge_two(const char *what, int from_fd, const char *from, int to_fd, const char *to, enum need need) {
    char path[PATH_MAX];
    if (!home_length) return GO;
    if (locate(to_fd, to, path) && below(path)) return judge(what, path, need);
    if (locate(from_fd, from, path) && below(path)) return judge(what, path, need);
    return GO;
}

static void settle(enum verdict verdict) {
    if (verdict == GO_THEN_KILL || verdict == HALF_THEN_KILL) kill(getpid(), SIGKILL);
}

/* One entry: a line "what, offset, mode, size, path, other", and then the bytes. */
static void enter(const char *what, long long offset, unsigned mode, const char *path, const char *other,
                  const char *data, size_t size) {
    char *entry = malloc(size + 2 * PATH_MAX + 128);
    if (!entry) abort();
    int head = sprintf(entry, "%s\t%lld\t%u\t%zu\t%s\t%s\n", what, offset, mode, size, path, other);
    memcpy(entry + head, data, size);
    size_t whole = (size_t)head + size;
    if (syscall(SYS_write, journal_fd, entry, whole) != (long)whole) abort();
    free(entry);
}

static int journaled(void) { return journal_fd >= 0 && home_length; }

/* A step of the caller's own, between the changes: what was done is acknowledged. */
void gw_mark(const char *text) {
    if (journal_fd >= 0) enter("mark", 0, 0, text, "", "", 0);
}

static void enter_fd(const char *what, int fd, long long offset) {
    char path[PATH_MAX];
    if (journaled() && path_of(fd, path) && below(path)) enter(what, offset, 0, path, "", "", 0);
}

/* Bytes that have just arrived, read back; an offset below 0 stands for the end of what was moved. */
static void enter_bytes(int fd, ssize_t moved, long long offset) {
    char path[PATH_MAX], link[64];
    if (moved <= 0 || !journaled() || !path_of(fd, path) || !below(path)) return;
    if (offset < 0) offset = lseek(fd, 0, SEEK_CUR) - moved;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int file = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
    char *data = malloc((size_t)moved);
    if (file < 0 || !data || pread(file, data, (size_t)moved, offset) != moved) abort();
    syscall(SYS_close, file);
    enter("write", offset, 0, path, "", data, (size_t)moved);
    free(data);
}

/* A change that the journal has no word for: it must not be passed over. */
static void unseen(const char *what, const char *path) {
    if (journaled() && below(path)) {
        fprintf(stderr, "not journaled: %s %s\n", what, path);
        abort();
    }
}

static void enter_path(const char *what, int folder_fd, const char *name) {
    char path[PATH_MAX];
    struct stat found = {0};
    if (!journaled() || !locate(folder_fd, name, path) || !below(path)) return;
    syscall(SYS_newfstatat, AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW);
    enter(what, 0, found.st_mode & 07777, path, "", "", 0);
}

static void enter_two(const char *what, int from_fd, const char *from, int to_fd, const char *to) {
    char old[PATH_MAX], new[PATH_MAX];
    if (!journaled() || !locate(from_fd, from, old) || !locate(to_fd, to, new)) return;
    if (below(old) || below(new)) enter(what, 0, 0, old, new, "", 0);
}

#define REAL(type, name, ...)                                                       \
    static type (*real)(__VA_ARGS__);                                               \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

/* Calls that either happen whole or not at all: HALF means that they fail. */
#define WHOLE(judged, call, entered)                                                \
    enum verdict verdict = (judged);                                                \
    if (verdict == FAIL || verdict == HALF) return -1;                              \
    if (verdict == HALF_THEN_KILL) { settle(verdict); return -1; }                  \
    int result = (call);                                                            \
    int kept = errno;                                                               \
    if (result >= 0) { entered; }                                                   \
    settle(verdict);                                                                \
    errno = kept;                                                                   \
    return result

/* Calls that move bytes: HALF means that half of them arrive. */
#define BYTES(judged, whole, half, to, at)                                          \
    enum verdict verdict = (judged);                                                \
    if (verdict == FAIL) return -1;                                                 \
    ssize_t moved = (verdict == HALF || verdict == HALF_THEN_KILL) ? (half) : (whole); \
    int kept = errno;                                                               \
    enter_bytes(to, moved, at);                                                     \
    settle(verdict);                                                                \
    errno = kept;                                                                   \
    return moved

/* A write of one byte cannot be halved: it does not arrive at all. */
static ssize_t none(void) {
    errno = ENOSPC;
    return -1;
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    BYTES(judge_fd("write", fd, NEEDS_SPACE), real(fd, data, size), size < 2 ? none() : real(fd, data, size / 2), fd, -1);
}

#define PWRITE(name, offset_type)                                                   \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) {       \
        REAL(ssize_t, #name, int, const void *, size_t, offset_type);               \
        BYTES(judge_fd("pwrite", fd, NEEDS_SPACE), real(fd, data, size, offset),    \
              size < 2 ? none() : real(fd, data, size / 2, offset), fd, offset);    \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    BYTES(judge_fd("writev", fd, NEEDS_SPACE), real(fd, parts, count), count < 2 ? none() : real(fd, parts, count / 2),
          fd, -1);
}

#define PWRITEV(name, offset_type)                                                  \
    ssize_t name(int fd, const struct iovec *parts, int count, offset_type offset) { \
        REAL(ssize_t, #name, int, const struct iovec *, int, offset_type);          \
        BYTES(judge_fd("pwritev", fd, NEEDS_SPACE), real(fd, parts, count, offset), \
              count < 2 ? none() : real(fd, parts, count / 2, offset), fd, offset); \
    }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

#define SENDFILE(name, offset_type)                                                 \
    ssize_t name(int to, int from, offset_type *offset, size_t size) {              \
        REAL(ssize_t, #name, int, int, offset_type *, size_t);                      \
        BYTES(judge_fd("sendfile", to, NEEDS_SPACE), real(to, from, offset, size),  \
              size < 2 ? none() : real(to, from, offset, size / 2), to, -1);        \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags) {
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
    BYTES(judge_fd("copy_file_range", to, NEEDS_SPACE), real(from, from_at, to, to_at, size, flags),
          size < 2 ? none() : real(from, from_at, to, to_at, size / 2, flags), to, to_at ? *to_at - moved : -1);
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    WHOLE(judge_fd("fsync", fd, NEEDS_NOTHING), real(fd), enter_fd("sync", fd, 0));
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    WHOLE(judge_fd("fdatasync", fd, NEEDS_NOTHING), real(fd), enter_fd("sync", fd, 0));
}

#define FTRUNCATE(name, offset_type)                                                \
    int name(int fd, offset_type size) {                                            \
        REAL(int, #name, int, offset_type);                                         \
        WHOLE(judge_fd("ftruncate", fd, NEEDS_NOTHING), real(fd, size), enter_fd("size", fd, size)); \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define TRUNCATE(name, offset_type)                                                 \
    int name(const char *path, offset_type size) {                                  \
        REAL(int, #name, const char *, offset_type);                                \
        WHOLE(judge_path("truncate", AT_FDCWD, path, NEEDS_NOTHING), real(path, size), \
              unseen("truncate", path)); \
    }
TRUNCATE(truncate, off_t)
TRUNCATE(truncate64, off64_t)

#define FALLOCATE(name, offset_type)                                                \
    int name(int fd, int how, offset_type offset, offset_type size) {               \
        REAL(int, #name, int, int, offset_type, offset_type);                       \
        WHOLE(judge_fd("fallocate", fd, NEEDS_SPACE), real(fd, how, offset, size), enter_fd("room", fd, offset + size)); \
    }
FALLOCATE(fallocate, off_t)
FALLOCATE(fallocate64, off64_t)

/* posix_fallocate returns the error instead of setting errno. */
#define POSIX_FALLOCATE(name, offset_type)                                          \
    int name(int fd, offset_type offset, offset_type size) {                        \
        REAL(int, #name, int, offset_type, offset_type);                            \
        enum verdict verdict = judge_fd("fallocate", fd, NEEDS_SPACE);              \
        if (verdict == FAIL || verdict == HALF) return errno;                       \
        if (verdict == HALF_THEN_KILL) settle(verdict);                             \
        int result = real(fd, offset, size);                                        \
        if (result == 0) enter_fd("room", fd, offset + size);                       \
        settle(verdict);                                                            \
        return result;                                                              \
    }
POSIX_FALLOCATE(posix_fallocate, off_t)
POSIX_FALLOCATE(posix_fallocate64, off64_t)

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    WHOLE(judge_two("rename", AT_FDCWD, from, AT_FDCWD, to, NEEDS_SPACE), real(from, to),
          enter_two("rename", AT_FDCWD, from, AT_FDCWD, to));
}

int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    WHOLE(judge_two("rename", from_fd, from, to_fd, to, NEEDS_SPACE), real(from_fd, from, to_fd, to),
          enter_two("rename", from_fd, from, to_fd, to));
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    WHOLE(judge_two("rename", from_fd, from, to_fd, to, NEEDS_SPACE), real(from_fd, from, to_fd, to, flags),
          enter_two("rename", from_fd, from, to_fd, to));
}

int link(const char *from, const char *to) {
    REAL(int, "link", const char *, const char *);
    WHOLE(judge_two("link", AT_FDCWD, from, AT_FDCWD, to, NEEDS_SPACE), real(from, to),
          enter_two("link", AT_FDCWD, from, AT_FDCWD, to));
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    WHOLE(judge_two("link", from_fd, from, to_fd, to, NEEDS_SPACE), real(from_fd, from, to_fd, to, flags),
          enter_two("link", from_fd, from, to_fd, to));
}

int symlink(const char *target, const char *path) {
    REAL(int, "symlink", const char *, const char *);
    WHOLE(judge_path("symlink", AT_FDCWD, path, NEEDS_SPACE), real(target, path), enter_path("symlink", AT_FDCWD, path));
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    WHOLE(judge_path("unlink", AT_FDCWD, path, NEEDS_NOTHING), real(path), enter_path("unlink", AT_FDCWD, path));
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    WHOLE(judge_path("unlink", folder, path, NEEDS_NOTHING), real(folder, path, flags),
          enter_path("unlink", folder, path));
}

int rmdir(const char *path) {
    REAL(int, "rmdir", const char *);
    WHOLE(judge_path("rmdir", AT_FDCWD, path, NEEDS_NOTHING), real(path), enter_path("unlink", AT_FDCWD, path));
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    WHOLE(judge_path("mkdir", AT_FDCWD, path, NEEDS_SPACE), real(path, mode), enter_path("mkdir", AT_FDCWD, path));
}

int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    WHOLE(judge_path("mkdir", folder, path, NEEDS_SPACE), real(folder, path, mode), enter_path("mkdir", folder, path));
}

/* Permissions are no point, but they are journaled. */
int chmod(const char *path, mode_t mode) {
    REAL(int, "chmod", const char *, mode_t);
    int result = real(path, mode), kept = errno;
    if (result == 0) enter_path("chmod", AT_FDCWD, path);
    errno = kept;
    return result;
}

int fchmod(int fd, mode_t mode) {
    REAL(int, "fchmod", int, mode_t);
    char path[PATH_MAX];
    int result = real(fd, mode), kept = errno;
    if (result == 0 && path_of(fd, path)) enter_path("chmod", AT_FDCWD, path);
    errno = kept;
    return result;
}

int fchmodat(int folder, const char *path, mode_t mode, int flags) {
    REAL(int, "fchmodat", int, const char *, mode_t, int);
    int result = real(folder, path, mode, flags), kept = errno;
    if (result == 0) enter_path("chmod", folder, path);
    errno = kept;
    return result;
}

static const char *made_by_open(int folder, const char *path, int flags) {
    struct stat found;
    if (!journaled() || !(flags & (O_CREAT | O_TRUNC))) return NULL;
    if (syscall(SYS_newfstatat, folder, path, &found, 0) != 0) return "create";
    return (flags & O_TRUNC) ? "empty" : NULL;
}

/* Opening is a point when it makes or empties a file. A file that is there already needs no space. */
static enum verdict judge_open(int folder, const char *path, int flags) {
    if (!home_length || !(flags & (O_CREAT | O_TRUNC))) return GO;
    struct stat found;
    int there = syscall(SYS_newfstatat, folder, path, &found, 0) == 0;
    if (there && !(flags & O_TRUNC)) return GO;
    return judge_path(there ? "empty" : "create", folder, path, there ? NEEDS_NOTHING : NEEDS_SPACE);
}

#define MODE_ARGUMENT                                                               \
    mode_t mode = 0;                                                                \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                          \
        va_list arguments;                                                          \
        va_start(arguments, flags);                                                 \
        mode = (mode_t)va_arg(arguments, int);                                      \
        va_end(arguments);                                                          \
    }

#define OPEN(name)                                                                  \
    int name(const char *path, int flags, ...) {                                    \
        MODE_ARGUMENT                                                               \
        REAL(int, #name, const char *, int, ...);                                   \
        const char *made = made_by_open(AT_FDCWD, path, flags);                     \
        WHOLE(judge_open(AT_FDCWD, path, flags), real(path, flags, mode), \
              if (made) enter_path(made, AT_FDCWD, path)); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                \
    int name(int folder, const char *path, int flags, ...) {                        \
        MODE_ARGUMENT                                                               \
        REAL(int, #name, int, const char *, int, ...);                              \
        const char *made = made_by_open(folder, path, flags);                       \
        WHOLE(judge_open(folder, path, flags), real(folder, path, flags, mode),     \
              if (made) enter_path(made, folder, path));                            \
    }
OPENAT(openat)
OPENAT(openat64)

#define CREAT(name)                                                                 \
    int name(const char *path, mode_t mode) {                                       \
        REAL(int, #name, const char *, mode_t);                                     \
        const char *made = made_by_open(AT_FDCWD, path, O_CREAT | O_TRUNC);         \
        WHOLE(judge_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC), real(path, mode), \
              if (made) enter_path(made, AT_FDCWD, path)); \
    }
CREAT(creat)
CREAT(creat64)
