/* SPDX-License-Identifier: PostgreSQL */
/*
 * Opening: the superblock, the journal, the forest, the replica, in this order. If one of them
 * isn't right, the report says what is wrong. Nothing is written before it is known that the files
 * are ours. Formatting and adopting are here too.
 */
#include "base/arena.h"
#include "engine/internal.h"
#include "store/grid.h"

enum engine_open_result
engine_format(
    struct storage *storage,
    uint64_t prepares_size_bytes,
    const struct engine_identity *identity,
    const struct members *members,
    void *scratch)
{
    struct superblock superblock;
    struct arena arena;
    const struct superblock_format_options options = {
        .cluster = identity->cluster,
        .incarnation = identity->incarnation,
        .system_identifier = identity->system_identifier,
        .prepares_size_bytes = prepares_size_bytes,
        .members = members,
        .slot = identity->replica,
    };
    const uint32_t voter_count =
        members == NULL ? 1 : members_voter_count(members_voters(members));
    assert(identity->replica_count == voter_count);
    assert(storage->file_size_bytes[STORAGE_PREPARES] == prepares_size_bytes);
    arena_init(&arena, scratch, ENGINE_FORMAT_SCRATCH);
    superblock_init(&superblock, &arena, storage);
    const enum superblock_result result = superblock_format(&superblock, &options);
    return result == SUPERBLOCK_OK ? ENGINE_OPENED : ENGINE_OPEN_IO_ERROR;
}

enum engine_open_result
engine_format_member(
    struct storage *storage,
    uint64_t prepares_size_bytes,
    const struct engine_identity *identity,
    const char *name,
    u128 root_incarnation,
    void *scratch)
{
    struct superblock superblock;
    struct arena arena;
    struct members members;
    assert(identity->replica != 0 && identity->replica < MEMBERS_MAX);
    assert(storage->file_size_bytes[STORAGE_PREPARES] == prepares_size_bytes);
    members_lone(&members, root_incarnation);
    char member_name[MEMBER_NAME_MAX] = {0};
    for (uint32_t i = 0; i < MEMBER_NAME_MAX && name[i] != 0; i++) member_name[i] = name[i];
    assert(member_name_valid(member_name));
    const struct superblock_format_options options = {
        .cluster = identity->cluster,
        .incarnation = identity->incarnation,
        .system_identifier = identity->system_identifier,
        .prepares_size_bytes = prepares_size_bytes,
        .members = &members,
        .slot = identity->replica,
        .name = member_name,
    };
    arena_init(&arena, scratch, ENGINE_FORMAT_SCRATCH);
    superblock_init(&superblock, &arena, storage);
    const enum superblock_result result = superblock_format(&superblock, &options);
    return result == SUPERBLOCK_OK ? ENGINE_OPENED : ENGINE_OPEN_IO_ERROR;
}

static struct engine_identity
identity_of(const struct superblock_state *state)
{
    return (struct engine_identity){
        .cluster = state->cluster,
        .incarnation = state->incarnation,
        .system_identifier = state->system_identifier,
        .replica = state->slot,
        .replica_count = (uint8_t) members_voter_count(members_voters(&state->members)),
    };
}

/* Opens a superblock. *name says what is wrong with it, or "ok". */
static enum engine_open_result
superblock_opened(struct superblock *superblock, const char **name)
{
    const enum superblock_result result = superblock_open(superblock);
    *name = superblock_result_name(result);
    switch (result) {
    case SUPERBLOCK_OK: return ENGINE_OPENED;
    case SUPERBLOCK_ABSENT: return ENGINE_OPEN_ABSENT;
    case SUPERBLOCK_OTHER_VERSION: return ENGINE_OPEN_OTHER_VERSION;
    case SUPERBLOCK_OTHER_CONFIG: return ENGINE_OPEN_OTHER_CONFIG;
    case SUPERBLOCK_PRESENT:
    case SUPERBLOCK_FORK:
    case SUPERBLOCK_QUORUM_LOST:
    case SUPERBLOCK_IO_ERROR: return ENGINE_OPEN_SUPERBLOCK;
    case SUPERBLOCK_REPLACED: break;
    }
    unreachable();
}

enum engine_open_result
engine_inspect(struct storage *storage, void *scratch, struct engine_inspection *inspection)
{
    struct superblock superblock;
    struct arena arena;
    arena_init(&arena, scratch, ENGINE_FORMAT_SCRATCH);
    superblock_init(&superblock, &arena, storage);
    *inspection = (struct engine_inspection){0};
    const enum engine_open_result result =
        superblock_opened(&superblock, &inspection->superblock_name);
    if (result != ENGINE_OPENED) return result;
    const struct superblock_state *state = superblock.working;
    inspection->identity = identity_of(state);
    inspection->commit_op = state->commit_max;
    inspection->checkpoint_timestamp = state->checkpoint.header.timestamp;
    inspection->view = state->view;
    inspection->is_cluster = (state->flags & SUPERBLOCK_NOT_ALONE) != 0;
    memcpy(inspection->node_name, state->name, MEMBER_NAME_MAX);
    return ENGINE_OPENED;
}

/* Nothing to do: the caller sees the result in `working`, which only a durable update replaces. */
static void
adopt_on_done(struct superblock_update *update, enum superblock_result result)
{
    assert(update->kind == SUPERBLOCK_UPDATE_OWNER);
    assert(result == SUPERBLOCK_OK || result == SUPERBLOCK_IO_ERROR);
}

enum engine_open_result
engine_adopt(struct storage *storage, void *scratch, const struct engine_identity *owner)
{
    struct superblock superblock;
    struct arena arena;
    arena_init(&arena, scratch, ENGINE_FORMAT_SCRATCH);
    superblock_init(&superblock, &arena, storage);
    const char *name;
    const enum engine_open_result result = superblock_opened(&superblock, &name);
    if (result != ENGINE_OPENED) return result;
    /* The others know its incarnation: it can't begin another life without them. */
    if ((superblock.working->flags & SUPERBLOCK_NOT_ALONE) != 0) return ENGINE_OPEN_CLUSTER;
    const struct engine_identity before = identity_of(superblock.working);
    assert(before.cluster == owner->cluster);
    assert(before.replica == owner->replica);
    if (superblock_repair(&superblock) != SUPERBLOCK_OK) return ENGINE_OPEN_IO_ERROR;
    struct superblock_update update = {
        .kind = SUPERBLOCK_UPDATE_OWNER,
        .callback = adopt_on_done,
        .incarnation = owner->incarnation,
        .system_identifier = owner->system_identifier,
    };
    superblock_update(&superblock, &update);
    while (superblock_busy(&superblock)) (void) storage_wait(storage);
    const bool adopted = superblock.working->incarnation == owner->incarnation;
    return adopted ? ENGINE_OPENED : ENGINE_OPEN_IO_ERROR;
}

static enum engine_open_result
open_superblock(
    struct engine *engine,
    const struct engine_identity *expected,
    struct engine_open_report *report)
{
    struct superblock *superblock = &engine->superblock;
    const enum engine_open_result result =
        superblock_opened(superblock, &report->superblock_name);
    if (result != ENGINE_OPENED) return result;

    const struct superblock_state *state = superblock->working;
    const struct engine_identity found = identity_of(state);
    report->identity = found;
    if (found.cluster != expected->cluster || found.incarnation != expected->incarnation ||
        found.system_identifier != expected->system_identifier ||
        found.replica != expected->replica) {
        return ENGINE_OPEN_OTHER_IDENTITY;
    }
    /* A member of a cluster can't do anything without the others. */
    const bool member = (state->flags & SUPERBLOCK_NOT_ALONE) != 0;
    if (member && engine->options.network == NULL) return ENGINE_OPEN_CLUSTER;
    const uint64_t headers_size =
        headers_log_count(state->prepares_size_bytes) * PREPARE_HEADER_SIZE;
    if (engine->journal.prepares_size_bytes != state->prepares_size_bytes ||
        engine->storage->file_size_bytes[STORAGE_PREPARES] != state->prepares_size_bytes ||
        engine->storage->file_size_bytes[STORAGE_HEADERS] != headers_size) {
        return ENGINE_OPEN_SIZE_MISMATCH;
    }
    /* As far as can be told, the files are ours. Nothing was written before this point. */
    if (superblock_repair(superblock) != SUPERBLOCK_OK) return ENGINE_OPEN_IO_ERROR;
    report->superblock_copies_repaired = superblock->copies_repaired;
    return ENGINE_OPENED;
}

/* Is there anything in the log that only others may have whole? Never so without peers. */
static bool
journal_damaged(const struct journal_report *report)
{
    return report->damage != NULL || report->uncertain || report->entries_faulty > 0 ||
           report->op_head < report->op_max;
}

/*
 * A member that is far behind takes a view's log over by cutting its own below the headers that the
 * superblock lists. Until it is written over, what was cut is still on the disk, and counts (J6);
 * and with what has come in its place since, it looks like damage. But nothing that lies between
 * what was kept and the list is needed of this node: what the list begins with was committed by a
 * quorum without it. So if nothing is left of the list and what follows it, the log ends before the
 * first op that isn't whole, as it did when it was taken over.
 */
static void
journal_drop_leftover(
    struct journal *journal, const struct superblock_state *state, struct journal_report *report)
{
    const uint64_t op_listed = state->suffix[0].op;
    if (report->uncertain || report->op_max >= op_listed) return;
    uint64_t op = state->op_acked_min;
    if (report->op_head < op) return;
    while (op < report->op_head && !journal_faulty(journal, op + 1)) op += 1;
    for (uint64_t kept = journal->checkpoint.op + 1; kept <= op; kept++) {
        if (journal_faulty(journal, kept)) return; /* That was acknowledged. */
    }
    journal_truncate(journal, op);
    journal_drop_after(journal, op);
    report->op_head = op;
    report->op_max = op;
    report->entries_faulty = 0;
    report->damage = NULL;
}

static enum engine_open_result
open_journal(struct engine *engine, struct engine_open_report *report)
{
    const struct superblock_state *state = engine->superblock.working;
    const struct journal_evidence evidence = {
        .log_view = state->log_view,
        .op_acked_min = state->op_acked_min,
        .suffix_count = state->suffix_count,
        .suffix = state->suffix,
        .commit_max = state->commit_max,
        .commit_max_checksum = state->commit_max_checksum,
        .peers = (state->flags & SUPERBLOCK_NOT_ALONE) != 0,
    };
    const enum journal_recovery result = journal_recover(
        &engine->journal,
        state->cluster,
        &state->checkpoint.header,
        &evidence,
        state->commit_max,
        &report->journal);
    report->op = report->journal.op_head;
    switch (result) {
    case JOURNAL_RECOVERED:
        if (journal_damaged(&report->journal)) {
            journal_drop_leftover(&engine->journal, state, &report->journal);
            report->op = report->journal.op_head;
        }
        /* What others have isn't fetched from them yet: damage stops a member too. */
        if (journal_damaged(&report->journal)) return ENGINE_OPEN_JOURNAL_DAMAGED;
        if (report->op < state->commit_max) return ENGINE_OPEN_JOURNAL_SHORT;
        /* Checked before anything is replayed: files that are refused must stay as they are. */
        if (report->op < engine->options.op_min) return ENGINE_OPEN_BEHIND;
        if (state->view < engine->options.view_min) return ENGINE_OPEN_BEHIND;
        return ENGINE_OPENED;
    case JOURNAL_RECOVERY_AHEAD:
        if (state->view < engine->options.view_min) return ENGINE_OPEN_BEHIND;
        report->op = report->journal.op_ahead;
        return ENGINE_OPEN_OTHER_LOG;
    case JOURNAL_RECOVERY_SHORT: return ENGINE_OPEN_JOURNAL_SHORT;
    case JOURNAL_RECOVERY_DAMAGED: return ENGINE_OPEN_JOURNAL_DAMAGED;
    case JOURNAL_RECOVERY_IO_ERROR: return ENGINE_OPEN_IO_ERROR;
    }
    unreachable();
}

static enum engine_open_result
open_forest(struct engine *engine, struct engine_open_report *report)
{
    const struct superblock_state *state = engine->superblock.working;
    struct forest_open_report forest_report = {0};
    grid_open(&engine->grid, state->cluster);
    const enum forest_open_result result =
        forest_open(engine->forest, &state->checkpoint.root, &forest_report);
    report->block_address = forest_report.block_address;
    report->tree_name = forest_report.tree_name;
    switch (result) {
    case FOREST_OPENED: return ENGINE_OPENED;
    case FOREST_OPEN_CORRUPT: return ENGINE_OPEN_GRID_CORRUPT;
    case FOREST_OPEN_IO_ERROR: return ENGINE_OPEN_IO_ERROR;
    case FOREST_OPEN_MEMORY_TOO_SMALL:
        report->memory_bytes_needed =
            engine_memory_bytes_for(&engine->options, forest_report.memory_bytes_needed);
        return ENGINE_OPEN_MEMORY_TOO_SMALL;
    }
    unreachable();
}

/*
 * Reports a prepare that was whole at recovery, but isn't any more. No rule of recovery decided
 * this.
 */
static void
report_prepare_damage(const struct engine *engine, struct engine_open_report *report)
{
    const struct journal *journal = &engine->journal;
    const struct prepare_header *header = journal_header(journal, report->op);
    report->journal.damage = NULL;
    report->journal.damage_op = report->op;
    report->journal.damage_offset_bytes = header->position % journal->prepares_size_bytes;
    report->journal.damage_size_bytes = prepare_size_on_disk(header);
}

static enum engine_open_result
open_replica(struct engine *engine, struct engine_open_report *report)
{
    const uint64_t op_checkpoint = engine->superblock.working->checkpoint.header.op;
    const enum replica_open_result result =
        replica_open(&engine->replica, engine->options.session, &report->op);
    struct engine_damage damage = {0};
    report->ops_replayed = report->op - op_checkpoint;
    switch (result) {
    case REPLICA_OPENED: return ENGINE_OPENED;
    case REPLICA_OPEN_MEMORY_FULL:
        report->memory_bytes_needed =
            engine_memory_bytes_for(&engine->options, forest_memory_bytes_needed(engine->forest));
        return ENGINE_OPEN_MEMORY_TOO_SMALL;
    case REPLICA_OPEN_DISK_FULL: return ENGINE_OPEN_DISK_FULL;
    case REPLICA_OPEN_IO_ERROR: return ENGINE_OPEN_IO_ERROR;
    case REPLICA_OPEN_PREPARE_DAMAGED:
        report_prepare_damage(engine, report);
        return ENGINE_OPEN_JOURNAL_DAMAGED;
    case REPLICA_OPEN_DAMAGED:
        engine_forest_damage(engine, &damage);
        report->block_address = damage.block_address;
        report->tree_name = damage.tree_name;
        return damage.io_error ? ENGINE_OPEN_IO_ERROR : ENGINE_OPEN_GRID_CORRUPT;
    case REPLICA_OPEN_SESSIONS_INVALID:
        report->block_address = engine->superblock.working->checkpoint.root.address;
        report->tree_name = "root";
        return ENGINE_OPEN_GRID_CORRUPT;
    case REPLICA_OPEN_OTHER_LOG: return ENGINE_OPEN_OTHER_LOG;
    case REPLICA_OPEN_INVALID_PREPARE: return ENGINE_OPEN_INVALID_PREPARE;
    }
    unreachable();
}

enum engine_open_result
engine_open(
    struct engine *engine,
    const struct engine_identity *expected,
    struct engine_open_report *report)
{
    *report = (struct engine_open_report){0};
    enum engine_open_result result = open_superblock(engine, expected, report);
    if (result == ENGINE_OPENED) result = open_journal(engine, report);
    if (result == ENGINE_OPENED) result = open_forest(engine, report);
    if (result == ENGINE_OPENED) result = open_replica(engine, report);
    return result;
}
