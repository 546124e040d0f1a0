/* SPDX-License-Identifier: PostgreSQL */
/*
 * Disks for the tests of io/storage.h: the simulated one, and the real ones with and without
 * O_DIRECT, in a directory of their own under $TMPDIR or build/.
 *
 * Real failures come from RLIMIT_FSIZE (a write beyond it fails, one that crosses it ends short).
 * What the kernel cannot be brought to do is done by our own pwrite, pwritev, fallocate and
 * io_uring_submit, which are called instead of the libraries'. Include this file first: it needs
 * _GNU_SOURCE.
 */
#ifndef LEDGER_TEST_UNIT_STORAGE_FIXTURE_H
#define LEDGER_TEST_UNIT_STORAGE_FIXTURE_H

#define _GNU_SOURCE 1

#include <liburing.h>
#undef BLOCK_SIZE

#include <stdatomic.h>

#include "base/prng.h"
#include "base/units.h"
#include "os/storage_os.h"
#include "sim/storage_sim.h"

#define GRID_SIZE     MIB
#define BROKEN_OFFSET (UINT64_C(512) * KIB)

/* Interposed calls ----------------------------------------------------------------------------- */

struct storage_hooks {
    bool fallocate_unsupported;
    int fallocate_errno; /* 0: it works. */
    int fsync_errno;     /* 0: it works. */
    int fadvise_errno;   /* 0: it works. */
    int fsync_fd;        /* That was synced last. */
    const char *fsync_removes; /* An empty directory that another process removes meanwhile. */
    uint32_t drops;      /* Files whose cached pages were dropped, just after a sync. */
    uint64_t pwrite_size_max;      /* 0: whatever is asked for. Of pwritev too. */
    uint32_t pwritevs;
    uint32_t pwrites;
    uint32_t submits;              /* Submissions that the kernel has seen. */
    uint32_t submits_linked;       /* Of these, pairs whose first is linked. */
    uint32_t submits_put_off;      /* So many submissions are answered EAGAIN. */
    bool submits_split;            /* Of pairs, only the first is taken. */
    uint32_t submits_until_mended; /* The limit is lifted just before the n-th. */
    uint32_t splits;
    uint32_t seconds_canceled; /* The kernel cancels the seconds of so many pairs. */
    struct io_uring *ring;     /* That was used last. */
};

extern struct storage_hooks hooks;

/* Growth does not get on; set and looked at by different threads. */
extern atomic_bool growth_held;

/* Writes beyond this size of a file fail; lifted: none do. */
void limit_set(uint64_t size);
void limit_lift(void);

/* Disks ---------------------------------------------------------------------------------------- */

/* Every write that is submitted here is marked as solo. AUTO has found plain calls to be faster. */
enum disk_kind {
    DISK_SIM,
    DISK_SYNC,
    DISK_SYNC_DIRECT,
    DISK_AUTO,
    DISK_AUTO_DIRECT,
    DISK_URING,
    DISK_URING_DIRECT,
};
#define DISK_KIND_COUNT 7

struct disk {
    enum disk_kind kind;
    struct storage *storage;
    struct prng prng;
    struct storage_sim sim;
    struct storage_os os;
    struct storage_os_report report;
    char directory[256];
};

extern const uint64_t disk_size_bytes[STORAGE_FILE_COUNT];

bool kind_direct(enum disk_kind kind);
enum storage_os_method kind_method(enum disk_kind kind);

/* Measures until the given way is known to be the faster one, just after a trial of the other. */
void choice_teach(struct storage_choice *choice, enum storage_way faster);

/* A new empty directory's name; nothing of that name exists. */
void directory_name(char *directory, size_t size);

/* How many entries it has; removes them, or the directory too. */
uint32_t directory_entries(const char *directory, bool remove_them);
void directory_remove(const char *directory);

/* Opens, and perhaps creates, the files of a real disk. */
enum storage_os_error disk_os_open(struct disk *disk, bool create);

/* False, with a note, where this machine has not got such a disk. */
bool disk_open(struct disk *disk, enum disk_kind kind);

void disk_close(struct disk *disk);

/* As after a restart of the host. */
void disk_reopen(struct disk *disk);

/* Writes that begin at BROKEN_OFFSET or later fail. */
void disk_break(struct disk *disk);
void disk_mend(struct disk *disk);

typedef void disk_test(struct disk *disk);

/* Run the test on each of these kinds that this machine has. */
void on_kinds(disk_test *test, enum disk_kind first, enum disk_kind last);
void on_every_disk(disk_test *test);
void on_real_disks(disk_test *test);

/* Requests ------------------------------------------------------------------------------------- */

#define ITEMS_MAX     512
#define ITEM_SIZE_MAX (UINT64_C(64) * KIB)

struct item {
    struct storage_request request;
    uint32_t done_order; /* 1 …; 0: not done. */
    void *gathered[STORAGE_BUFFERS_MAX];
};

extern struct item items[ITEMS_MAX];
extern uint8_t buffers[ITEMS_MAX][ITEM_SIZE_MAX]; /* Sector-aligned. */
extern uint32_t done_count;

/* True during a submission: no callback may run then. */
extern bool inside_submit;

/* The callback of items: notes when they are done. */
void item_on_done(struct storage_request *request);

/* Items are forgotten; item `index` becomes a request with the buffer of that number. */
void items_reset(void);
struct storage_request *item_prepare(
    uint32_t index,
    enum storage_direction direction,
    enum storage_file file,
    uint64_t offset_bytes,
    uint64_t size);

void submit(struct storage *storage, struct storage_request *request);
void submit_ordered(
    struct storage *storage,
    struct storage_request *first,
    struct storage_request *second);

/* Until nothing is in flight. */
void drain(struct storage *storage);

/* Each sector of each item has its own content. */
void pattern_fill(uint8_t *bytes, uint64_t size, uint64_t seed);
bool pattern_is(const uint8_t *bytes, uint64_t size, uint64_t seed);

/* What is on disk there; good until the next call. */
const uint8_t *read_back(
    struct disk *disk,
    enum storage_file file,
    uint64_t offset_bytes,
    uint64_t size);

/*
 * A write that gathers: a buffer of each of the items from `index` on, which their numbers have
 * filled. They are taken from the last one to the first, so that they don't lie side by side.
 */
struct storage_request *gather_prepare(
    uint32_t index,
    uint32_t count,
    enum storage_file file,
    uint64_t offset_bytes,
    uint32_t size);

/* Buffers that gather_prepare has filled lie on disk in their order. */
void expect_gathered(
    struct disk *disk,
    const struct storage_request *write,
    uint32_t index,
    uint32_t count);

/* The same buffers, wiped, get back what lies there: each its part, in one read. */
void expect_scattered(struct disk *disk, struct storage_request *request, uint32_t index);

/* Cases that several tests are made of --------------------------------------------------------- */

void round_trip(struct disk *disk);
void pair_in_order(struct disk *disk);

/* The first begins where writes fail; the second would succeed. */
void pair_first_fails(struct disk *disk);

/* Runs a body in a child that ends by _exit or a signal; returns its wait status. */
int in_child(void (*body)(struct disk *disk), struct disk *disk);

#endif
