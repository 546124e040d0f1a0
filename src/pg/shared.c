/* SPDX-License-Identifier: PostgreSQL */
#include "pg/shared.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "pg/settings.h"

#define SHARED_ALIGNMENT 128

struct shared *shared;

static shmem_request_hook_type previous_request_hook;
static shmem_startup_hook_type previous_startup_hook;

static Size
head_size(void)
{
    return TYPEALIGN(SHARED_ALIGNMENT, sizeof(struct shared));
}

/*
 * One for each process that could call: backends, background workers and others, all with proc
 * numbers below MaxBackends.
 */
static uint32
small_slots_count(void)
{
    assert(MaxBackends > 0);
    return (uint32) MaxBackends;
}

static Size
shared_size(void)
{
    const Size slots = slots_size(small_slots_count(), (uint32) settings_bulk_slots);
    return add_size(add_size(head_size(), SHARED_ALIGNMENT), slots);
}

struct slots *
shared_slots(void)
{
    assert(shared != NULL);
    return (struct slots *) (void *) ((char *) shared + head_size());
}

static void
request(void)
{
    if (previous_request_hook != NULL) previous_request_hook();
    RequestAddinShmemSpace(shared_size());
}

static void
startup(void)
{
    bool found;
    if (previous_startup_hook != NULL) previous_startup_hook();
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    void *memory = ShmemInitStruct("ledger", shared_size(), &found);
    shared = (struct shared *) TYPEALIGN(SHARED_ALIGNMENT, memory);
    if (!found) {
        pg_atomic_init_u32(&shared->worker_state, WORKER_STARTING);
        pg_atomic_init_u32(&shared->worker_procno, SLOT_NONE);
        pg_atomic_init_u32(&shared->worker_asleep, WORKER_AWAKE);
        pg_atomic_init_u32(&shared->requests_under_way, 0);
        pg_atomic_init_u64(&shared->start_awaited_since, 0);
        command_init(&shared->command_box);
        ConditionVariableInit(&shared->worker_state_changed);
        monitor_init(&shared->board);
        slots_init(shared_slots(), small_slots_count(), (uint32) settings_bulk_slots);
    }
    LWLockRelease(AddinShmemInitLock);
}

void
shared_request(void)
{
    previous_request_hook = shmem_request_hook;
    shmem_request_hook = request;
    previous_startup_hook = shmem_startup_hook;
    shmem_startup_hook = startup;
}

void
shared_set_worker_state(enum worker_state state)
{
    pg_atomic_write_u32(&shared->worker_state, state);
    pg_memory_barrier();
    ConditionVariableBroadcast(&shared->worker_state_changed);
}

void
shared_wake_worker(bool can_wait)
{
    pg_memory_barrier();
    const uint32 sleep = pg_atomic_read_u32(&shared->worker_asleep);
    if (sleep == WORKER_AWAKE) return;
    if (sleep == WORKER_ASLEEP_WRITING && can_wait) return;
    const uint32 procno = pg_atomic_read_u32(&shared->worker_procno);
    if (procno != SLOT_NONE) SetLatch(&GetPGProcByNumber(procno)->procLatch);
}
