/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/worker/worker.h"

#include <limits.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/units.h"
#include "pg/settings.h"
#include "pg/shared.h"
#include "pg/spinning.h"
#include "pg/worker/change.h"
#include "pg/worker/host.h"
#include "pg/worker/refusal.h"
#include "pg/worker/warnings.h"

#define RESTART_SECONDS 1
#define STOP_WAIT_MS    2000
/* The time between two attempts to start, if the cause of a refusal may go away by itself. */
#define RETRY_PAUSE_MS 10000
/* How often the log is told that the engine doesn't start, for the same reason. */
#define REFUSAL_AGAIN_MS 60000
/* The longest sleep: holds expire even if nothing else happens. */
#define IDLE_SLEEP_MS 100

/* A busy client doesn't pause longer than this between two calls. */
#define IDLE_NS (2 * NS_PER_MS)

#define WAIT_EVENTS 4

struct worker_request {
    struct engine_request request;
    struct worker *worker;
    uint32 slot;
};

struct worker {
    struct host host;
    struct slots *slots;
    struct change change; /* Of the cluster's members. */
    struct worker_request *requests; /* One for each slot: a slot carries one request at a time. */
    uint32 *taken;                   /* Scratch: slots that were just taken. */
    uint32 under_way; /* Requests taken and not answered. */
    uint32 verifying; /* The slot of the verification that is under way, or SLOT_NONE. */
    WaitEventSet *wait_set;
    uint32 wait_event;
    uint64 active_ns;  /* When there was something to do last. */
    uint64 writing_op; /* Of the prepare that is being written; 0: none is. */
    uint64 writing_ns; /* Since when. */
    struct spinning for_writes;
    struct spinning for_requests;
    uint64 ticked_ns;
    uint64 published_ns;
    /* The board shows the present state: nothing has happened since it was written. */
    bool published;
    struct warnings warnings;
};

static bool here;
static bool registered; /* Set in the postmaster, and inherited by its children. */

/*
 * Copied from the engine beforehand, so that nothing that could fail runs while the board is
 * changed.
 */
static struct engine_state published_state;
static struct engine_stats published_stats;
static struct engine_cluster published_cluster;

bool
worker_is_here(void)
{
    return here;
}

bool
worker_is_registered(void)
{
    return registered;
}

/* ---- What others see ------------------------------------------------------------------------- */

static void
publish_refusal(const struct refusal *refusal)
{
    struct monitor *monitor = monitor_change_begin(&shared->board);
    monitor->refusal = *refusal;
    monitor_change_end(&shared->board);
}

/* Returns true if the previous worker had refused to open, so that this one is the next attempt. */
static bool
publish_start(void)
{
    struct monitor *monitor = monitor_change_begin(&shared->board);
    const bool retries = monitor->refusal.retries;
    monitor->worker_pid = MyProcPid;
    monitor->worker_starts += 1;
    monitor->opened_at = 0;
    monitor->published_at = 0;
    monitor->io_method[0] = '\0';
    monitor->io_direct = false;
    memset(&monitor->refusal, 0, sizeof(monitor->refusal));
    memset(&monitor->warning, 0, sizeof(monitor->warning));
    strlcpy(monitor->data_directory, settings_data_directory, sizeof(monitor->data_directory));
    monitor_change_end(&shared->board);
    return retries;
}

static void
publish_open(const struct host *host)
{
    const TimestampTz now = GetCurrentTimestamp();
    struct monitor *monitor = monitor_change_begin(&shared->board);
    monitor->opened_at = now;
    monitor->identity = host->ownership.identity.owner;
    memset(&monitor->refusal, 0, sizeof(monitor->refusal));
    monitor->ops_replayed = host->report.ops_replayed;
    monitor->io_direct = settings_io_direct;
    monitor->nodes = host->cluster.nodes;
    strlcpy(
        monitor->io_method,
        storage_os_method_name(host->storage.method),
        sizeof(monitor->io_method));
    monitor_change_end(&shared->board);
}

static void
publish_nodes(const struct cluster *cluster)
{
    struct monitor *monitor = monitor_change_begin(&shared->board);
    monitor->nodes = cluster->nodes;
    monitor_change_end(&shared->board);
}

static void
publish_numbers(struct worker *worker, uint64 now_ns)
{
    engine_state_get(worker->host.engine, &published_state);
    engine_stats_get(worker->host.engine, &published_stats);
    if (worker->host.cluster.open) engine_cluster_get(worker->host.engine, &published_cluster);
    const TimestampTz now = GetCurrentTimestamp();
    struct monitor *monitor = monitor_change_begin(&shared->board);
    monitor->state = published_state;
    monitor->stats = published_stats;
    monitor->cluster = published_cluster;
    monitor->warning = worker->warnings.pulses;
    monitor->published_at = now;
    monitor_change_end(&shared->board);
    worker->published_ns = now_ns;
    worker->published = true;
}

/* ---- Ending ---------------------------------------------------------------------------------- */

/* However the process ends, short of a crash, nobody is left waiting. */
static void
on_exit_worker(int code, Datum argument)
{
    shared_set_worker_state(WORKER_STOPPED);
    pg_atomic_write_u32(&shared->worker_procno, SLOT_NONE);
    struct monitor *monitor = monitor_change_begin(&shared->board);
    monitor->worker_pid = 0;
    monitor->opened_at = 0;
    monitor->published_at = 0;
    monitor_change_end(&shared->board);
    slots_lose(shared_slots());
    slots_refuse(shared_slots());
    command_lose();
}

void
worker_fail(const char *message, const char *detail, const char *hint)
{
    struct refusal refusal = {0};
    assert(here);
    strlcpy(refusal.message, message, sizeof(refusal.message));
    strlcpy(refusal.detail, detail, sizeof(refusal.detail));
    strlcpy(refusal.hint, hint, sizeof(refusal.hint));
    ereport(
        LOG,
        errmsg("ledger engine stops: %s", message),
        detail[0] == '\0' ? 0 : errdetail("%s", detail),
        hint[0] == '\0' ? 0 : errhint("%s", hint));
    publish_refusal(&refusal);
    proc_exit(1);
}

/*
 * Carries out a command, if there is one. Returns true if it succeeded: then the situation has
 * changed, and the engine may open. Calls wait meanwhile, as they do for an engine that opens.
 */
static bool
obey(const struct host *host, const struct refusal *refusal)
{
    struct command command;
    if (!command_take(&command, false)) return false;
    const enum worker_state state = shared_worker_state();
    shared_set_worker_state(WORKER_OPENING);
    memset(&command.why, 0, sizeof(command.why));
    switch (command.kind) {
    case COMMAND_CREATE:
        command.done = host_alone(host, &command.why) &&
                       ownership_create(&command.ledger, &command.why);
        break;
    case COMMAND_ADOPT:
        command.done = ownership_adopt(command.ledger, refusal, &command.why);
        break;
    case COMMAND_CHANGE: unreachable();
    }
    if (!command.done) shared_set_worker_state(state);
    command_finish(&command);
    return command.done;
}

/* Sleeps until the latch is set, the time is up, or there is something for a guest. */
static void
wait_refused(struct host *host, long timeout_ms, uint32 wait_event)
{
    const bool guest = host->cluster.open;
    const long pause_ms = cluster_sleep_ms(&host->cluster, &host->clock, timeout_ms);
    (void) WaitLatchOrSocket(
        MyLatch,
        WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (pause_ms < LONG_MAX ? WL_TIMEOUT : 0) |
            (guest ? WL_SOCKET_READABLE : 0),
        guest ? network_os_wait_fd(&host->cluster.network) : PGINVALID_SOCKET,
        pause_ms,
        wait_event);
    ResetLatch(MyLatch);
}

/* Has a command, or whom a guest waits for, changed the situation? */
static bool
has_changed(struct host *host, const struct refusal *refusal)
{
    struct refusal failed = {0};
    if (host_has_greeted(host) && obey(host, refusal)) {
        host_guest_end(host);
        return true;
    }
    cluster_log_refused(&host->cluster);
    cluster_look_up(&host->cluster, clock_monotonic_ns(&host->clock));
    if (!host_let_in(host, &failed)) return false;
    shared_set_worker_state(WORKER_OPENING);
    if (failed.message[0] == '\0') return true;
    worker_fail(
        failed.message,
        failed.detail,
        "The cluster has let this node in, but its directory could not be made. Correct the cause, call ledger.cluster_remove() for this node at a member, and add it again.");
}

/* At once, then each REFUSAL_AGAIN_MS or for another reason: it may be tried for days. */
static void
log_refusal(const struct refusal *refusal)
{
    static struct refusal told;
    static TimestampTz told_at;
    const TimestampTz now = GetCurrentTimestamp();
    const bool same = strcmp(refusal->message, told.message) == 0 &&
                      strcmp(refusal->detail, told.detail) == 0;
    if (same && !TimestampDifferenceExceeds(told_at, now, REFUSAL_AGAIN_MS)) return;
    told = *refusal;
    told_at = now;
    ereport(
        LOG,
        errmsg("ledger engine does not start: %s", refusal->message),
        refusal->detail[0] == '\0' ? 0 : errdetail("%s", refusal->detail),
        refusal->hint[0] == '\0' ? 0 : errhint("%s", refusal->hint));
}

/*
 * Stays alive and refuses what comes. It returns when the situation has changed, or after a while
 * if the cause may go away by itself. It ends the process at a reload or shutdown; then the
 * postmaster starts a new worker, which tries again.
 */
static void
refuse(struct host *host, struct refusal *refusal)
{
    log_refusal(refusal);
    publish_refusal(refusal);
    shared_set_worker_state(refusal->none ? WORKER_NONE : WORKER_REFUSED);
    pg_atomic_write_u32(&shared->worker_asleep, WORKER_ASLEEP);
    const uint32 wait_event = compat_wait_event("LedgerEngineRefused");
    const TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_PAUSE_MS);
    while (!ShutdownRequestPending && !ConfigReloadPending) {
        const TimestampTz now = GetCurrentTimestamp();
        slots_refuse(shared_slots());
        const bool again = refusal->retries && now >= end;
        if (again || has_changed(host, refusal)) {
            shared_set_worker_state(WORKER_OPENING);
            pg_atomic_write_u32(&shared->worker_asleep, WORKER_AWAKE);
            host->lock_waited = again;
            return;
        }
        if (host_guest_news(host, refusal)) publish_refusal(refusal);
        const long pause_ms = TimestampDifferenceMilliseconds(now, end);
        wait_refused(host, refusal->retries ? pause_ms : LONG_MAX, wait_event);
    }
    host_guest_end(host);
    if (ConfigReloadPending && !ShutdownRequestPending) {
        ereport(LOG, errmsg("ledger engine tries again to start"));
    }
    proc_exit(1);
}

/* Opens the engine, and doesn't return before. */
static void
open_host(struct worker *worker)
{
    struct refusal refusal = {0};
    while (!host_open(&worker->host, slots_count(worker->slots), &refusal)) {
        refuse(&worker->host, &refusal);
        memset(&refusal, 0, sizeof(refusal));
    }
}

/* ---- Requests -------------------------------------------------------------------------------- */

static enum slot_outcome
outcome_of(enum engine_status status)
{
    static_assert(SLOT_OK == 0 && ENGINE_OK == 0, "zero is success in both");
    assert(status <= ENGINE_UNKNOWN);
    return (enum slot_outcome) status;
}

static void
finish(struct worker *worker, uint32 index, enum slot_outcome outcome)
{
    slots_finish(worker->slots, index, outcome);
    assert(worker->under_way > 0);
    worker->under_way -= 1;
}

/* What a request has waited for in vain, and those who could have answered. */
static enum slot_outcome
given_up(const struct worker *worker, enum engine_status status, char *text, size_t size)
{
    struct engine_cluster cluster;
    engine_cluster_get(worker->host.engine, &cluster);
    if (monitor_lacks_room(&cluster)) {
        return status == ENGINE_UNKNOWN ? SLOT_NO_ROOM_UNKNOWN : SLOT_NO_ROOM;
    }
    if (!monitor_is_member(&cluster)) {
        snprintf(text, size, "node \"%s\" is not a member of its cluster", settings_node_name);
    } else {
        snprintf(text, size, "%u of %u nodes can be reached", cluster.reachable, cluster.voters);
    }
    return outcome_of(status);
}

static void
on_answer(struct engine_request *request)
{
    struct worker_request *own = container_of(request, struct worker_request, request);
    struct slot *slot = slots_slot(own->worker->slots, own->slot);
    assert(request->reply_size <= request->reply_size_max);
    slot->reply_size = request->status == ENGINE_OK ? request->reply_size : 0;
    slot->instant = request->instant;
    if (request->status == ENGINE_INVALID) {
        strlcpy(slot->detail, request->detail, sizeof(slot->detail));
    }
    if (request->status == ENGINE_DAMAGED) {
        warnings_describe(&request->damage, slot->detail, sizeof(slot->detail));
        ereport(LOG, errmsg("ledger read met damage: %s", slot->detail));
    }
    enum slot_outcome outcome = outcome_of(request->status);
    if (request->status == ENGINE_NO_QUORUM || request->status == ENGINE_UNKNOWN) {
        outcome = given_up(own->worker, request->status, slot->detail, sizeof(slot->detail));
    }
    if (own->worker->verifying == own->slot) own->worker->verifying = SLOT_NONE;
    finish(own->worker, own->slot, outcome);
}

/* Cancels the verification, which may take hours, if nobody waits for it any more. */
static void
cancel_verification(struct worker *worker)
{
    const uint32 slot = worker->verifying;
    if (slot == SLOT_NONE || !slots_abandoned(worker->slots, slot)) return;
    (void) engine_cancel(worker->host.engine, &worker->requests[slot].request);
}

/* Each field of the slot is read only once, so that what was checked is what is used. */
static void
submit(struct worker *worker, uint32 index)
{
    const volatile struct slot *slot = slots_slot(worker->slots, index);
    struct worker_request *own = &worker->requests[index];
    const uint32 operation = slot->operation;
    const uint32 input_size = slot->input_size;
    const struct ledger_instant instant = {
        .known = slot->instant.known,
        .op = slot->instant.op,
        .account_newest = slot->instant.account_newest,
        .event_newest = slot->instant.event_newest,
    };
    const uint32 wait_ms = slot->wait_ms;
    const bool local = slot->local;
    assert(operation <= UINT8_MAX);
    if (operation == LEDGER_VERIFY) cancel_verification(worker);
    assert(input_size <= slots_input_size_max(worker->slots, index));
    own->worker = worker;
    own->slot = index;
    own->request = (struct engine_request){
        .operation = (uint8_t) operation,
        .input = slots_input(worker->slots, index),
        .input_size = input_size,
        .reply = slots_reply(worker->slots, index),
        .reply_size_max = slots_reply_size_max(worker->slots, index),
        .instant = instant,
        .local = local,
        .wait_ns = wait_ms * NS_PER_MS,
        .callback = on_answer,
    };
    engine_submit(worker->host.engine, &own->request);
    /* If there are several, the engine refuses all but the first at once. */
    if (operation == LEDGER_VERIFY && worker->verifying == SLOT_NONE) worker->verifying = index;
}

/* For those who wait. A store that changes nothing would cost them a cache line. */
static void
publish_under_way(const struct worker *worker)
{
    if (pg_atomic_read_u32(&shared->requests_under_way) == worker->under_way) return;
    pg_atomic_write_u32(&shared->requests_under_way, worker->under_way);
}

/* Makes one pass. Returns true if something was done. */
static bool
step(struct worker *worker)
{
    const uint32 taken_count = slots_take(worker->slots, worker->taken);
    for (uint32 i = 0; i < taken_count; i++)
        submit(worker, worker->taken[i]);
    worker->under_way += taken_count;
    publish_under_way(worker);
    const bool progress = engine_poll(worker->host.engine);
    slots_wake(worker->slots);
    publish_under_way(worker);
    return progress || taken_count > 0;
}

/* ---- The loop -------------------------------------------------------------------------------- */

static uint64
now_ns(struct worker *worker)
{
    return clock_monotonic_ns(&worker->host.clock);
}

static void
reload(struct worker *worker)
{
    ConfigReloadPending = false;
    ProcessConfigFile(PGC_SIGHUP);
    cluster_reload(&worker->host.cluster);
    publish_nodes(&worker->host.cluster);
}

/* What a node of a cluster does at each tick. */
static void
tick_cluster(struct worker *worker, uint64 now)
{
    static struct engine_cluster members;
    struct cluster *cluster = &worker->host.cluster;
    if (!cluster->open) return;
    change_tick(&worker->change, worker->host.engine, now);
    engine_cluster_get(worker->host.engine, &members);
    cluster_log_view(cluster, &members, now);
    cluster_log_refused(cluster);
    /*
     * Only where nothing can be done without them: it may take seconds, in which this node would
     * be missed at the choice of another primary.
     */
    if (members.reachable < members.voters / 2 + 1) cluster_look_up(cluster, now);
    /* What is known of the others changes without anything being done here. */
    worker->published = false;
}

static bool
worker_idle(const struct worker *worker, uint64 now)
{
    return now - worker->active_ns >= IDLE_NS;
}

static void
do_what_is_due(struct worker *worker, uint64 now)
{
    if (now - worker->ticked_ns >= ENGINE_TICK_MS * NS_PER_MS) {
        host_tick(&worker->host);
        if (warnings_tick(&worker->warnings, &worker->host, now)) worker->published = false;
        cancel_verification(worker);
        tick_cluster(worker, now);
        /* A tick may have ended requests. */
        slots_wake(worker->slots);
        worker->ticked_ns = now;
    }
    if (!worker->published && now - worker->published_ns >= MONITOR_INTERVAL_MS * NS_PER_MS) {
        publish_numbers(worker, now);
    }
}

static void
wait_for_events(struct worker *worker, long timeout_ms)
{
    WaitEvent events[WAIT_EVENTS];
    (void) WaitEventSetWait(worker->wait_set, timeout_ms, events, WAIT_EVENTS, worker->wait_event);
    ResetLatch(MyLatch);
}

/* Sleeps until a request, a completion of the storage, a signal, or the next tick. */
static void
worker_sleep(struct worker *worker, uint64 now)
{
    const bool busy = engine_busy(worker->host.engine);
    if (!busy && !worker->published) publish_numbers(worker, now);
    const enum worker_sleep sleep =
        engine_creates_wait(worker->host.engine) ? WORKER_ASLEEP_WRITING : WORKER_ASLEEP;
    pg_atomic_write_u32(&shared->worker_asleep, sleep);
    pg_memory_barrier();
    /*
     * A backend that pushed before it could see the flag hasn't set the latch, so look once more.
     */
    if (!slots_ready(worker->slots)) {
        const bool soon = busy || worker->host.populate.asked_bytes > 0;
        const long sleep_ms = soon ? ENGINE_TICK_MS : IDLE_SLEEP_MS;
        wait_for_events(
            worker, cluster_sleep_ms(&worker->host.cluster, &worker->host.clock, sleep_ms));
    }
    pg_atomic_write_u32(&shared->worker_asleep, WORKER_AWAKE);
}

/*
 * How long to look for more work before sleeping. A running write takes longer than a client needs
 * between two calls, and sleeping during it would cost two wake-ups.
 */
static uint64
spin_ns(bool busy)
{
    const uint64 spin = (uint64) settings_spin_us * NS_PER_US;
    return busy ? spin * SPIN_WRITE_FACTOR : spin;
}

/* After a pass: what had been waited for before it? */
static void
learn(struct worker *worker, bool progress, uint64 now)
{
    const uint64 writing_op = engine_writing_op(worker->host.engine);
    if (worker->writing_op == 0 && progress) {
        spinning_learn(&worker->for_requests, now - worker->active_ns, spin_ns(false));
    }
    if (writing_op == worker->writing_op) return;
    if (worker->writing_op != 0) {
        spinning_learn(&worker->for_writes, now - worker->writing_ns, spin_ns(true));
    }
    worker->writing_op = writing_op;
    worker->writing_ns = now;
}

/* There is nothing to do. True if looking again pays more than sleeping. */
static bool
spin(struct worker *worker, uint64 now)
{
    const bool busy = engine_busy(worker->host.engine);
    const bool writing = worker->writing_op != 0;
    struct spinning *spinning = writing ? &worker->for_writes : &worker->for_requests;
    if (now - worker->active_ns >= spin_ns(busy)) return false;
    if ((writing || !busy) && !spinning_pays(spinning)) return false;
    /* On few processors, the next request may come from a backend that waits for this one. */
    spinning_yield(spinning, now);
    return true;
}

static void
run(struct worker *worker)
{
    while (!ShutdownRequestPending && !engine_failed(worker->host.engine)) {
        const bool progress = step(worker);
        const uint64 now = now_ns(worker);
        learn(worker, progress, now);
        if (progress) {
            worker->active_ns = now;
            worker->published = false;
        }
        if (ConfigReloadPending) reload(worker);
        do_what_is_due(worker, now);
        if (host_populate(&worker->host, worker_idle(worker, now)) || progress) continue;
        if (!spin(worker, now)) worker_sleep(worker, now);
    }
}

/*
 * Has another node be the cluster's primary, if this one is: so the others need not find out that
 * it is gone.
 */
static void
step_down(struct worker *worker)
{
    struct host *host = &worker->host;
    if (!host->cluster.open || engine_failed(host->engine)) return;
    if (!change_step_down(&worker->change, host->engine, now_ns(worker))) return;
    while (change_running(&worker->change) && !engine_failed(host->engine)) {
        const bool progress = engine_poll(host->engine);
        engine_tick(host->engine);
        change_tick(&worker->change, host->engine, now_ns(worker));
        slots_wake(worker->slots);
        if (!progress) wait_for_events(worker, ENGINE_TICK_MS);
    }
}

/*
 * Lets running requests end, but not for ever. New requests already see that the worker has
 * stopped.
 */
static void
stop(struct worker *worker)
{
    shared_set_worker_state(WORKER_STOPPED);
    slots_refuse(worker->slots);
    step_down(worker);
    const uint64 deadline = now_ns(worker) + STOP_WAIT_MS * NS_PER_MS;
    while (engine_busy(worker->host.engine) && !engine_failed(worker->host.engine)) {
        if (now_ns(worker) > deadline) {
            ereport(LOG, errmsg("ledger engine stops with requests under way"));
            break;
        }
        const bool progress = engine_poll(worker->host.engine);
        /* What another node must answer is asked again. Alone, ticks would only find new work. */
        if (worker->host.cluster.open) engine_tick(worker->host.engine);
        slots_wake(worker->slots);
        if (!progress) wait_for_events(worker, ENGINE_TICK_MS);
    }
    if (!engine_failed(worker->host.engine)) host_stop(&worker->host);
    cluster_close(&worker->host.cluster);
}

/* ---- The process ----------------------------------------------------------------------------- */

static void
make_wait_set(struct worker *worker)
{
    worker->wait_event = compat_wait_event("LedgerEngineMain");
    worker->wait_set = compat_create_wait_event_set(WAIT_EVENTS);
    (void) AddWaitEventToSet(worker->wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
    (void) AddWaitEventToSet(worker->wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
    (void) AddWaitEventToSet(
        worker->wait_set,
        WL_SOCKET_READABLE,
        storage_os_wait_fd(&worker->host.storage),
        NULL,
        NULL);
    if (!worker->host.cluster.open) return;
    (void) AddWaitEventToSet(
        worker->wait_set,
        WL_SOCKET_READABLE,
        network_os_wait_fd(&worker->host.cluster.network),
        NULL,
        NULL);
}

static struct worker *
make_worker(void)
{
    struct worker *worker = MemoryContextAllocZero(TopMemoryContext, sizeof(struct worker));
    worker->slots = shared_slots();
    worker->verifying = SLOT_NONE;
    const Size count = slots_count(worker->slots);
    worker->requests =
        MemoryContextAllocZero(TopMemoryContext, count * sizeof(struct worker_request));
    worker->taken = MemoryContextAllocZero(TopMemoryContext, count * sizeof(uint32));
    return worker;
}

/* Opens the host. It uses and sets host->lock_waited. */
static void
start(struct host *host)
{
    pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    BackgroundWorkerUnblockSignals();
    here = true;
    before_shmem_exit(on_exit_worker, (Datum) 0);
    pg_atomic_write_u32(&shared->worker_asleep, WORKER_AWAKE);
    pg_atomic_write_u32(&shared->requests_under_way, 0);
    pg_atomic_write_u32(&shared->worker_procno, compat_my_proc_number());
    host->lock_waited = publish_start();
    shared_set_worker_state(WORKER_OPENING);
}

/* Reports why the engine has failed, and ends. */
pg_attribute_noreturn()
static void
fail(struct worker *worker)
{
    char failure[STORAGE_OS_TEXT_SIZE];
    struct engine_damage damage;
    uint64_t op;
    if (engine_failed_on_damage(worker->host.engine, &damage)) {
        warnings_describe(&damage, failure, sizeof(failure));
        worker_fail(
            failure,
            "An entry of the log needs it: nothing more can be written.",
            "Restore the ledger's data directory together with the identity file from a backup. "
            "Keep a copy of the directory as it is before you do.");
    }
    if (engine_failed_as_copy(worker->host.engine)) {
        struct refusal refusal = {0};
        refusal_of_copy(&refusal, settings_data_directory);
        worker_fail(refusal.message, refusal.detail, refusal.hint);
    }
    if (engine_failed_on_divergence(worker->host.engine, &op)) {
        snprintf(
            failure,
            sizeof(failure),
            "the ledger of this node is not that of the primary at op " UINT64_FORMAT,
            (uint64) op);
        worker_fail(
            failure,
            "Both have executed the same operations, so the files or the memory of one of them are damaged, or its build is another.",
            "Verify the ledger at each node. Remove the node whose ledger is wrong from the cluster, and add it again with an empty directory.");
    }
    if (!storage_os_failure_text(&worker->host.storage, failure, sizeof(failure))) {
        strlcpy(failure, "what was written did not read back", sizeof(failure));
    }
    worker_fail(
        failure,
        "After a failed write, only a new start can find out what the disk holds.",
        "Check the disk and the kernel's log. The engine starts again by itself.");
}

void
ledger_worker_main(Datum argument)
{
    struct worker *worker = make_worker();
    start(&worker->host);
    open_host(worker);
    make_wait_set(worker);
    publish_open(&worker->host);
    publish_numbers(worker, now_ns(worker));
    shared_set_worker_state(WORKER_RUNNING);

    run(worker);
    if (engine_failed(worker->host.engine)) fail(worker);
    stop(worker);
    proc_exit(1);
}

void
worker_register(void)
{
    BackgroundWorker worker = {
        .bgw_flags = BGWORKER_SHMEM_ACCESS,
        .bgw_start_time = BgWorkerStart_RecoveryFinished,
        .bgw_restart_time = RESTART_SECONDS,
    };
    /* A node of a cluster is needed by the others, whatever PostgreSQL still has to recover. */
    if (settings_has_node()) worker.bgw_start_time = BgWorkerStart_PostmasterStart;
    strlcpy(worker.bgw_name, "ledger engine", sizeof(worker.bgw_name));
    strlcpy(worker.bgw_type, "ledger engine", sizeof(worker.bgw_type));
    strlcpy(worker.bgw_library_name, "ledger", sizeof(worker.bgw_library_name));
    strlcpy(worker.bgw_function_name, "ledger_worker_main", sizeof(worker.bgw_function_name));
    RegisterBackgroundWorker(&worker);
    registered = compat_background_worker_is_registered(worker.bgw_name);
}
