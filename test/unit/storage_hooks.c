/* SPDX-License-Identifier: PostgreSQL */
/* Calls of the system that fail on request, and are called instead of the libraries'. */
#include "unit/storage_fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "unit/unit.h"

struct storage_hooks hooks;
atomic_bool growth_held;

void
limit_set(uint64_t size)
{
    const struct rlimit limit = {.rlim_cur = size, .rlim_max = RLIM_INFINITY};
    (void) signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) abort();
}

void
limit_lift(void)
{
    limit_set(RLIM_INFINITY);
}

ssize_t
pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    hooks.pwrites += 1;
    if (hooks.pwrite_size_max > 0) size = min_u64(size, hooks.pwrite_size_max);
    return syscall(SYS_pwrite64, fd, buffer, size, offset);
}

ssize_t
pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    struct iovec cut[STORAGE_BUFFERS_MAX];
    uint64_t left = hooks.pwrite_size_max > 0 ? hooks.pwrite_size_max : UINT64_MAX;
    int cut_count = 0;
    hooks.pwritevs += 1;
    while (cut_count < count && left > 0) {
        cut[cut_count] = pieces[cut_count];
        cut[cut_count].iov_len = min_u64(cut[cut_count].iov_len, left);
        left -= cut[cut_count].iov_len;
        cut_count += 1;
    }
    /* The kernel takes the offset in two halves; the upper one is 0 on 64 bits. */
    return syscall(SYS_pwritev, fd, cut, cut_count, offset, 0);
}

int
fsync(int fd)
{
    if (hooks.fsync_errno != 0) {
        errno = hooks.fsync_errno;
        return -1;
    }
    if (hooks.fsync_removes != NULL && rmdir(hooks.fsync_removes) != 0) abort();
    hooks.fsync_removes = NULL;
    hooks.fsync_fd = fd;
    return (int) syscall(SYS_fsync, fd);
}

int
posix_fadvise(int fd, off_t offset, off_t size, int advice)
{
    if (hooks.fadvise_errno != 0) return hooks.fadvise_errno;
    if (hooks.fsync_fd == fd && offset == 0 && size == 0 && advice == POSIX_FADV_DONTNEED) {
        hooks.drops += 1;
    }
    return syscall(SYS_fadvise64, fd, offset, size, advice) == 0 ? 0 : errno;
}

int
fallocate(int fd, int mode, off_t offset, off_t size)
{
    while (atomic_load(&growth_held)) (void) usleep(1000);
    if (hooks.fallocate_unsupported) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if (hooks.fallocate_errno != 0) {
        errno = hooks.fallocate_errno;
        return -1;
    }
    return (int) syscall(SYS_fallocate, fd, mode, offset, size);
}

/*
 * A timeout linked behind a write is cancelled by the kernel when the write is done: as a second is
 * that has not been started.
 */
static void
second_cancel(struct io_uring *ring)
{
    static struct __kernel_timespec hour = {.tv_sec = 3600};
    struct io_uring_sq *sq = &ring->sq;
    struct io_uring_sqe *second = &sq->sqes[(sq->sqe_tail - 1) & *sq->kring_mask];
    const uint64_t user_data = second->user_data;
    io_uring_prep_link_timeout(second, &hour, 0);
    second->user_data = user_data;
}

int
io_uring_submit(struct io_uring *ring)
{
    static int (*real)(struct io_uring * ring);
    if (real == NULL) *(void **) &real = dlsym(RTLD_NEXT, "io_uring_submit");
    expect(io_uring_sq_ready(ring) <= 2); /* (U2) */
    hooks.ring = ring;
    hooks.submits += 1;
    if (io_uring_sq_ready(ring) == 2) hooks.submits_linked += 1;
    if (hooks.submits_put_off > 0) {
        hooks.submits_put_off -= 1;
        return -EAGAIN;
    }
    if (hooks.submits_until_mended > 0) {
        hooks.submits_until_mended -= 1;
        if (hooks.submits_until_mended == 0) limit_lift();
    }
    if (hooks.seconds_canceled > 0 && io_uring_sq_ready(ring) == 2) {
        hooks.seconds_canceled -= 1;
        second_cancel(ring);
    }
    if (hooks.submits_split && io_uring_sq_ready(ring) == 2) {
        hooks.splits += 1;
        ring->sq.sqe_tail -= 1;
        const int taken = real(ring);
        ring->sq.sqe_tail += 1;
        return taken;
    }
    return real(ring);
}
