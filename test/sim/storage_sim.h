/* SPDX-License-Identifier: PostgreSQL */
/*
 * The simulated disk behind io/storage.h.
 *
 * THE DISK. Four files in memory. A write takes effect, whole, at the moment it completes, and is
 * then durable; a read sees the file as it is at the moment it completes. Everything is a
 * function of the options, of the PRNG that the caller passes in, and of the calls made: the same
 * three give the same trace.
 *
 *  file           who writes it           what is in flight at a time
 *  superblock     superblock copies       one copy; a crash can spoil that one only
 *  prepares.wal   prepares, a ring        several, side by side, never overlapping
 *  headers.wal    sectors of 16 headers   sectors that also hold older headers
 *  grid           blocks, copy-on-write   several; none that the durable checkpoint refers to
 *
 * The disk treats all four alike; `fault_allowed` is where the simulator makes them different.
 *
 * A write that gathers is one write like any other: what becomes of its sectors doesn't depend on
 * the buffers that they come from.
 *
 * TIME stands still, except in storage_sim_tick() and in a poll that waits. A request is due a
 * random number of ticks (latency_min … latency_max) after it started. A poll completes, in
 * random order, all requests that are due and were started before the poll. A poll that waits
 * first moves time to the earliest request that is due. The second of an ordered pair starts when
 * the first has completed OK, just before the first's callback.
 *
 * A growth goes on beside requests in the same way, and takes up to four times as long.
 *
 * CRASH (power cut, or kill -9 of the host). Each request started, each completed and each growth
 * completed is an event. storage_sim_crash_after(n) fires at the n-th: after the request has
 * started, or before its completion takes effect. Every write in flight then becomes, on its own,
 * whole, absent, a prefix, or a mixture; in a mixture each sector is, on its own: new, old,
 * garbage, or torn, and in a torn sector each piece of 512 bytes is new, old or garbage. Sectors
 * that were not being written don't change. A growth under way leaves the file at any size of
 * whole sectors between the old and the new. From then on every request completes STORAGE_IO_ERROR
 * without effect, until storage_sim_restart(), which forgets what is in flight without looking at
 * it: the requests may be gone by then.
 *
 * FAULTS, each with a rate in its option, 0 = never. Before each, `fault_allowed` (where set) is
 * asked about the bytes that it would damage, and may veto it.
 *  - write error: completes STORAGE_IO_ERROR; each sector is new, old or garbage.
 *  - lost write: completes OK, nothing is written.
 *  - misdirected write: completes OK, the bytes land at another offset in the same file. Asked
 *    about both places. Never lands on a write in flight.
 *  - latent sector error: a read finds one of its sectors unreadable, and completes
 *    STORAGE_IO_ERROR, as does each later read of that sector, until it is overwritten.
 *  - rot: a read finds one of its sectors changed; the change stays until it is overwritten.
 *  - growth error: growth gives STORAGE_IO_ERROR, and leaves the file at any size between, which
 *    shows at the next restart. Growing it again before that is asserted against.
 *  - no space: growth beyond space_limit_bytes over all files gives STORAGE_NO_SPACE, nothing
 *    changed.
 * storage_sim_rot() and storage_sim_latent_error() do the same at a place of the caller's choice,
 * and don't ask. A sector that a fault has damaged (not a crash) is `faulty` until overwritten.
 *
 * CHECKS, by assertion. Alignment and bounds; no request overlaps a write in flight; a write's
 * buffer does not change in flight; polls don't nest; waiting needs something in flight. A read's
 * buffer is garbage from submit until it completes OK.
 */
#ifndef LEDGER_TEST_SIM_STORAGE_SIM_H
#define LEDGER_TEST_SIM_STORAGE_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "base/u128.h"
#include "io/storage.h"
#include "sim/memory.h"

/* Requests in flight at a time, seconds of ordered pairs included. */
#define STORAGE_SIM_FLIGHTS_MAX 1024

enum storage_sim_fault {
    STORAGE_SIM_WRITE_ERROR,
    STORAGE_SIM_LOST_WRITE,
    STORAGE_SIM_MISDIRECTED_WRITE,
    STORAGE_SIM_LATENT_ERROR,
    STORAGE_SIM_ROT,
    STORAGE_SIM_GROW_ERROR,
};

/* All zero: files of no bytes, no latency, no faults. */
struct storage_sim_options {
    uint64_t file_size_bytes[STORAGE_FILE_COUNT]; /* At init; zero-filled. */
    uint64_t space_limit_bytes;                   /* Over all files; 0: no limit. */

    uint32_t latency_min_ticks;
    uint32_t latency_max_ticks;

    /* Per million writes. */
    uint32_t write_error_per_million;
    uint32_t lost_write_per_million;
    uint32_t misdirected_write_per_million;

    /* Per million growths. */
    uint32_t grow_error_per_million;

    /* Per million reads. */
    uint32_t latent_error_per_million;
    uint32_t rot_per_million;

    /* NULL: every fault is allowed. */
    bool (*fault_allowed)(
        void *context, enum storage_file file, uint64_t offset_bytes, uint64_t size_bytes);
    void *fault_context;

    /*
     * NULL, or called after each write that had an effect, or should have had. `done`: it was
     * reported to be OK; otherwise it was torn, and what it left is on disk.
     */
    void (*wrote)(void *context, const struct storage_request *write, bool done);
    void *wrote_context;
};

struct storage_sim_counters {
    uint64_t submits;
    uint64_t reads;
    uint64_t read_bytes;
    uint64_t writes;
    uint64_t write_bytes;
    uint64_t grows;
    uint64_t crashes;
    uint64_t write_errors;
    uint64_t lost_writes;
    uint64_t misdirected_writes;
    uint64_t latent_errors; /* Sectors made unreadable. */
    uint64_t rots;          /* Sectors rotten. */
    uint64_t grow_errors;
    uint64_t faults_vetoed;
};

struct storage_sim_file {
    uint8_t *bytes;
    uint8_t *sector_flags; /* One a sector. */
    /* On disk. Differs from storage's only from a crash or growth error to the restart. */
    uint64_t size_bytes;
    uint64_t size_most_bytes; /* Beyond what it ever had, all is zero, up to … */
    uint64_t capacity_bytes;  /* … what `bytes` points to. */
    struct sim_memory memory; /* That is there, once the file has grown. */
};

struct storage_sim_flight {
    struct storage_request *request;
    uint64_t due_tick;
    uint64_t start_index;  /* Starts are numbered. */
    u128 content_checksum; /* Of a write's buffers. */
};

struct storage_sim {
    struct storage storage;

    /* May be changed at any time between calls, except the initial sizes. */
    struct storage_sim_options options;

    /* Read only for others. */
    struct storage_sim_counters counters;
    uint64_t tick;
    bool crashed;
    enum storage_sim_fault fault_asked; /* What fault_allowed is being asked about. */
    u128 trace_hash; /* Of every start, completion, growth, crash and restart so far. */

    /* Private. */
    struct prng *prng;
    struct storage_sim_file files[STORAGE_FILE_COUNT];
    struct storage_sim_flight flights[STORAGE_SIM_FLIGHTS_MAX];
    uint32_t flight_count; /* Started ones; a waiting second is reached through its first. */
    uint64_t start_count;
    uint64_t growth_due_tick; /* Of storage.growing. */
    uint64_t growth_start_index;
    uint64_t crash_fuse; /* Events until the crash; 0: none is planned. */
    bool polling;
};

/* The PRNG stays the caller's, and must outlive the disk. */
void storage_sim_init(
    struct storage_sim *sim, const struct storage_sim_options *options, struct prng *prng);

/* Nothing in flight is looked at. */
void storage_sim_free(struct storage_sim *sim);

/* Lets time pass by one tick. */
void storage_sim_tick(struct storage_sim *sim);

/* The n-th event from now crashes. 0: no crash is planned any more. */
void storage_sim_crash_after(struct storage_sim *sim, uint64_t event_count);

void storage_sim_crash_now(struct storage_sim *sim);

/* After a crash, or with nothing in flight. File sizes are then those on disk. Options stay. */
void storage_sim_restart(struct storage_sim *sim);

/* Changes at least one bit in each sector that the range touches. The range need not be aligned. */
void storage_sim_rot(
    struct storage_sim *sim, enum storage_file file, uint64_t offset_bytes, uint64_t size_bytes);

/* Makes each sector that the range touches unreadable. */
void storage_sim_latent_error(
    struct storage_sim *sim, enum storage_file file, uint64_t offset_bytes, uint64_t size_bytes);

/* True if a fault has damaged a sector that the range touches, and it was not overwritten since. */
bool storage_sim_faulty(
    const struct storage_sim *sim,
    enum storage_file file,
    uint64_t offset_bytes,
    uint64_t size_bytes);

/* The bytes on disk, to look at and to change. Valid until the file grows. */
uint8_t *storage_sim_bytes(struct storage_sim *sim, enum storage_file file);

#endif
