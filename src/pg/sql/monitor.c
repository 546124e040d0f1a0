/* SPDX-License-Identifier: PostgreSQL */
/*
 * The functions behind the views ledger.status, ledger.stats, ledger.stats_events and
 * ledger.storage. They read the board that the worker keeps in shared memory (monitor_shared.h), so
 * they work when the engine does not.
 */
#include "postgres.h"
#include "pg/compat.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/client/availability.h"
#include "pg/client/convert.h"
#include "pg/monitor_shared.h"
#include "pg/settings.h"
#include "pg/shared.h"
#include "pg/sql/cluster.h"
#include "pg/worker/refusal.h"

PG_FUNCTION_INFO_V1(ledger_status);
PG_FUNCTION_INFO_V1(ledger_stats);
PG_FUNCTION_INFO_V1(ledger_stats_events);
PG_FUNCTION_INFO_V1(ledger_storage);

#define MONITOR_COLUMNS_MAX 32

/* A row that is filled in from left to right. */
struct monitor_row {
    Datum values[MONITOR_COLUMNS_MAX];
    bool nulls[MONITOR_COLUMNS_MAX];
    int columns;
};

static void
row_put(struct monitor_row *row, Datum value, bool is_null)
{
    assert(row->columns < MONITOR_COLUMNS_MAX);
    row->values[row->columns] = value;
    row->nulls[row->columns] = is_null;
    row->columns += 1;
}

static void
row_put_count(struct monitor_row *row, uint64_t count)
{
    row_put(row, Int64GetDatum((int64) count), false);
}

static void
row_put_counts_null(struct monitor_row *row, int count)
{
    for (int i = 0; i < count; i++) {
        row_put(row, (Datum) 0, true);
    }
}

/* Puts NULL if there is nothing to divide by. */
static void
row_put_ratio(struct monitor_row *row, uint64_t part, uint64_t whole)
{
    const double ratio = whole == 0 ? 0 : (double) part / (double) whole;
    row_put(row, Float8GetDatum(ratio), whole == 0);
}

/* Empty texts are put as NULL; below, so are times of zero. */
static void
row_put_text(struct monitor_row *row, const char *text)
{
    bool is_null = text[0] == '\0';
    row_put(row, is_null ? (Datum) 0 : CStringGetTextDatum(text), is_null);
}

static void
row_put_time(struct monitor_row *row, TimestampTz time)
{
    row_put(row, TimestampTzGetDatum(time), time == 0);
}

static void
row_put_percentiles(struct monitor_row *row, const struct histogram *histogram)
{
    row_put_count(row, histogram_percentile(histogram, 500));
    row_put_count(row, histogram_percentile(histogram, 990));
    row_put_count(row, histogram->max);
}

static void
row_put_percentiles_us(struct monitor_row *row, const struct histogram *histogram)
{
    row_put(row, Float8GetDatum((double) histogram_percentile(histogram, 500) / NS_PER_US), false);
    row_put(row, Float8GetDatum((double) histogram_percentile(histogram, 990) / NS_PER_US), false);
    row_put(row, Float8GetDatum((double) histogram->max / NS_PER_US), false);
}

static Datum
row_to_datum(FunctionCallInfo fcinfo, struct monitor_row *row)
{
    TupleDesc columns;
    if (get_call_result_type(fcinfo, NULL, &columns) != TYPEFUNC_COMPOSITE) {
        elog(ERROR, "return type must be a row type");
    }
    assert(columns->natts == row->columns);
    HeapTuple tuple = heap_form_tuple(BlessTupleDesc(columns), row->values, row->nulls);
    return HeapTupleGetDatum(tuple);
}

/* Returns false if the library isn't preloaded: then nothing is known. */
static bool
monitor_read(struct monitor *monitor)
{
    if (monitor_get(monitor)) return true;
    memset(monitor, 0, sizeof(*monitor));
    return false;
}

static void
row_put_uuid(struct monitor_row *row, u128 value)
{
    pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));
    convert_u128_to_uuid(value, uuid);
    row_put(row, UUIDPGetDatum(uuid), value == 0);
}

/* How a working engine takes part: "primary" where it is alone. */
static const char *
role_name(const struct availability *availability, const struct monitor *monitor)
{
    const struct engine_cluster *cluster = &monitor->cluster;
    if (availability->role == ROLE_NONE && settings_has_node()) return "guest";
    if (availability->role != ROLE_PRIMARY || !cluster->is_cluster || monitor->published_at == 0) {
        return availability_role_name(availability->role);
    }
    const struct engine_member *self = monitor_self(cluster);
    /* Who isn't a member hasn't read yet that it is one. */
    return cluster_state_name(self != NULL ? self->state : ENGINE_MEMBER_CATCHING_UP);
}

/* A member whose directory is refused here, or NULL. */
static const char *
refused_node(const struct engine_cluster *cluster)
{
    for (uint32 i = 0; i < cluster->count; i++) {
        const struct engine_member *member = &cluster->members[i];
        if (member->state == ENGINE_MEMBER_REFUSED) return member->name;
    }
    return NULL;
}

/* Says what keeps a member from doing all of its work, if anything does. */
static void
describe_cluster(const struct monitor *monitor, struct refusal *why)
{
    const struct engine_cluster *cluster = &monitor->cluster;
    if (monitor->published_at == 0 || !cluster->is_cluster) return;
    if (monitor_lacks_room(cluster)) {
        refusal_message(why, "this node has no room for what the cluster has written");
        refusal_detail(
            why,
            "Its disk is full, or ledger.memory. Calls here wait for ledger.quorum_wait, and the others go on.");
        refusal_hint(
            why,
            "Make room in the file system of ledger.data_directory; or increase ledger.memory and restart the server. Work goes on by itself.");
        return;
    }
    if (!monitor_is_member(cluster)) {
        refusal_message(why, "node \"%s\" is not a member of its cluster", settings_node_name);
        refusal_detail(why, MONITOR_OUTSIDE_DETAIL);
        refusal_hint(why, MONITOR_OUTSIDE_HINT);
        return;
    }
    const uint32 quorum = cluster->voters / 2 + 1;
    if (cluster->reachable < quorum) {
        refusal_message(why, "the ledger cluster has no quorum");
        refusal_detail(
            why,
            "%u of %u nodes can be reached, and %u are needed.",
            cluster->reachable,
            cluster->voters,
            quorum);
        refusal_hint(
            why,
            "Start the others, or restore the network between them: ledger.cluster shows which. Work goes on by itself.");
        return;
    }
    if (cluster->primary < 0) {
        refusal_message(why, "the ledger cluster has no primary");
        refusal_hint(why, "Wait for some seconds: a node is about to become it.");
        return;
    }
    const char *refused = refused_node(cluster);
    if (refused != NULL) {
        refusal_message(why, "node \"%s\" of the ledger cluster is refused", refused);
        refusal_detail(
            why,
            "What runs as this node is a directory that is older than what it was at, or a copy of it.");
        refusal_hint(
            why,
            "If no other server runs as this node: SELECT ledger.cluster_remove('%s'), empty its directory, and add it anew. See \"An older copy of a node\" in doc/operations.md.",
            refused);
        return;
    }
    if (cluster->reachable == cluster->voters) return;
    refusal_message(why, "a node of the ledger cluster cannot be reached from here");
    refusal_detail(
        why, "%u of %u nodes can be reached.", cluster->reachable, cluster->voters);
    refusal_hint(why, "ledger.cluster shows which.");
}

/* ---- ledger.status --------------------------------------------------------------------------- */

#define MONITOR_STATE_COLUMNS 12

static void
row_put_state(struct monitor_row *row, const struct engine_state *state)
{
    int columns_before = row->columns;
    row_put_count(row, state->view);
    row_put_count(row, state->op);
    row_put_count(row, state->commit);
    row_put_count(row, state->checkpoint_op);
    row_put_count(row, state->timestamp);
    row_put_count(row, state->wal_used_bytes);
    row_put_count(row, state->wal_size_bytes);
    row_put_count(row, state->grid_used_bytes);
    row_put_count(row, state->grid_size_bytes);
    row_put_count(row, state->memory_bytes);
    row_put_count(row, state->accounts);
    row_put_count(row, state->transfers);
    assert(row->columns - columns_before == MONITOR_STATE_COLUMNS);
}

#define MONITOR_SCRUB_COLUMNS 3

static void
row_put_scrub(struct monitor_row *row, const struct engine_state *state)
{
    const uint64_t total = max_u64(state->scrub_blocks_total, 1);
    const uint64_t done = min_u64(state->scrub_tour_blocks, total);
    int columns_before = row->columns;
    row_put(row, Float8GetDatum((double) done / (double) total), false);
    row_put_count(row, state->scrub_tours);
    row_put_count(row, state->damaged_blocks);
    assert(row->columns - columns_before == MONITOR_SCRUB_COLUMNS);
}

Datum
ledger_status(PG_FUNCTION_ARGS)
{
    struct monitor monitor;
    struct monitor_row row = {0};
    struct availability availability;
    bool known = monitor_read(&monitor);
    availability_get(&availability);
    const bool works = availability.role <= ROLE_OPENING;
    struct refusal *why = works ? &monitor.warning : &availability.why;
    if (works && why->message[0] == '\0') describe_cluster(&monitor, why);
    row_put(&row, CStringGetTextDatum(role_name(&availability, &monitor)), false);
    row_put_text(&row, why->message);
    row_put_text(&row, why->detail);
    row_put_text(&row, why->hint);
    if (monitor.published_at != 0) {
        row_put_state(&row, &monitor.state);
    } else {
        row_put_counts_null(&row, MONITOR_STATE_COLUMNS);
    }
    row_put_text(&row, monitor.io_method);
    row_put(&row, BoolGetDatum(monitor.io_direct), monitor.io_method[0] == '\0');
    row_put_text(&row, monitor.data_directory);
    row_put(&row, Int32GetDatum(monitor.worker_pid), monitor.worker_pid == 0);
    row_put(&row, Int64GetDatum(monitor.worker_starts), !known);
    row_put_time(&row, monitor.opened_at);
    row_put(&row, Int64GetDatum((int64) monitor.ops_replayed), monitor.opened_at == 0);
    row_put_time(&row, monitor.published_at);
    if (monitor.published_at != 0) {
        row_put_scrub(&row, &monitor.state);
    } else {
        row_put_counts_null(&row, MONITOR_SCRUB_COLUMNS);
    }
    row_put_uuid(&row, monitor.opened_at != 0 ? monitor.identity.cluster : why->ledger);
    row_put_text(&row, settings_has_node() ? settings_node_name : "");
    return row_to_datum(fcinfo, &row);
}

/* ---- ledger.stats, ledger.stats_events ------------------------------------------------------- */

/* The last entry counts `created`, which has no small number. */
#define MONITOR_CREATED (ENGINE_STATUS_CODES_MAX - 1)

/* An event that gets `exists` has succeeded before, so it isn't a failure. */
static uint64_t
monitor_failed_count(const uint64_t *counts, uint32_t exists)
{
    uint64_t failed = 0;
    for (uint32_t status = 0; status < MONITOR_CREATED; status++) {
        if (status != exists) failed += counts[status];
    }
    return failed;
}

static void
row_put_solo_writes(struct monitor_row *row, const struct storage_solo_stats *solo)
{
    static const char *const methods[STORAGE_WAY_COUNT] = {
        [STORAGE_WAY_RING] = "io_uring",
        [STORAGE_WAY_CALL] = "sync",
    };
    row_put_text(row, methods[solo->way]);
    for (int way = 0; way < STORAGE_WAY_COUNT; way++) row_put_count(row, solo->writes[way]);
    for (int way = 0; way < STORAGE_WAY_COUNT; way++) {
        const uint64_t ns = solo->latency_ns[way];
        row_put(row, Float8GetDatum((double) ns / NS_PER_US), ns == 0);
    }
}

static void
row_put_sleepers(struct monitor_row *row)
{
    const struct sleepers_stats sleepers = slots_stats(shared_slots());
    row_put_count(row, sleepers.wakes);
    row_put_count(row, sleepers.woken);
    row_put_count(row, sleepers.in_vain);
}

Datum
ledger_stats(PG_FUNCTION_ARGS)
{
    struct monitor monitor;
    struct monitor_row row = {0};
    monitor_read(&monitor);
    if (monitor.published_at == 0) PG_RETURN_NULL();

    const struct engine_stats *stats = &monitor.stats;
    row_put_count(&row, stats->requests);
    row_put_count(&row, stats->requests_refused);
    row_put_count(&row, stats->reads);
    row_put_count(&row, stats->prepares);
    row_put_count(&row, stats->pulses);
    row_put_count(&row, stats->account_events[MONITOR_CREATED]);
    row_put_count(&row, stats->transfer_events[MONITOR_CREATED]);
    row_put_count(
        &row,
        monitor_failed_count(stats->account_events, ACCOUNT_STATUS_exists) +
            monitor_failed_count(stats->transfer_events, TRANSFER_STATUS_exists));
    row_put_percentiles(&row, &stats->events_per_prepare);
    row_put_percentiles(&row, &stats->requests_per_prepare);
    row_put_percentiles_us(&row, &stats->commit_latency_ns);
    row_put_count(&row, stats->journal.prepares_bytes_written);
    row_put_count(&row, stats->journal.prepares_writes);
    row_put_count(&row, stats->journal.headers_bytes_written);
    row_put_count(&row, stats->journal.headers_writes);
    row_put_solo_writes(&row, &stats->solo_writes);
    row_put_count(&row, stats->checkpoints);
    row_put_sleepers(&row);
    row_put_time(&row, monitor.opened_at);
    row_put_time(&row, monitor.published_at);
    return row_to_datum(fcinfo, &row);
}

static void
put_event_counts(
    ReturnSetInfo *set,
    const char *kind,
    const uint64_t *counts,
    const char *(*status_name)(uint32_t status))
{
    for (uint32_t index = 0; index < ENGINE_STATUS_CODES_MAX; index++) {
        const char *name = status_name(index == MONITOR_CREATED ? STATUS_CREATED : index);
        if (counts[index] == 0) continue;
        assert(name != NULL);
        struct monitor_row row = {0};
        row_put_text(&row, kind);
        row_put_text(&row, name);
        row_put_count(&row, counts[index]);
        tuplestore_putvalues(set->setResult, set->setDesc, row.values, row.nulls);
    }
}

Datum
ledger_stats_events(PG_FUNCTION_ARGS)
{
    struct monitor monitor;
    ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
    InitMaterializedSRF(fcinfo, 0);
    monitor_read(&monitor);
    if (monitor.published_at == 0) return (Datum) 0;

    const struct engine_stats *stats = &monitor.stats;
    put_event_counts(set, "account", stats->account_events, create_account_status_name);
    put_event_counts(set, "transfer", stats->transfer_events, create_transfer_status_name);
    return (Datum) 0;
}

/* ---- ledger.storage -------------------------------------------------------------------------- */

static void
row_put_written(struct monitor_row *row, const struct engine_stats *stats)
{
    const uint64_t transfers = stats->transfer_events[MONITOR_CREATED];
    const uint64_t bytes = stats->journal.prepares_bytes_written +
                           stats->journal.headers_bytes_written +
                           stats->blocks_written * BLOCK_SIZE;
    row_put_count(row, stats->blocks_written);
    row_put_count(row, stats->blocks_read);
    row_put_count(row, bytes);
    row_put_ratio(row, bytes, transfers);
    row_put_ratio(row, bytes, transfers * EVENT_SIZE);
}

Datum
ledger_storage(PG_FUNCTION_ARGS)
{
    struct monitor monitor;
    struct monitor_row row = {0};
    monitor_read(&monitor);
    if (monitor.published_at == 0) PG_RETURN_NULL();

    const struct engine_state *state = &monitor.state;
    const struct engine_stats *stats = &monitor.stats;
    row_put_count(&row, state->grid_size_bytes);
    row_put_count(&row, state->grid_used_bytes);
    row_put_count(&row, state->grid_size_bytes - state->grid_used_bytes);
    row_put_count(&row, BLOCK_SIZE);
    row_put_written(&row, stats);
    row_put_count(&row, state->cache_size_bytes / BLOCK_SIZE);
    row_put_count(&row, stats->cache_hits);
    row_put_count(&row, stats->cache_misses);
    row_put_count(&row, stats->cache_evictions);
    row_put_ratio(&row, stats->cache_hits, stats->cache_hits + stats->cache_misses);
    row_put_count(&row, state->tables);
    row_put_count(&row, state->tables_max);
    row_put_time(&row, monitor.opened_at);
    row_put_time(&row, monitor.published_at);
    return row_to_datum(fcinfo, &row);
}
