/* SPDX-License-Identifier: PostgreSQL */
/*
 * Request slots: how backends and the worker hand each other bytes. They are in shared memory, so
 * they contain indexes and no pointers.
 *
 * Slot i < small_count is small and belongs to the backend of proc number i, so nobody competes for
 * it. The slots above are large and shared: a backend takes any free one, or waits for one.
 *
 *     sleepers | small_count + bulk_count slots | small data … | bulk data …
 *
 * Data is input, then reply.
 *
 * States, and who changes them. Each change is a compare-and-exchange, which is also a full memory
 * barrier.
 *
 *     FREE → FILLING        a backend: becomes the slot's owner
 *     FILLING → SUBMITTED   owner, after it wrote the request; then it pushes to the ready list
 *     SUBMITTED → RUNNING   worker, when it takes the ready list
 *     RUNNING → DONE        worker, after it wrote the answer; then it calls the owner
 *     FILLING, DONE → FREE  owner
 *     SUBMITTED → WITHDRAWN owner, leaving before the worker took it: it never runs
 *     RUNNING → ABANDONED   owner, leaving while it runs
 *     WITHDRAWN, ABANDONED → FREE   worker
 *
 * Numbered invariants:
 *  (K1) A slot is on the ready list from SUBMITTED until the worker takes it, hence at most once.
 *  (K2) Request fields and input are written only in FILLING, by the owner; read only in RUNNING or
 *       ABANDONED, by the worker. The same is true of the instant that a read asks for; that of the
 *       answer is written over it (K3).
 *  (K3) Answer fields and reply are written only in RUNNING or ABANDONED, by the worker; read only
 *       in DONE, by the owner.
 *  (K4) The worker never ends between taking the ready list and marking what it took RUNNING. So
 *       when a worker ends, what is SUBMITTED is still on the list, and the next worker takes it;
 *       what is RUNNING is lost.
 *
 *  (K5) An owner sleeps only as one of `sleepers` (os/sleepers.h) that wait for their slot to be
 *       DONE; and the worker calls it after it has made the slot DONE, and wakes it before it looks
 *       for more work. So no owner sleeps on whose slot is DONE (Q1), and all whom one prepare
 *       answers are woken by one call of the kernel for every 32 of them.
 *
 * A futex costs a third of what a latch does: a signal, a descriptor to read it from, and three
 * system calls. Signals interrupt that sleep; only one that comes in the instant before it goes
 * unnoticed, until the time is up.
 *
 * The ready list is a stack to which backends push, and which the worker takes as a whole. Since it
 * is taken as a whole, the compare-and-exchange of a push can't be fooled by a head that left and
 * came back: a push only needs the head as the link to what follows.
 *
 * When all goes well: FREE, FILLING, SUBMITTED, RUNNING, DONE, FREE. What can go wrong:
 *  - The owner is cancelled, or ends, before the worker has taken the slot. WITHDRAWN: it never
 *    runs.
 *  - The same while it runs. ABANDONED: it is executed, and nobody reads the answer. The client
 *    doesn't know the outcome of a write, and may retry with the same ids.
 *  - The worker ends. It answers what is RUNNING first; the rest stays for the next worker (K4).
 */
#ifndef LEDGER_PG_SLOTS_H
#define LEDGER_PG_SLOTS_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/condition_variable.h"

#include "config.h"
#include "engine/engine.h"
#include "os/sleepers.h"

enum slot_state {
    SLOT_FREE,
    SLOT_FILLING,
    SLOT_SUBMITTED,
    SLOT_RUNNING,
    SLOT_DONE,
    SLOT_WITHDRAWN,
    SLOT_ABANDONED,
};

/* How a request ended. All but the last four are the same as in enum engine_status. */
enum slot_outcome {
    SLOT_OK = ENGINE_OK,
    SLOT_INVALID = ENGINE_INVALID,
    SLOT_MEMORY_FULL = ENGINE_MEMORY_FULL,
    SLOT_DISK_FULL = ENGINE_DISK_FULL,
    SLOT_FAILED = ENGINE_FAILED,
    SLOT_DAMAGED = ENGINE_DAMAGED,
    SLOT_BUSY = ENGINE_BUSY,
    SLOT_NO_QUORUM = ENGINE_NO_QUORUM,
    SLOT_UNKNOWN = ENGINE_UNKNOWN,
    /* The same two, but for room: this node has none for what is committed. */
    SLOT_NO_ROOM,
    SLOT_NO_ROOM_UNKNOWN,
    SLOT_LOST,        /* The worker ended while it ran. It may have taken effect. */
    SLOT_NOT_RUNNING, /* The engine wasn't running. Nothing happened. */
};

/*
 * Room for 16 events in, and 23 transfers or 32 accounts out. Nearly every call fits that isn't a
 * bulk load.
 */
#define SLOT_SMALL_INPUT_BYTES (16 * EVENT_SIZE)
#define SLOT_SMALL_REPLY_BYTES 4096
#define SLOT_BULK_INPUT_BYTES  ((EVENTS_PER_BATCH_MAX * EVENT_SIZE + 4095) / 4096 * 4096)
#define SLOT_BULK_REPLY_BYTES  ((RESULTS_MAX * sizeof(struct transfer_row) + 4095) / 4096 * 4096)

static_assert(SLOT_SMALL_REPLY_BYTES >= 16 * RESULT_SIZE, "results of 16 events fit");
static_assert(
    CHANGE_EVENTS_MAX * sizeof(struct change_event) <= SLOT_BULK_REPLY_BYTES,
    "the largest read fits");

#define SLOT_NONE       UINT32_MAX
#define SLOT_DETAIL_MAX 96

/* Aligned, so that no two slots share a cache line. */
struct slot {
    pg_atomic_uint32 state;
    uint32 next; /* The ready list: index + 1, or 0. Owner before SUBMITTED, then the worker. */
    struct sleeper owner; /* Sleeps until the state is DONE (K5). */

    /* The request (K2). */
    uint32 operation;
    uint32 input_size;
    /* The instant that a read asks for; then, in the answer, the instant that it shows. */
    struct ledger_instant instant;
    uint32_t wait_ms; /* How long to wait without a working primary; 0: without an end. */
    bool local;       /* For reads: this node's state will do. */

    /* The answer (K3). */
    uint32 outcome; /* enum slot_outcome */
    uint32 reply_size;
    /* For SLOT_INVALID, SLOT_DAMAGED, SLOT_NO_QUORUM and SLOT_UNKNOWN. */
    char detail[SLOT_DETAIL_MAX];
} pg_attribute_aligned(128);

struct slots {
    uint32 small_count;
    uint32 bulk_count;
    pg_atomic_uint32 ready_head; /* Index + 1 of the slot that was pushed last, or 0. */
    /* Signalled when a large slot becomes free, and when the worker frees a slot. */
    ConditionVariable freed;
};

/* Bytes of everything, and its first state. */
Size slots_size(uint32 small_count, uint32 bulk_count);
void slots_init(struct slots *slots, uint32 small_count, uint32 bulk_count);

uint32 slots_count(const struct slots *slots);
struct slot *slots_slot(struct slots *slots, uint32 index);
void *slots_input(struct slots *slots, uint32 index);
void *slots_reply(struct slots *slots, uint32 index);
uint32 slots_input_size_max(const struct slots *slots, uint32 index);
uint32 slots_reply_size_max(const struct slots *slots, uint32 index);

/* ---- For backends ---------------------------------------------------------------------------- */

/*
 * FREE → FILLING, for the caller's own small slot, or for any large one. SLOT_NONE if that slot is
 * taken, or if all large ones are.
 */
uint32 slots_reserve_small(struct slots *slots, uint32 procno);
uint32 slots_reserve_bulk(struct slots *slots);

/* FILLING → SUBMITTED, and pushes it to the ready list. The caller must then wake the worker. */
void slots_submit(struct slots *slots, uint32 index);

bool slots_done(struct slots *slots, uint32 index);

/*
 * Sleeps until the slot is DONE, or a signal comes, or some milliseconds have passed; and sometimes
 * for no reason, which is counted. False if the time was up.
 */
bool slots_sleep(struct slots *slots, uint32 index);

/* Is no other request waiting to be taken? */
bool slots_alone(struct slots *slots, uint32 index);

/* SUBMITTED → WITHDRAWN, if the worker hasn't taken it yet. */
bool slots_withdraw(struct slots *slots, uint32 index);

/* The owner is done with the slot, whatever its state. */
void slots_release(struct slots *slots, uint32 index);

/* ---- For the worker -------------------------------------------------------------------------- */

/* Is there something to take? */
bool slots_ready(struct slots *slots);

/*
 * Takes the ready list: writes the indexes of its slots to `taken` (at most slots_count of them),
 * in the order of their arrival. All are RUNNING then.
 */
uint32 slots_take(struct slots *slots, uint32 *taken);

/* Has the owner left a slot that the worker took? */
bool slots_abandoned(struct slots *slots, uint32 index);

/* Ends a slot that the worker took. The owner, if it hasn't left and sleeps, is called. */
void slots_finish(struct slots *slots, uint32 index, enum slot_outcome outcome);

/* Wakes all owners that were called. To be done before the worker sleeps or waits for anything. */
void slots_wake(struct slots *slots);

/* What sleeping and waking has come to since the server started. */
struct sleepers_stats slots_stats(struct slots *slots);

/*
 * Ends all slots that a worker took and won't finish. Wakes their owners, and those of slots that
 * are DONE.
 */
void slots_lose(struct slots *slots);

/* Answers everything on the ready list by SLOT_NOT_RUNNING, and wakes the owners. */
void slots_refuse(struct slots *slots);

#endif
