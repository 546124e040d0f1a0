/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/client/client.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#include "base/units.h"
#include "pg/client/availability.h"
#include "pg/settings.h"
#include "pg/shared.h"
#include "pg/spinning.h"

/* The slots that this backend owns. Each has the subtransaction whose abort gives it back. */
struct owned_slot {
    uint32 slot;
    SubTransactionId subtransaction;
};

static struct owned_slot owned[CLIENT_CALLS_MAX];
static int owned_count;
static bool callbacks_registered;

/* ---- Slots that are owned -------------------------------------------------------------------- */

static void
owned_remove(int i)
{
    assert(i >= 0 && i < owned_count);
    owned_count -= 1;
    owned[i] = owned[owned_count];
}

static void
owned_forget(uint32 slot)
{
    for (int i = 0; i < owned_count; i++) {
        if (owned[i].slot == slot) {
            owned_remove(i);
            return;
        }
    }
    unreachable();
}

static void
owned_release_all(void)
{
    while (owned_count > 0) {
        const uint32 slot = owned[owned_count - 1].slot;
        owned_remove(owned_count - 1);
        slots_release(shared_slots(), slot);
    }
}

static void
on_transaction(XactEvent event, void *argument)
{
    switch (event) {
    case XACT_EVENT_COMMIT:
    case XACT_EVENT_ABORT:
    case XACT_EVENT_PREPARE:
    case XACT_EVENT_PARALLEL_COMMIT:
    case XACT_EVENT_PARALLEL_ABORT: owned_release_all(); break;
    case XACT_EVENT_PRE_COMMIT:
    case XACT_EVENT_PARALLEL_PRE_COMMIT:
    case XACT_EVENT_PRE_PREPARE: break;
    }
}

static void
on_subtransaction(
    SubXactEvent event, SubTransactionId subtransaction, SubTransactionId parent, void *argument)
{
    for (int i = owned_count - 1; i >= 0; i--) {
        if (owned[i].subtransaction != subtransaction) continue;
        if (event == SUBXACT_EVENT_COMMIT_SUB) owned[i].subtransaction = parent;
        if (event == SUBXACT_EVENT_ABORT_SUB) {
            const uint32 slot = owned[i].slot;
            owned_remove(i);
            slots_release(shared_slots(), slot);
        }
    }
}

static void
on_exit_process(int code, Datum argument)
{
    owned_release_all();
}

static void
register_callbacks(void)
{
    if (callbacks_registered) return;
    RegisterXactCallback(on_transaction, NULL);
    RegisterSubXactCallback(on_subtransaction, NULL);
    before_shmem_exit(on_exit_process, (Datum) 0);
    callbacks_registered = true;
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static uint32
reserve_now(bool fits_small)
{
    struct slots *slots = shared_slots();
    const uint32 procno = compat_my_proc_number();
    uint32 slot = SLOT_NONE;
    if (fits_small) slot = slots_reserve_small(slots, procno);
    /* Another call of this session has the small slot, or one that was cancelled and still runs. */
    if (slot == SLOT_NONE) slot = slots_reserve_bulk(slots);
    return slot;
}

static uint32
reserve(bool fits_small)
{
    static uint32 wait_event;
    uint32 slot = reserve_now(fits_small);
    if (slot != SLOT_NONE) return slot;
    if (owned_count > 0) {
        ereport(
            ERROR,
            errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
            errmsg("all large ledger requests are taken"),
            errdetail(
                "This session has another ledger request under way, so it must not wait for one."),
            errhint("Retry, or increase ledger.bulk_slots."));
    }
    if (wait_event == 0) wait_event = compat_wait_event("LedgerBulkSlot");
    while (slot == SLOT_NONE) {
        ConditionVariableSleep(&shared_slots()->freed, wait_event);
        slot = reserve_now(fits_small);
    }
    ConditionVariableCancelSleep();
    return slot;
}

void
client_begin(
    struct client_call *call,
    enum ledger_operation operation,
    uint32_t element_count,
    uint32_t reply_rows)
{
    const uint64 input_size = (uint64) element_count * ledger_input_size((uint8_t) operation);
    const uint64 reply_size = (uint64) reply_rows * ledger_row_size((uint8_t) operation);
    assert(input_size <= SLOT_BULK_INPUT_BYTES);
    assert(reply_size <= SLOT_BULK_REPLY_BYTES);
    if (shared_worker_state() != WORKER_RUNNING) availability_wait_running();
    register_callbacks();
    if (owned_count == CLIENT_CALLS_MAX)
        elog(ERROR, "too many ledger calls under way in one session");

    const bool fits_small =
        input_size <= SLOT_SMALL_INPUT_BYTES && reply_size <= SLOT_SMALL_REPLY_BYTES;
    const uint32 slot = reserve(fits_small);
    owned[owned_count] = (struct owned_slot){slot, GetCurrentSubTransactionId()};
    owned_count += 1;
    *call = (struct client_call){
        .operation = (uint8_t) operation,
        .input = slots_input(shared_slots(), slot),
        .input_size_max = slots_input_size_max(shared_slots(), slot),
        .reply = slots_reply(shared_slots(), slot),
        .slot = slot,
    };
}

void
client_submit(struct client_call *call)
{
    struct slot *slot = slots_slot(shared_slots(), call->slot);
    assert(call->input_size <= call->input_size_max);
    slot->operation = call->operation;
    slot->input_size = call->input_size;
    slot->instant = call->instant;
    slot->wait_ms = (uint32) settings_quorum_wait_ms;
    slot->local = settings_read_consistency == SETTINGS_READ_LOCAL;
    slots_submit(shared_slots(), call->slot);
    shared_wake_worker(ledger_operation_creates(call->operation));
}

static int
detail_outcome(uint8_t operation)
{
    if (!ledger_operation_creates(operation)) return 0;
    (void) errdetail("The outcome of the ledger request is unknown.");
    return errhint("Retry with the same ids: a request that took effect answers \"exists\".");
}

/*
 * Adds to the error of an interrupt (cancel, timeout, terminate), which keeps its own code and
 * message.
 */
static void
on_interrupt_error(void *argument)
{
    const struct client_call *call = argument;
    const int category = ERRCODE_TO_CATEGORY(geterrcode());
    if (category == ERRCODE_TO_CATEGORY(ERRCODE_SUCCESSFUL_COMPLETION)) return;
    if (category == ERRCODE_TO_CATEGORY(ERRCODE_WARNING)) return;
    (void) detail_outcome(call->operation);
}

static void
check_interrupts(struct client_call *call)
{
    ErrorContextCallback callback = {
        .previous = error_context_stack,
        .callback = on_interrupt_error,
        .arg = call,
    };
    error_context_stack = &callback;
    CHECK_FOR_INTERRUPTS();
    error_context_stack = callback.previous;
}

/* SQLSTATEs for requests that could write and for those that only read, where they differ. */
struct outcome_error {
    int sqlstate_write;
    int sqlstate_read;
    const char *message;
    const char *detail; /* NULL: for writes, say that the outcome is unknown. */
    const char *hint;
};

#define MESSAGE_NO_ROOM "this node has no room for what the ledger's cluster has committed"

static const struct outcome_error outcome_errors[] = {
    [SLOT_MEMORY_FULL] =
        {ERRCODE_OUT_OF_MEMORY,
         ERRCODE_OUT_OF_MEMORY,
         "ledger.memory is too small for more data",
         "The request took no effect. Memory has to list all tables on disk, and has no room for more of them.",
         "Increase ledger.memory and restart the server."},
    [SLOT_DISK_FULL] =
        {ERRCODE_DISK_FULL,
         ERRCODE_DISK_FULL,
         "no space left for the ledger's files",
         "The request took no effect.",
         "Make room in the file system of ledger.data_directory, then retry."},
    [SLOT_BUSY] =
        {ERRCODE_OBJECT_IN_USE,
         ERRCODE_OBJECT_IN_USE,
         "another verification of the ledger is under way",
         "There is one at a time.",
         "Wait for it, or cancel the session that runs it: pg_stat_activity shows its query."},
    [SLOT_NO_ROOM] =
        {ERRCODE_INSUFFICIENT_RESOURCES,
         ERRCODE_INSUFFICIENT_RESOURCES,
         MESSAGE_NO_ROOM,
         "The request took no effect. Other nodes go on.",
         "Increase ledger.memory and restart this server, or make room in the file system of ledger.data_directory. "
         "ledger.quorum_wait is how long a call waits."},
    [SLOT_NO_ROOM_UNKNOWN] =
        {ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN,
         ERRCODE_INSUFFICIENT_RESOURCES,
         MESSAGE_NO_ROOM,
         NULL,
         NULL},
    [SLOT_FAILED] =
        {ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN,
         ERRCODE_IO_ERROR,
         "the ledger engine failed to read or write its files and stopped",
         NULL,
         NULL},
    [SLOT_LOST] =
        {ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN,
         ERRCODE_CANNOT_CONNECT_NOW,
         "the ledger engine stopped while it worked on the request",
         NULL,
         NULL},
};

/* `reachable` says how many nodes can be reached. */
pg_attribute_noreturn()
static void
raise_no_quorum(uint8_t operation, enum slot_outcome outcome, const char *reachable)
{
    if (outcome == SLOT_UNKNOWN) {
        ereport(
            ERROR,
            errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
            errmsg("the ledger's primary was lost before it answered: %s", reachable),
            detail_outcome(operation));
    }
    ereport(
        ERROR,
        errcode(ERRCODE_CANNOT_CONNECT_NOW),
        errmsg("no ledger primary: %s", reachable),
        errdetail("The request took no effect."),
        ledger_operation_creates(operation)
            ? errhint("Retry. ledger.cluster shows the nodes; ledger.quorum_wait is how long a call waits for a primary.")
            : errhint("Retry; or ledger.read_consistency = local shows what this node has. ledger.quorum_wait is how long a call waits for a primary."));
    pg_unreachable();
}

pg_attribute_noreturn()
static void
raise_outcome(uint8_t operation, enum slot_outcome outcome, const char *detail)
{
    assert(outcome != SLOT_OK);
    if (outcome == SLOT_NOT_RUNNING) availability_raise();
    if (outcome == SLOT_INVALID) {
        ereport(
            ERROR,
            errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("the ledger engine refused the request: %s", detail));
    }
    if (outcome == SLOT_DAMAGED) {
        ereport(
            ERROR,
            errcode(ERRCODE_DATA_CORRUPTED),
            errmsg("%s", detail),
            errdetail("What this query asks for is in it, or can only be found through it. Other queries and writes go on."),
            errhint("Check the disk and the kernel's log. If it stays, restore the ledger's data directory together with PGDATA from a backup."));
    }
    if (outcome == SLOT_NO_QUORUM || outcome == SLOT_UNKNOWN) {
        raise_no_quorum(operation, outcome, detail);
    }
    assert(outcome < lengthof(outcome_errors));
    const struct outcome_error *error = &outcome_errors[outcome];
    ereport(
        ERROR,
        errcode(ledger_operation_creates(operation) ? error->sqlstate_write : error->sqlstate_read),
        errmsg("%s", error->message),
        error->detail == NULL ? detail_outcome(operation) : errdetail("%s", error->detail),
        error->hint == NULL ? 0 : errhint("%s", error->hint));
}

static uint64
spin_limit_ns(void)
{
    return (uint64) settings_spin_us * SPIN_WRITE_FACTOR * NS_PER_US;
}

static bool
is_alone(const struct client_call *call)
{
    if (!slots_alone(shared_slots(), call->slot)) return false;
    return pg_atomic_read_u32(&shared->requests_under_way) <= 1;
}

/*
 * If no other session is waiting, looks for the answer before it sleeps: being woken would take the
 * session and the worker a good part of the time of a durable write.
 */
static void
spin_alone(const struct client_call *call, struct spinning *spinning, uint64 start_ns)
{
    const uint64 limit_ns = spin_limit_ns();
    while (!slots_done(shared_slots(), call->slot)) {
        const uint64 now_ns = spinning_now_ns();
        if (InterruptPending || !is_alone(call) || now_ns - start_ns >= limit_ns) return;
        /* The worker, and the kernel's part of the write, may need this processor. */
        spinning_yield(spinning, now_ns);
    }
}

static void
sleep_until_done(struct client_call *call)
{
    static uint32 wait_event;
    struct slots *slots = shared_slots();
    if (wait_event == 0) wait_event = compat_wait_event("LedgerRequest");
    while (!slots_done(slots, call->slot)) {
        const enum worker_state state = shared_worker_state();
        if (state == WORKER_STOPPED || state == WORKER_REFUSED || state == WORKER_NONE) {
            /* If the worker has taken it already, the worker will answer. */
            if (slots_withdraw(slots, call->slot)) {
                owned_forget(call->slot);
                availability_raise();
            }
        }
        pgstat_report_wait_start(wait_event);
        const bool in_time = slots_sleep(slots, call->slot);
        pgstat_report_wait_end();
        if (!in_time && !PostmasterIsAlive()) proc_exit(1);
        check_interrupts(call);
    }
}

/* As soon as the answer is there. */
static void
await(struct client_call *call)
{
    static struct spinning spinning;
    const bool alone = is_alone(call);
    const uint64 start_ns = spinning_now_ns();
    if (alone && spinning_pays(&spinning)) spin_alone(call, &spinning, start_ns);
    sleep_until_done(call);
    if (!alone) return;
    spinning_learn(&spinning, spinning_now_ns() - start_ns, spin_limit_ns());
}

void
client_wait(struct client_call *call)
{
    struct slots *slots = shared_slots();
    await(call);
    const struct slot *slot = slots_slot(slots, call->slot);
    call->reply_size = slot->reply_size;
    call->instant = slot->instant;
    assert(call->reply_size <= slots_reply_size_max(slots, call->slot));
    if (slot->outcome != SLOT_OK) {
        const enum slot_outcome outcome = (enum slot_outcome) slot->outcome;
        const char *detail = pnstrdup(slot->detail, SLOT_DETAIL_MAX - 1);
        client_end(call);
        raise_outcome(call->operation, outcome, detail);
    }
}

void
client_run(struct client_call *call)
{
    client_submit(call);
    client_wait(call);
}

void
client_end(struct client_call *call)
{
    owned_forget(call->slot);
    slots_release(shared_slots(), call->slot);
    call->input = NULL;
    call->reply = NULL;
}
