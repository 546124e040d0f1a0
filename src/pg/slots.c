/* SPDX-License-Identifier: PostgreSQL */
#include "pg/slots.h"

#include "storage/shmem.h"

#define SLOT_SMALL_BYTES ((Size) SLOT_SMALL_INPUT_BYTES + SLOT_SMALL_REPLY_BYTES)
#define SLOT_BULK_BYTES  ((Size) SLOT_BULK_INPUT_BYTES + SLOT_BULK_REPLY_BYTES)
#define SLOTS_ALIGNMENT  128

/* How late a signal may be noticed that comes in the instant before the sleep. */
#define SLEEP_MS 50

static_assert(SLOTS_ALIGNMENT == SLEEPERS_ALIGNMENT, "sleepers are aligned");
static_assert(sizeof(struct slot) % SLOTS_ALIGNMENT == 0, "slots don't share cache lines");
static_assert(SLOT_SMALL_INPUT_BYTES % SLOTS_ALIGNMENT == 0, "data is aligned");
static_assert(SLOT_SMALL_BYTES % SLOTS_ALIGNMENT == 0, "data is aligned");

/* ---- Layout ---------------------------------------------------------------------------------- */

static Size
header_size(void)
{
    return TYPEALIGN(SLOTS_ALIGNMENT, sizeof(struct slots));
}

/* At most one sleeper a slot. */
static Size
sleepers_part_size(uint32 count)
{
    return TYPEALIGN(SLOTS_ALIGNMENT, sleepers_size(count));
}

Size
slots_size(uint32 small_count, uint32 bulk_count)
{
    Size size = header_size() + SLOTS_ALIGNMENT;
    size = add_size(size, sleepers_part_size(small_count + bulk_count));
    size = add_size(size, mul_size(small_count + bulk_count, sizeof(struct slot)));
    size = add_size(size, mul_size(small_count, SLOT_SMALL_BYTES));
    return add_size(size, mul_size(bulk_count, SLOT_BULK_BYTES));
}

uint32
slots_count(const struct slots *slots)
{
    return slots->small_count + slots->bulk_count;
}

static struct sleepers *
slots_sleepers(struct slots *slots)
{
    return (struct sleepers *) (void *) ((char *) slots + header_size());
}

static char *
slots_array(struct slots *slots)
{
    return (char *) slots_sleepers(slots) + sleepers_part_size(slots_count(slots));
}

struct slot *
slots_slot(struct slots *slots, uint32 index)
{
    assert(index < slots_count(slots));
    return (struct slot *) (void *) (slots_array(slots) + (Size) index * sizeof(struct slot));
}

static bool
slot_is_small(const struct slots *slots, uint32 index)
{
    assert(index < slots_count(slots));
    return index < slots->small_count;
}

void *
slots_input(struct slots *slots, uint32 index)
{
    const Size array_size = (Size) slots_count(slots) * sizeof(struct slot);
    char *const small_data = slots_array(slots) + array_size;
    if (slot_is_small(slots, index)) return small_data + index * SLOT_SMALL_BYTES;
    char *const bulk_data = small_data + slots->small_count * SLOT_SMALL_BYTES;
    return bulk_data + (index - slots->small_count) * SLOT_BULK_BYTES;
}

void *
slots_reply(struct slots *slots, uint32 index)
{
    return (char *) slots_input(slots, index) + slots_input_size_max(slots, index);
}

uint32
slots_input_size_max(const struct slots *slots, uint32 index)
{
    return slot_is_small(slots, index) ? SLOT_SMALL_INPUT_BYTES : SLOT_BULK_INPUT_BYTES;
}

uint32
slots_reply_size_max(const struct slots *slots, uint32 index)
{
    return slot_is_small(slots, index) ? SLOT_SMALL_REPLY_BYTES : SLOT_BULK_REPLY_BYTES;
}

/* What holds of the whole at any moment, whatever sessions are doing. */
static void
slots_invariants(struct slots *slots)
{
    assert((uintptr_t) slots % SLOTS_ALIGNMENT == 0); /* No two slots share a cache line. */
    assert(slots->small_count > 0 && slots->bulk_count > 0);
    /* (K1) The list begins with a slot, or nowhere: all else would be the memory of others. */
    assert(pg_atomic_read_u32(&slots->ready_head) <= slots_count(slots));
}

/*
 * What holds of a slot that the worker has taken: other processes have written it, and the engine
 * will trust it (K2).
 */
static void
slot_invariants(struct slots *slots, uint32 index)
{
    const struct slot *slot = slots_slot(slots, index);
    const uint32 state = pg_atomic_read_u32(&slots_slot(slots, index)->state);
    assert(state == SLOT_RUNNING || state == SLOT_ABANDONED);
    assert(slot->next <= slots_count(slots)); /* (K1) */
    assert(slot->input_size <= slots_input_size_max(slots, index));
}

void
slots_init(struct slots *slots, uint32 small_count, uint32 bulk_count)
{
    slots->small_count = small_count;
    slots->bulk_count = bulk_count;
    pg_atomic_init_u32(&slots->ready_head, 0);
    ConditionVariableInit(&slots->freed);
    sleepers_init(slots_sleepers(slots), slots_count(slots));
    for (uint32 i = 0; i < slots_count(slots); i++) {
        struct slot *slot = slots_slot(slots, i);
        memset(slot, 0, sizeof(*slot));
        pg_atomic_init_u32(&slot->state, SLOT_FREE);
    }
    slots_invariants(slots);
}

/* ---- Changes of state ------------------------------------------------------------------------ */

static bool
slot_change(struct slot *slot, enum slot_state from, enum slot_state to)
{
    uint32 expected = from;
    return pg_atomic_compare_exchange_u32(&slot->state, &expected, to);
}

static void
slot_must_change(struct slot *slot, enum slot_state from, enum slot_state to)
{
    const bool changed = slot_change(slot, from, to);
    assert(changed);
}

static bool
slot_reserve(struct slot *slot)
{
    if (pg_atomic_read_u32(&slot->state) != SLOT_FREE) return false;
    return slot_change(slot, SLOT_FREE, SLOT_FILLING);
}

uint32
slots_reserve_small(struct slots *slots, uint32 procno)
{
    if (procno >= slots->small_count) return SLOT_NONE;
    return slot_reserve(slots_slot(slots, procno)) ? procno : SLOT_NONE;
}

uint32
slots_reserve_bulk(struct slots *slots)
{
    for (uint32 i = slots->small_count; i < slots_count(slots); i++) {
        if (slot_reserve(slots_slot(slots, i))) return i;
    }
    return SLOT_NONE;
}

void
slots_submit(struct slots *slots, uint32 index)
{
    struct slot *slot = slots_slot(slots, index);
    slot_must_change(slot, SLOT_FILLING, SLOT_SUBMITTED); /* (K1) */
    uint32 head = pg_atomic_read_u32(&slots->ready_head);
    do {
        slot->next = head;
    } while (!pg_atomic_compare_exchange_u32(&slots->ready_head, &head, index + 1));
}

bool
slots_done(struct slots *slots, uint32 index)
{
    if (pg_atomic_read_u32(&slots_slot(slots, index)->state) != SLOT_DONE) return false;
    pg_read_barrier();
    return true;
}

bool
slots_sleep(struct slots *slots, uint32 index)
{
    struct slot *slot = slots_slot(slots, index);
    const enum sleep_end how = sleepers_sleep( /* (K5) */
        slots_sleepers(slots),
        &slot->owner,
        &slot->state.value,
        SLOT_DONE,
        SLEEP_MS);
    return how != SLEEP_TIMED_OUT;
}

bool
slots_withdraw(struct slots *slots, uint32 index)
{
    return slot_change(slots_slot(slots, index), SLOT_SUBMITTED, SLOT_WITHDRAWN);
}

static void
slot_free(struct slots *slots, uint32 index, enum slot_state from)
{
    slot_must_change(slots_slot(slots, index), from, SLOT_FREE);
    ConditionVariableBroadcast(&slots->freed);
}

void
slots_release(struct slots *slots, uint32 index)
{
    struct slot *slot = slots_slot(slots, index);
    const bool small = slot_is_small(slots, index);
    /*
     * Meanwhile the worker may change it from SUBMITTED to RUNNING, or to DONE. Then one of the
     * next branches applies.
     */
    if (slot_change(slot, SLOT_SUBMITTED, SLOT_WITHDRAWN)) return;
    if (slot_change(slot, SLOT_RUNNING, SLOT_ABANDONED)) return;
    const uint32 state = pg_atomic_read_u32(&slot->state);
    assert(state == SLOT_FILLING || state == SLOT_DONE);
    slot_must_change(slot, state, SLOT_FREE);
    /* Only the releasing backend itself can want its small slot, so nobody waits for it. */
    if (!small) ConditionVariableBroadcast(&slots->freed);
}

bool
slots_alone(struct slots *slots, uint32 index)
{
    const uint32 head = pg_atomic_read_u32(&slots->ready_head);
    return head == 0 || (head == index + 1 && slots_slot(slots, index)->next == 0);
}

/* ---- The worker's side ----------------------------------------------------------------------- */

bool
slots_ready(struct slots *slots)
{
    return pg_atomic_read_u32(&slots->ready_head) != 0;
}

uint32
slots_take(struct slots *slots, uint32 *taken)
{
    if (!slots_ready(slots)) return 0;
    slots_invariants(slots);
    uint32 taken_count = 0;
    uint32 head = pg_atomic_exchange_u32(&slots->ready_head, 0);
    while (head != 0) {
        struct slot *slot = slots_slot(slots, head - 1);
        const uint32 index = head - 1;
        head = slot->next;
        if (slot_change(slot, SLOT_SUBMITTED, SLOT_RUNNING)) { /* (K4) */
            taken[taken_count] = index;
            taken_count += 1;
        } else {
            slot_free(slots, index, SLOT_WITHDRAWN);
        }
    }
    for (uint32 i = 0; i < taken_count / 2; i++) {
        const uint32 later = taken[i];
        taken[i] = taken[taken_count - 1 - i];
        taken[taken_count - 1 - i] = later;
    }
    /* Only now: if the worker ended before, the rest of the list would be lost (K4). */
    for (uint32 i = 0; i < taken_count; i++) slot_invariants(slots, taken[i]);
    return taken_count;
}

bool
slots_abandoned(struct slots *slots, uint32 index)
{
    return pg_atomic_read_u32(&slots_slot(slots, index)->state) == SLOT_ABANDONED;
}

void
slots_finish(struct slots *slots, uint32 index, enum slot_outcome outcome)
{
    struct slot *slot = slots_slot(slots, index);
    slot->outcome = outcome;
    if (slot_change(slot, SLOT_RUNNING, SLOT_DONE)) {
        sleepers_call(slots_sleepers(slots), &slot->owner); /* (K5) */
    } else {
        slot_free(slots, index, SLOT_ABANDONED);
    }
}

void
slots_wake(struct slots *slots)
{
    sleepers_wake(slots_sleepers(slots));
}

struct sleepers_stats
slots_stats(struct slots *slots)
{
    return sleepers_stats(slots_sleepers(slots));
}

static void
finish_empty(struct slots *slots, uint32 index, enum slot_outcome outcome)
{
    slots_slot(slots, index)->reply_size = 0;
    slots_finish(slots, index, outcome);
}

void
slots_lose(struct slots *slots)
{
    for (uint32 i = 0; i < slots_count(slots); i++) {
        const uint32 state = pg_atomic_read_u32(&slots_slot(slots, i)->state);
        if (state == SLOT_RUNNING || state == SLOT_ABANDONED) finish_empty(slots, i, SLOT_LOST);
    }
    /* Among them owners of what was answered before, and who were only called. */
    slots_wake(slots);
}

void
slots_refuse(struct slots *slots)
{
    uint32 head = pg_atomic_exchange_u32(&slots->ready_head, 0);
    while (head != 0) {
        struct slot *slot = slots_slot(slots, head - 1);
        const uint32 index = head - 1;
        head = slot->next;
        if (slot_change(slot, SLOT_SUBMITTED, SLOT_RUNNING)) {
            finish_empty(slots, index, SLOT_NOT_RUNNING);
        } else {
            slot_free(slots, index, SLOT_WITHDRAWN);
        }
    }
    slots_wake(slots);
}
