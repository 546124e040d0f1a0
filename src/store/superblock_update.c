/* SPDX-License-Identifier: PostgreSQL */
/*
 * Updates of the superblock:
 *
 *    superblock_update ──▶ LOOK (which copies are bad) ──▶ WRITE (those first) ──▶ VERIFY
 *           │                   ▲                                                    │
 *           │ one runs:         └──── all that waits becomes the next ────────  callbacks
 *           └ it waits                                                          (S8)
 */
#include <string.h>

#include "base/units.h"
#include "store/superblock_internal.h"

static void superblock_update_on_done(struct storage_request *request);

/* The copy that the present step works on. */
static uint32_t
superblock_update_copy(const struct superblock *superblock)
{
    assert(superblock->step_count < SUPERBLOCK_COPIES);
    if (superblock->step != SUPERBLOCK_WRITE) return superblock->step_count;
    return superblock->order[superblock->step_count];
}

static void
superblock_update_submit(struct superblock *superblock)
{
    const uint32_t copy = superblock_update_copy(superblock);
    const bool writes = superblock->step == SUPERBLOCK_WRITE;
    assert(superblock->updating);
    assert(!superblock->request.in_flight);
    if (writes) superblock->staging->copy = (uint16_t) copy;
    superblock->request = (struct storage_request){
        .direction = writes ? STORAGE_WRITE : STORAGE_READ,
        .file = STORAGE_SUPERBLOCK,
        .offset_bytes = superblock_copy_offset_bytes(copy),
        .size_bytes = SECTOR_SIZE,
        .buffer = writes ? superblock->staging : superblock->reading + copy,
        .callback = superblock_update_on_done,
    };
    storage_submit(superblock->storage, &superblock->request);
}

/* Does the copy that was read hold the state before the update? */
static bool
superblock_copy_is_working(const struct superblock *superblock, uint32_t copy)
{
    const struct superblock_state *read = superblock->reading + copy;
    if (!superblock_copy_valid(read, copy)) return false;
    return read->checksum == superblock->working->checksum;
}

/* (S6) */
static void
superblock_update_order(struct superblock *superblock)
{
    uint32_t count = 0;
    assert(superblock->step == SUPERBLOCK_LOOK);
    for (uint32_t good = 0; good < 2; good++) {
        for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
            if (superblock_copy_is_working(superblock, copy) != (good == 1)) continue;
            superblock->order[count] = copy;
            count += 1;
        }
    }
    assert(count == SUPERBLOCK_COPIES);
}

static bool
superblock_staging_verified(struct superblock *superblock)
{
    uint32_t identical = 0;
    assert(superblock->step == SUPERBLOCK_VERIFY);
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        superblock->staging->copy = (uint16_t) copy;
        const struct superblock_state *read = superblock->reading + copy;
        identical += memcmp(read, superblock->staging, sizeof(*read)) == 0;
    }
    return identical >= SUPERBLOCK_VERIFY_MIN;
}

/* Takes what was asked for off a list by kind, and calls back. */
static void
superblock_answer(struct superblock_update **updates, enum superblock_result result)
{
    struct superblock_update *taken[SUPERBLOCK_UPDATE_KIND_COUNT];
    for (uint32_t kind = 0; kind < SUPERBLOCK_UPDATE_KIND_COUNT; kind++) {
        taken[kind] = updates[kind];
        updates[kind] = NULL;
    }
    for (uint32_t kind = 0; kind < SUPERBLOCK_UPDATE_KIND_COUNT; kind++) {
        if (taken[kind] != NULL) taken[kind]->callback(taken[kind], result);
    }
}

static void
superblock_answer_replaced(struct superblock *superblock)
{
    while (superblock->replaced != NULL) {
        struct superblock_update *update = superblock->replaced;
        assert(update->kind == SUPERBLOCK_UPDATE_VIEW);
        superblock->replaced = update->replaced_next;
        update->replaced_next = NULL;
        update->callback(update, SUPERBLOCK_REPLACED);
    }
}

static bool
superblock_pending(const struct superblock *superblock)
{
    bool any = false;
    for (uint32_t kind = 0; kind < SUPERBLOCK_UPDATE_KIND_COUNT; kind++) {
        any |= superblock->pending[kind] != NULL;
    }
    return any;
}

/* (S8): all that waits becomes one update. */
static void
superblock_update_next(struct superblock *superblock)
{
    assert(!superblock->updating);
    assert(superblock_pending(superblock));
    struct superblock_state *staging = superblock_stage(superblock);
    for (uint32_t kind = 0; kind < SUPERBLOCK_UPDATE_KIND_COUNT; kind++) {
        struct superblock_update *update = superblock->pending[kind];
        if (update == NULL) continue;
        assert(superblock->running[kind] == NULL);
        superblock->running[kind] = update;
        superblock->pending[kind] = NULL;
        superblock_state_apply(staging, update);
    }
    superblock_update_begin(superblock);
}

static void
superblock_update_finish(struct superblock *superblock, enum superblock_result result)
{
    assert(superblock->updating);
    assert(result == SUPERBLOCK_OK || result == SUPERBLOCK_IO_ERROR);
    if (result == SUPERBLOCK_OK) {
        assert(superblock->staging->sequence == superblock->working->sequence + 1); /* (S1) */
        assert(superblock->staging->parent == superblock->working->checksum);
        superblock->staging->copy = 0;
        *superblock->working = *superblock->staging;
    }
    superblock->failed = result != SUPERBLOCK_OK;
    /* What the callbacks ask for waits for what else is told and taken here. */
    superblock_answer(superblock->running, result);
    if (superblock->failed) superblock_answer(superblock->pending, result);
    superblock_answer_replaced(superblock);
    superblock->updating = false;
    if (superblock_pending(superblock)) superblock_update_next(superblock);
}

static void
superblock_update_on_done(struct storage_request *request)
{
    struct superblock *superblock = container_of(request, struct superblock, request);
    assert(superblock->updating);

    if (request->result != STORAGE_OK) {
        if (superblock->step == SUPERBLOCK_WRITE) {
            superblock_update_finish(superblock, SUPERBLOCK_IO_ERROR);
            return;
        }
        /* A copy that can't be read counts as not identical. */
        memset(superblock->reading + superblock->step_count, 0, SECTOR_SIZE);
    }
    superblock->step_count += 1;
    if (superblock->step_count == SUPERBLOCK_COPIES) {
        if (superblock->step == SUPERBLOCK_VERIFY) {
            const bool verified = superblock_staging_verified(superblock); /* (S3) */
            superblock_update_finish(superblock, verified ? SUPERBLOCK_OK : SUPERBLOCK_IO_ERROR);
            return;
        }
        if (superblock->step == SUPERBLOCK_LOOK) superblock_update_order(superblock);
        superblock->step += 1;
        superblock->step_count = 0;
    }
    superblock_update_submit(superblock);
}

struct superblock_state *
superblock_stage(struct superblock *superblock)
{
    assert(!superblock->updating);
    assert(superblock->settled); /* (S5) */
    *superblock->staging = *superblock->working;
    superblock->staging->sequence += 1; /* (S1) */
    superblock->staging->parent = superblock->working->checksum;
    return superblock->staging;
}

void
superblock_update_begin(struct superblock *superblock)
{
    const struct superblock_state *working = superblock->working;
    struct superblock_state *staging = superblock->staging;
    assert(!superblock->updating);
    assert(staging->view >= working->view); /* (S2) */
    assert(staging->log_view >= working->log_view);
    assert(staging->commit_max >= working->commit_max);
    assert(staging->checkpoint.header.op >= working->checkpoint.header.op);
    assert(staging->record_op >= working->record_op); /* (S10) */
    /* Otherwise opening would refuse what is about to be written. */
    assert(superblock_state_sound(staging));

    staging->checksum = superblock_checksum(staging);
    superblock->updating = true;
    superblock->step = SUPERBLOCK_LOOK;
    superblock->step_count = 0;
    superblock_update_submit(superblock);
}

/* (S2), compared with what will be durable before it. */
static void
superblock_update_check(const struct superblock *superblock, const struct superblock_update *update)
{
    const struct superblock_state *before =
        superblock->updating ? superblock->staging : superblock->working;
    const struct superblock_update *waits = superblock->pending[update->kind];
    switch (update->kind) {
    case SUPERBLOCK_UPDATE_VIEW:
        assert(update->view >= update->log.log_view);
        assert(update->view >= before->view);
        assert(update->log.log_view >= before->log_view);
        if (waits == NULL) break;
        /* A newer view may have an older log: then that of the view that waits never was. */
        assert(update->view >= waits->view);
        if (update->view == waits->view) assert(update->log.log_view > waits->log.log_view);
        break;
    case SUPERBLOCK_UPDATE_CHECKPOINT:
        assert(waits == NULL);
        assert(update->log.log_view <= before->log_view);
        assert(update->checkpoint.header.op >= before->checkpoint.header.op);
        break;
    case SUPERBLOCK_UPDATE_OWNER:
    case SUPERBLOCK_UPDATE_NODE: assert(waits == NULL); break;
    }
    const struct superblock_node *node = &update->node;
    assert(((node->flags_set | node->flags_cleared) & ~(uint32_t) SUPERBLOCK_FLAGS) == 0);
    assert((node->flags_cleared & ~(uint32_t) SUPERBLOCK_SYNCING) == 0); /* (S10) */
    assert((node->flags_set & node->flags_cleared) == 0);
    if (node->fences) assert(node->record_op >= before->record_op); /* (S10) */
    assert(node->heard_of < UINT32_C(1) << MEMBERS_MAX);
}

void
superblock_update(struct superblock *superblock, struct superblock_update *update)
{
    assert(update->callback != NULL);
    assert((uint32_t) update->kind < SUPERBLOCK_UPDATE_KIND_COUNT);
    assert(update->replaced_next == NULL);
    assert(superblock->working->sequence > 0);
    assert(!superblock->failed);
    superblock_update_check(superblock, update);
    struct superblock_update *waits = superblock->pending[update->kind];
    if (waits != NULL) {
        waits->replaced_next = superblock->replaced;
        superblock->replaced = waits;
    }
    superblock->pending[update->kind] = update;
    if (!superblock->updating) superblock_update_next(superblock);
}

bool
superblock_busy(const struct superblock *superblock)
{
    return superblock->updating || superblock_pending(superblock);
}
