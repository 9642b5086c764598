/* Kills a program at one of its file operations: before it, or as soon as it has happened.
 *
 * kill_at FOLDER NUMBER|PATH before|after LOG PROGRAM [ARGUMENT…]
 *
 * Counts what changes files below FOLDER: opening for writing, renames, links, deletions, new folders, truncation and
 * syncs, by all threads. Writes the name of each to LOG, one per line. The operation with this NUMBER, from 0, or
 * the first on a file whose path ends with PATH, is the last: every thread is killed with SIGKILL. Exits as the program
 * does, or with 137 after a kill.
 *
 * A tracer and not a preloaded library, because the program makes some of these calls without the C library. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/ptrace.h>

/* Where a call names its files: arguments that are a folder, a path or an open file; -1 for none. */
struct call {
    long number;
    const char *name;
    int folder[2], path[2], file;
    /* The argument with the flags of opening; only a call that may write counts. */
    int flags;
};

static const struct call calls[] = {
    {SYS_openat, "open", {0, -1}, {1, -1}, -1, 2},
    {SYS_renameat2, "rename", {0, 2}, {1, 3}, -1, -1},
    {SYS_linkat, "link", {0, 2}, {1, 3}, -1, -1},
    {SYS_symlinkat, "symlink", {1, -1}, {2, -1}, -1, -1},
    {SYS_unlinkat, "unlink", {0, -1}, {1, -1}, -1, -1},
    {SYS_mkdirat, "mkdir", {0, -1}, {1, -1}, -1, -1},
    {SYS_truncate, "truncate", {-1, -1}, {0, -1}, -1, -1},
    {SYS_ftruncate, "truncate", {-1, -1}, {-1, -1}, 0, -1},
    {SYS_fsync, "fsync", {-1, -1}, {-1, -1}, 0, -1},
    {SYS_fdatasync, "fsync", {-1, -1}, {-1, -1}, 0, -1},
#ifdef SYS_renameat
    {SYS_renameat, "rename", {0, 2}, {1, 3}, -1, -1},
#endif
#ifdef SYS_open
    {SYS_open, "open", {-1, -1}, {0, -1}, -1, 1},
    {SYS_creat, "open", {-1, -1}, {0, -1}, -1, -1},
    {SYS_rename, "rename", {-1, -1}, {0, 1}, -1, -1},
    {SYS_link, "link", {-1, -1}, {0, 1}, -1, -1},
    {SYS_symlink, "symlink", {-1, -1}, {1, -1}, -1, -1},
    {SYS_unlink, "unlink", {-1, -1}, {0, -1}, -1, -1},
    {SYS_mkdir, "mkdir", {-1, -1}, {0, -1}, -1, -1},
    {SYS_rmdir, "unlink", {-1, -1}, {0, -1}, -1, -1},
#endif
};
enum { CALLS = sizeof calls / sizeof *calls };

static void fail(const char *what) {
    fprintf(stderr, "kill_at: %s: %s\n", what, strerror(errno));
    exit(125);
}

/* Becomes the program, whose calls of the table stop for the tracer. */
static void become(char **argv) {
    struct sock_filter filter[CALLS + 3];
    filter[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int n = 0; n < CALLS; n++)
        filter[n + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[n].number,
                                                     (unsigned char)(CALLS - n), 0);
    filter[CALLS + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[CALLS + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog program = {CALLS + 3, filter};
    if (ptrace(PTRACE_TRACEME, 0, 0, 0)) fail("ptrace");
    raise(SIGSTOP);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("no_new_privs");
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0)) fail("seccomp");
    execvp(argv[0], argv);
    fail(argv[0]);
}

/* The path behind a link in /proc, such as fd/3 or cwd. */
static void behind(pid_t thread, const char *link, char path[PATH_MAX]) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/%s", thread, link);
    ssize_t length = readlink(name, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
}

static void text_at(pid_t thread, uint64_t at, char text[PATH_MAX]) {
    size_t got = 0;
    text[0] = 0;
    /* Page by page: the end of the text may be the end of what can be read. */
    while (got < PATH_MAX - 1) {
        size_t some = 4096 - (at + got) % 4096;
        if (some > PATH_MAX - 1 - got) some = PATH_MAX - 1 - got;
        struct iovec to = {text + got, some}, from = {(void *)(uintptr_t)(at + got), some};
        if (process_vm_readv(thread, &to, 1, &from, 1, 0) != (ssize_t)some) break;
        got += some;
        text[got] = 0;
        if (memchr(text, 0, got)) break;
    }
}

/* Whether a call changes a file below the folder. `path` becomes the last one that it names. */
static int changes(pid_t thread, const struct call *call, const uint64_t args[6], const char *folder,
                   char path[PATH_MAX]) {
    char found[PATH_MAX], base[PATH_MAX], link[32];
    size_t length = strlen(folder);
    int is_below = 0;
    if (call->flags >= 0 && !(args[call->flags] & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))) return 0;
    if (call->file >= 0) {
        snprintf(link, sizeof link, "fd/%d", (int)args[call->file]);
        behind(thread, link, path);
        return !strncmp(path, folder, length);
    }
    for (int n = 0; n < 2 && call->path[n] >= 0; n++) {
        text_at(thread, args[call->path[n]], found);
        path[0] = 0;
        if (found[0] != '/') {
            int at = call->folder[n] < 0 ? AT_FDCWD : (int)args[call->folder[n]];
            snprintf(link, sizeof link, at == AT_FDCWD ? "cwd" : "fd/%d", at);
            behind(thread, link, base);
            snprintf(path, PATH_MAX, "%.2000s/%.2000s", base, found);
        } else
            snprintf(path, PATH_MAX, "%s", found);
        is_below |= !strncmp(path, folder, length);
    }
    return is_below;
}

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && !strcmp(text + length - tail, end);
}

int main(int argc, char **argv) {
    if (argc < 6) return fprintf(stderr, "kill_at FOLDER NUMBER|PATH before|after LOG PROGRAM…\n"), 125;
    const char *folder = argv[1];
    char *rest;
    long at = strtol(argv[2], &rest, 10), count = 0;
    const char *end = *rest ? argv[2] : NULL;
    int is_after = !strcmp(argv[3], "after"), status, code = 125, killed = 0;
    FILE *log = fopen(argv[4], "w");
    if (!log) fail(argv[4]);
    pid_t program = fork();
    if (!program) become(argv + 5);
    if (program < 0 || waitpid(program, &status, 0) < 0) fail("fork");
    if (ptrace(PTRACE_SETOPTIONS, program, 0,
               PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))
        fail("ptrace options");
    ptrace(PTRACE_CONT, program, 0, 0);
    pid_t thread;
    while ((thread = waitpid(-1, &status, __WALL)) > 0) {
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (thread == program) code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        int signal = WSTOPSIG(status), event = status >> 16, deliver = 0;
        if (killed) continue;
        if (event == PTRACE_EVENT_SECCOMP) {
            struct ptrace_syscall_info info;
            char path[PATH_MAX];
            const struct call *call = calls;
            if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info) < 0) continue;
            while (call < calls + CALLS && call->number != (long)info.seccomp.nr) call++;
            if (call < calls + CALLS && changes(thread, call, (const uint64_t *)info.seccomp.args, folder, path)) {
                fprintf(log, "%s %s\n", call->name, path);
                if (end ? ends_with(path, end) : count++ == at) {
                    if (!is_after) {
                        killed = !kill(program, SIGKILL);
                        continue;
                    }
                    /* The thread stops again when the call has happened. */
                    ptrace(PTRACE_SYSCALL, thread, 0, 0);
                    continue;
                }
            }
        } else if (signal == (SIGTRAP | 0x80)) {
            killed = !kill(program, SIGKILL);
            continue;
        } else if (!event && signal != SIGSTOP && signal != SIGTRAP)
            deliver = signal;
        ptrace(PTRACE_CONT, thread, 0, deliver);
    }
    fclose(log);
    return killed ? 137 : code;
}
