/* SPDX-License-Identifier: PostgreSQL */
/*
 * What only the real disks have: a descriptor to sleep on, transfers that the kernel cuts or puts
 * off, other processes, and an io_uring that may be refused. Their directory: test_storage_files.c.
 */
#include "unit/storage_fixture.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "os/clock_os.h"
#include "unit/unit.h"

static void
truncated_below(struct disk *disk)
{
    items_reset();
    expect(ftruncate(disk->os.files.fds[STORAGE_GRID], GRID_SIZE - SECTOR_SIZE) == 0);
    struct storage_request *read =
        item_prepare(0, STORAGE_READ, STORAGE_GRID, GRID_SIZE - 2 * SECTOR_SIZE, 2 * SECTOR_SIZE);
    submit(disk->storage, read);
    drain(disk->storage);
    expect(read->result == STORAGE_IO_ERROR);
    char text[256] = "";
    expect(storage_os_failure_text(&disk->os, text, sizeof(text)));
    expect(strstr(text, "could not read file \"grid\" at offset 1044480: the file ends too early"));
}

UNIT_TEST(file_that_ends_too_early_is_an_error) { on_real_disks(truncated_below); }

static bool
readable(int fd, int timeout_ms)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    int count;
    do {
        count = poll(&pollfd, 1, timeout_ms);
    } while (count < 0 && errno == EINTR);
    return count == 1;
}

/* The host sleeps on the descriptor and polls without waiting: nothing is missed, nothing spins. */
static void
sleep_on_descriptor(struct disk *disk)
{
    const int fd = storage_os_wait_fd(&disk->os);
    expect((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    expect(!readable(fd, 0));
    for (uint32_t round = 0; round < 10; round++) {
        items_reset();
        for (uint32_t i = 0; i < 8; i += 2) {
            submit_ordered(
                disk->storage,
                item_prepare(i, STORAGE_WRITE, STORAGE_GRID, i * SECTOR_SIZE, SECTOR_SIZE),
                item_prepare(i + 1, STORAGE_WRITE, STORAGE_PREPARES, i * SECTOR_SIZE, SECTOR_SIZE));
        }
        uint32_t wakeups = 0;
        while (disk->storage->in_flight_count > 0) {
            expect(readable(fd, 10000));
            expect(storage_poll(disk->storage) > 0);
            wakeups += 1;
        }
        expect(wakeups <= 8);
        expect(!readable(fd, 0));
    }
}

UNIT_TEST(host_can_sleep_on_the_descriptor) { on_real_disks(sleep_on_descriptor); }

/* Short transfers and interruptions ------------------------------------------------------------ */

static void
sync_short(struct disk *disk)
{
    hooks.pwrite_size_max = 512;
    pair_in_order(disk);
}

UNIT_TEST(calls_continue_short_writes) { on_kinds(sync_short, DISK_SYNC, DISK_AUTO_DIRECT); }

/* Cut inside of a piece, at its end, and behind the first of the next. */
static void
gather_short(struct disk *disk)
{
    static const uint64_t cuts[] = {512, SECTOR_SIZE, 2 * SECTOR_SIZE, 2 * SECTOR_SIZE + 512};
    for (uint32_t i = 0; i < ARRAY_COUNT(cuts); i++) {
        if (kind_direct(disk->kind) && cuts[i] % SECTOR_SIZE != 0) continue;
        items_reset();
        hooks.pwritevs = 0;
        hooks.pwrite_size_max = cuts[i];
        struct storage_request *write = gather_prepare(
            10 * i, STORAGE_BUFFERS_MAX, STORAGE_GRID, i * 64 * KIB, 2 * SECTOR_SIZE);
        submit(disk->storage, write);
        drain(disk->storage);
        expect(write->result == STORAGE_OK);
        expect_equal(hooks.pwritevs, div_ceil(write->size_bytes, cuts[i]));
        expect_gathered(disk, write, 10 * i, STORAGE_BUFFERS_MAX);
    }
}

UNIT_TEST(sync_continues_gathered_writes)
{
    on_kinds(gather_short, DISK_SYNC, DISK_SYNC_DIRECT);
}

/* Ends short at the limit, in the second of four pieces; goes on once that is lifted. */
static void
uring_gather_short(struct disk *disk)
{
    for (int mended = 0; mended < 2; mended++) {
        items_reset();
        const uint64_t offset_bytes = BROKEN_OFFSET - 3 * SECTOR_SIZE;
        struct storage_request *write =
            gather_prepare(0, 4, STORAGE_GRID, offset_bytes, 2 * SECTOR_SIZE);
        limit_set(BROKEN_OFFSET);
        hooks.submits_until_mended = mended == 1 ? 2 : 0;
        submit(disk->storage, write);
        drain(disk->storage);
        limit_lift();
        expect(write->result == (mended == 1 ? STORAGE_OK : STORAGE_IO_ERROR));
        expect_equal(write->done_bytes, (mended == 1 ? 8 : 3) * SECTOR_SIZE);
        if (mended == 1) expect_gathered(disk, write, 0, 4);
    }
    /* Put off, the pieces stay until the kernel takes them; what comes then waits outside. */
    items_reset();
    hooks.submits_put_off = 3;
    struct storage_request *first = gather_prepare(0, 4, STORAGE_GRID, 0, SECTOR_SIZE);
    struct storage_request *second = gather_prepare(4, 3, STORAGE_GRID, 64 * KIB, SECTOR_SIZE);
    submit(disk->storage, first);
    submit(disk->storage, second);
    drain(disk->storage);
    expect(first->result == STORAGE_OK && second->result == STORAGE_OK);
    expect_gathered(disk, first, 0, 4);
    expect_gathered(disk, second, 4, 3);
}

UNIT_TEST(u2_uring_continues_gathered_writes)
{
    on_kinds(uring_gather_short, DISK_URING, DISK_URING_DIRECT);
}

/*
 * The first of a pair crosses the limit: two sectors are written, and the rest fails unless the
 * limit is lifted. Returns whether a second is written whose first is not.
 */
static bool
pair_short(struct disk *disk, bool mended)
{
    items_reset();
    pattern_fill(buffers[0], 4 * SECTOR_SIZE, 0);
    pattern_fill(buffers[1], 4 * SECTOR_SIZE, 1);
    struct storage_request *first = item_prepare(
        0, STORAGE_WRITE, STORAGE_GRID, BROKEN_OFFSET - 2 * SECTOR_SIZE, 4 * SECTOR_SIZE);
    struct storage_request *second =
        item_prepare(1, STORAGE_WRITE, STORAGE_HEADERS, 0, 4 * SECTOR_SIZE);
    hooks.submits_until_mended = mended ? 2 : 0;
    submit_ordered(disk->storage, first, second);
    drain(disk->storage);
    expect_equal(items[0].done_order, 1);
    expect_equal(items[1].done_order, 2);
    const enum storage_result wanted = mended ? STORAGE_OK : STORAGE_IO_ERROR;
    expect(first->result == wanted && second->result == wanted);
    expect_equal(first->done_bytes, (mended ? 4 : 2) * SECTOR_SIZE);
    expect_equal(hooks.submits_until_mended, 0);

    const uint8_t *headers = read_back(disk, STORAGE_HEADERS, 0, 4 * SECTOR_SIZE);
    if (!mended) return !bytes_zero(headers, 4 * SECTOR_SIZE);
    expect(pattern_is(headers, 4 * SECTOR_SIZE, 1));
    const uint8_t *grid =
        read_back(disk, STORAGE_GRID, BROKEN_OFFSET - 2 * SECTOR_SIZE, 4 * SECTOR_SIZE);
    expect(pattern_is(grid, 4 * SECTOR_SIZE, 0));
    return false;
}

#define SHORT_ROUNDS 50

/* (U3) The limit is known: no pair that crosses it is linked, and order holds each time. */
static void
uring_short(struct disk *disk)
{
    limit_set(BROKEN_OFFSET);
    disk_reopen(disk);
    for (uint32_t round = 0; round < SHORT_ROUNDS; round++) expect(!pair_short(disk, false));
    expect(!pair_short(disk, true));
    limit_lift();
    expect_equal(hooks.submits_linked, 0);
    submit_ordered(
        disk->storage,
        item_prepare(2, STORAGE_WRITE, STORAGE_GRID, 0, SECTOR_SIZE),
        item_prepare(3, STORAGE_WRITE, STORAGE_HEADERS, 0, SECTOR_SIZE));
    drain(disk->storage);
    expect_equal(hooks.submits_linked, 0); /* A short write was seen. */
}

UNIT_TEST(u3_short_writes_go_on_in_order) { on_kinds(uring_short, DISK_URING, DISK_URING_DIRECT); }

/*
 * (U3) The limit is lowered while the ring is open. The first pair is linked, and the kernel may
 * have started its second; there is none after it.
 */
static void
uring_limit_lowered(struct disk *disk)
{
    for (int mended = 0; mended < 2; mended++) {
        disk_reopen(disk);
        hooks.submits_linked = 0;
        limit_set(BROKEN_OFFSET);
        (void) pair_short(disk, mended == 1);
        expect_equal(hooks.submits_linked, 1);
        const uint8_t zeros[4 * SECTOR_SIZE] __attribute__((aligned(SECTOR_SIZE))) = {0};
        memcpy(buffers[2], zeros, sizeof(zeros));
        submit(
            disk->storage,
            item_prepare(2, STORAGE_WRITE, STORAGE_HEADERS, 0, 4 * SECTOR_SIZE));
        drain(disk->storage);
        limit_set(BROKEN_OFFSET);
        for (uint32_t round = 0; round < SHORT_ROUNDS; round++) expect(!pair_short(disk, false));
        expect_equal(hooks.submits_linked, 1);
        limit_lift();
    }
}

UNIT_TEST(u3_no_pair_is_linked_after_a_short_write)
{
    on_kinds(uring_limit_lowered, DISK_URING, DISK_URING_DIRECT);
}

static void
uring_split(struct disk *disk)
{
    items_reset();
    hooks.submits_split = true;
    for (uint32_t i = 0; i < 6; i += 2) {
        pattern_fill(buffers[i], SECTOR_SIZE, i);
        pattern_fill(buffers[i + 1], SECTOR_SIZE, i + 1);
        submit_ordered(
            disk->storage,
            item_prepare(i, STORAGE_WRITE, STORAGE_GRID, i * SECTOR_SIZE, SECTOR_SIZE),
            item_prepare(i + 1, STORAGE_WRITE, STORAGE_PREPARES, i * SECTOR_SIZE, SECTOR_SIZE));
    }
    expect_equal(hooks.splits, 3);
    drain(disk->storage);
    for (uint32_t i = 0; i < 6; i += 2) {
        expect(items[i].request.result == STORAGE_OK);
        expect(items[i + 1].request.result == STORAGE_OK);
        expect(items[i].done_order < items[i + 1].done_order);
        const uint8_t *second = read_back(disk, STORAGE_PREPARES, i * SECTOR_SIZE, SECTOR_SIZE);
        expect(pattern_is(second, SECTOR_SIZE, i + 1));
    }
    pair_first_fails(disk);
    expect(hooks.splits > 3);
}

UNIT_TEST(u3_order_is_kept_if_the_kernel_splits_a_pair)
{
    on_kinds(uring_split, DISK_URING, DISK_URING_DIRECT);
}

/* Both entries of a pair are back, and are seen in the other order. */
static void
completions_reverse(void)
{
    while (io_uring_cq_ready(hooks.ring) < 2) {
        struct io_uring_cqe *completion;
        expect(io_uring_wait_cqe_nr(hooks.ring, &completion, 2) == 0);
    }
    const struct io_uring_cq *cq = &hooks.ring->cq;
    struct io_uring_cqe *a = &cq->cqes[*cq->khead & *cq->kring_mask];
    struct io_uring_cqe *b = &cq->cqes[(*cq->khead + 1) & *cq->kring_mask];
    const struct io_uring_cqe swapped = *a;
    *a = *b;
    *b = swapped;
    expect((a->res == -ECANCELED) != (b->res == -ECANCELED));
}

/*
 * (U3) The kernel cancels a second though its first is durable: it is submitted again, whichever of
 * the two is seen first.
 */
static void
uring_second_canceled(struct disk *disk)
{
    for (uint32_t round = 0; round < 4; round++) {
        items_reset();
        pattern_fill(buffers[0], SECTOR_SIZE, round);
        pattern_fill(buffers[1], SECTOR_SIZE, round + 4);
        hooks.seconds_canceled = 1;
        submit_ordered(
            disk->storage,
            item_prepare(0, STORAGE_WRITE, STORAGE_PREPARES, 0, SECTOR_SIZE),
            item_prepare(1, STORAGE_WRITE, STORAGE_HEADERS, 0, SECTOR_SIZE));
        expect_equal(hooks.seconds_canceled, 0);
        if (round % 2 == 1) completions_reverse();
        for (uint32_t polls = 0; disk->storage->in_flight_count > 0 && polls < 10000; polls++) {
            (void) storage_poll(disk->storage);
            (void) usleep(100);
        }
        expect_equal(disk->storage->in_flight_count, 0); /* Or the pair hangs for ever. */
        expect_equal(items[0].done_order, 1);
        expect_equal(items[1].done_order, 2);
        expect(items[0].request.result == STORAGE_OK && items[1].request.result == STORAGE_OK);
        const uint8_t *second = read_back(disk, STORAGE_HEADERS, 0, SECTOR_SIZE);
        expect(pattern_is(second, SECTOR_SIZE, round + 4));
    }
}

UNIT_TEST(uring_submits_a_canceled_second_again)
{
    on_kinds(uring_second_canceled, DISK_URING, DISK_URING_DIRECT);
}

static void
uring_put_off(struct disk *disk)
{
    hooks.submits_put_off = 5;
    pair_in_order(disk);
    expect_equal(hooks.submits_put_off, 0);

    /* Polls alone, as a host does it at its ticks, offer it again too. */
    items_reset();
    hooks.submits_put_off = 3;
    submit(disk->storage, item_prepare(0, STORAGE_WRITE, STORAGE_GRID, 0, SECTOR_SIZE));
    while (hooks.submits_put_off > 0) {
        expect_equal(storage_poll(disk->storage), 0);
    }
    drain(disk->storage);
    expect(items[0].request.result == STORAGE_OK);

    /* What is submitted meanwhile waits behind it, outside of the ring: see io_uring_submit. */
    items_reset();
    hooks.submits_put_off = 20;
    for (uint32_t i = 0; i < 12; i += 2) {
        submit_ordered(
            disk->storage,
            item_prepare(i, STORAGE_WRITE, STORAGE_GRID, i * SECTOR_SIZE, SECTOR_SIZE),
            item_prepare(i + 1, STORAGE_WRITE, STORAGE_PREPARES, i * SECTOR_SIZE, SECTOR_SIZE));
    }
    drain(disk->storage);
    expect_equal(done_count, 12);
}

UNIT_TEST(u2_one_submission_is_put_off_and_offered_again)
{
    on_kinds(uring_put_off, DISK_URING, DISK_URING_DIRECT);
}

/* What is want of space, and what is an error. */
static void
grow_error_kinds(struct disk *disk)
{
    static const struct {
        int error_number;
        enum storage_result result;
    } cases[] = {
        {ENOSPC, STORAGE_NO_SPACE},
        {EDQUOT, STORAGE_NO_SPACE},
        {EFBIG, STORAGE_NO_SPACE},
        {EIO, STORAGE_IO_ERROR},
        {EROFS, STORAGE_IO_ERROR},
    };
    char text[256] = "";
    uint64_t told = 0;
    for (uint32_t i = 0; i < ARRAY_COUNT(cases); i++) {
        hooks.fallocate_errno = cases[i].error_number;
        expect(!storage_os_failure_text(&disk->os, text, sizeof(text)) || i > 3);
        expect(!storage_os_growth_failure(&disk->os, &told, text, sizeof(text)));
        expect(storage_grow(disk->storage, STORAGE_GRID, 2 * GRID_SIZE) == cases[i].result);
        expect_equal(disk->storage->file_size_bytes[STORAGE_GRID], GRID_SIZE);
        if (cases[i].result != STORAGE_IO_ERROR) continue;
        /* The newest one, and each is told once. */
        char wanted[256];
        (void) snprintf(
            wanted,
            sizeof(wanted),
            "could not grow file \"grid\" at offset 1048576: %s",
            strerror(cases[i].error_number));
        expect(storage_os_failure_text(&disk->os, text, sizeof(text)));
        expect(strcmp(text, wanted) == 0);
        text[0] = '\0';
        expect(storage_os_growth_failure(&disk->os, &told, text, sizeof(text)));
        expect(strcmp(text, wanted) == 0);
    }
    /* It is tried again, and with success nothing is left to tell. */
    hooks.fallocate_errno = 0;
    expect(storage_grow(disk->storage, STORAGE_GRID, 2 * GRID_SIZE) == STORAGE_OK);
    expect(!storage_os_failure_text(&disk->os, text, sizeof(text)));
    expect(!storage_os_growth_failure(&disk->os, &told, text, sizeof(text)));
}

UNIT_TEST(growth_errors_are_told_from_want_of_space) { on_real_disks(grow_error_kinds); }

static void
growth_on_done(struct storage_growth *growth)
{
    expect(!growth->in_flight);
}

static struct storage_growth
growth_of(uint64_t size_new)
{
    return (struct storage_growth){
        .file = STORAGE_GRID,
        .size_bytes = size_new,
        .callback = growth_on_done,
    };
}

/* Requests of all kinds come and go while the file system takes its time; then the host is told. */
static void
growth_holds_nothing_up(struct disk *disk)
{
    struct storage *storage = disk->storage;
    for (uint32_t round = 2; round <= 4; round++) {
        struct storage_growth growth = growth_of(round * GRID_SIZE);
        items_reset();
        atomic_store(&growth_held, true);
        storage_grow_start(storage, &growth);
        for (uint32_t i = 0; i < 30; i += 3) {
            const uint64_t at = i * SECTOR_SIZE;
            submit(storage, item_prepare(i, STORAGE_WRITE, STORAGE_GRID, at, SECTOR_SIZE));
            submit_ordered(
                storage,
                item_prepare(
                    i + 1, STORAGE_WRITE, STORAGE_GRID, at + SECTOR_SIZE, SECTOR_SIZE),
                item_prepare(
                    i + 2, STORAGE_WRITE, STORAGE_GRID, at + 2 * SECTOR_SIZE, SECTOR_SIZE));
        }
        while (done_count < 30) (void) storage_wait(storage);
        expect(growth.in_flight);
        expect_equal(storage->in_flight_count, 1);
        expect_equal(storage->file_size_bytes[STORAGE_GRID], (round - 1) * GRID_SIZE);
        expect_equal(storage_poll(storage), 0);
        atomic_store(&growth_held, false);
        struct pollfd wait_fd = {.fd = storage_os_wait_fd(&disk->os), .events = POLLIN};
        expect_equal(poll(&wait_fd, 1, 60 * 1000), 1);
        while (growth.in_flight) (void) storage_wait(storage);
        expect_equal(growth.result, STORAGE_OK);
        expect_equal(storage->in_flight_count, 0);
        expect_equal(storage->file_size_bytes[STORAGE_GRID], round * GRID_SIZE);
        expect_equal(poll(&wait_fd, 1, 0), 0);
        expect(bytes_zero(read_back(disk, STORAGE_GRID, GRID_SIZE, 64 * KIB), 64 * KIB));
    }
}

UNIT_TEST(growth_goes_on_beside_requests) { on_real_disks(growth_holds_nothing_up); }

static void
close_while_growing(struct disk *disk)
{
    struct storage_growth growth = growth_of(2 * GRID_SIZE);
    storage_grow_start(disk->storage, &growth);
    storage_os_close(&disk->os);
    expect(growth.in_flight); /* Its callback never ran. */
    expect(disk_os_open(disk, false) == STORAGE_OS_OPENED);
    expect_equal(disk->storage->file_size_bytes[STORAGE_GRID], 2 * GRID_SIZE);
}

UNIT_TEST(closing_while_a_file_grows) { on_real_disks(close_while_growing); }

/* Closing waits for the kernel: nobody writes from or into a buffer afterwards. */
static void
close_in_flight(struct disk *disk)
{
    items_reset();
    for (uint32_t i = 0; i < 200; i++) {
        submit(
            disk->storage,
            item_prepare(i, STORAGE_WRITE, STORAGE_GRID, i * SECTOR_SIZE, SECTOR_SIZE));
    }
    storage_os_close(&disk->os);
    expect_equal(done_count, 0);
    expect(disk_os_open(disk, false) == STORAGE_OS_OPENED);
}

UNIT_TEST(closing_with_requests_in_flight) { on_real_disks(close_in_flight); }

/* Other processes ------------------------------------------------------------------------------ */

static void
refused_by_seccomp(struct disk *disk)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = ARRAY_COUNT(filter), .filter = filter};
    expect(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    expect(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);

    disk->kind = DISK_URING;
    expect(disk_os_open(disk, false) == STORAGE_OS_NO_URING);
    expect_equal(disk->report.error_number, EPERM);
    expect(strstr(disk->report.error_text, "io_uring_setup") != NULL);

    const struct storage_os_options options = {.directory = disk->directory};
    expect(storage_os_open(&disk->os, &options, &disk->report) == STORAGE_OS_OPENED);
    expect(disk->report.method == STORAGE_OS_SYNC);
    expect_equal(disk->report.uring_error_number, EPERM);
    const bool named = strstr(disk->report.uring_text, "seccomp") != NULL ||
                       strstr(disk->report.uring_text, "sysctl") != NULL;
    expect(named);
    disk->storage = disk->os.storage;
    disk->kind = DISK_SYNC;
    pair_in_order(disk);
    storage_os_close(&disk->os);
}

UNIT_TEST(auto_falls_back_where_io_uring_is_refused)
{
    static struct disk disk;
    if (!disk_open(&disk, DISK_SYNC)) return;
    storage_os_close(&disk.os);
    disk.storage = NULL;
    expect_equal(in_child(refused_by_seccomp, &disk), 0);
    disk_close(&disk);
}

static void
killed_while_writing(struct disk *disk)
{
    if (disk_os_open(disk, false) != STORAGE_OS_OPENED) _exit(2);
    items_reset();
    for (uint32_t i = 0; i < 16; i++) {
        memset(buffers[i], 0xDD, ITEM_SIZE_MAX);
        submit(
            disk->storage,
            item_prepare(i, STORAGE_WRITE, STORAGE_GRID, i * ITEM_SIZE_MAX, ITEM_SIZE_MAX));
    }
    (void) kill(getpid(), SIGKILL);
}

/* The lock stays until the last write of the one that was killed has ended. That takes a while. */
static enum storage_os_error
open_after_kill(struct disk *disk)
{
    enum storage_os_error error = STORAGE_OS_LOCKED;
    for (uint32_t i = 0; i < 6000 && error == STORAGE_OS_LOCKED; i++) {
        if (i > 0) (void) usleep(10000);
        error = disk_os_open(disk, false);
    }
    return error;
}

/* The next owner never sees a write of the one that was killed arrive after its own. */
static void
outlives_kill(struct disk *disk)
{
    storage_os_close(&disk->os);
    for (uint32_t round = 0; round < 5; round++) {
        expect(WIFSIGNALED(in_child(killed_while_writing, disk)));
        const enum storage_os_error error = open_after_kill(disk);
        expect(error == STORAGE_OS_OPENED);
        if (error != STORAGE_OS_OPENED) return;
        items_reset();
        for (uint32_t i = 0; i < 16; i++) {
            pattern_fill(buffers[i], SECTOR_SIZE, i);
            submit(
                disk->storage,
                item_prepare(i, STORAGE_WRITE, STORAGE_GRID, i * ITEM_SIZE_MAX, SECTOR_SIZE));
        }
        drain(disk->storage);
        for (uint32_t i = 0; i < 16; i++) {
            const uint8_t *bytes = read_back(disk, STORAGE_GRID, i * ITEM_SIZE_MAX, SECTOR_SIZE);
            expect(pattern_is(bytes, SECTOR_SIZE, i));
        }
        storage_os_close(&disk->os);
    }
    disk->storage = NULL;
}

UNIT_TEST(next_owner_is_safe_after_a_kill) { on_real_disks(outlives_kill); }

UNIT_TEST(clock_goes_forward)
{
    struct clock clock;
    clock_os_init(&clock);
    uint64_t before_ns = clock_monotonic_ns(&clock);
    for (int i = 0; i < 1000; i++) {
        const uint64_t now_ns = clock_monotonic_ns(&clock);
        expect(now_ns >= before_ns);
        before_ns = now_ns;
    }
    expect(clock_realtime_ns(&clock) > UINT64_C(1600000000) * NS_PER_S);
}

UNIT_MAIN(test_storage_os)
