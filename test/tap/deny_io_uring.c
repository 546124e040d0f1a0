/* SPDX-License-Identifier: PostgreSQL */
/*
 * deny_io_uring COMMAND [ARGUMENT …]
 *
 * Runs the command with io_uring_setup answered EPERM, as container runtimes do it: by a seccomp
 * filter, which children inherit and nobody can take off. Everything else is allowed. Exit code 125
 * if the filter or the command cannot be started.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "name the AUDIT_ARCH of this architecture"
#endif

/* Numbers of another architecture (32-bit programs) mean other calls: those are let through. */
static struct sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

static int
fail(const char *what)
{
    (void) fprintf(stderr, "deny_io_uring: %s: %s\n", what, strerror(errno));
    return 125;
}

int
main(int argc, char **argv)
{
    if (argc < 2) {
        (void) fprintf(stderr, "usage: deny_io_uring COMMAND [ARGUMENT ...]\n");
        return 125;
    }
    const struct sock_fprog program = {
        .len = sizeof(filter) / sizeof(filter[0]),
        .filter = filter,
    };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail("no_new_privs");
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return fail("seccomp");
    (void) execvp(argv[1], argv + 1);
    return fail(argv[1]);
}
