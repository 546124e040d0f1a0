/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which faults may happen, and what the disk should hold.
 *
 * SURVIVABLE: a lone node recovers everything, and reports nothing, but for one case.
 *  superblock    any fault of one copy while the other three are valid and identical.
 *  headers.wal   anything: the prepares are whole. If a fault has hit the entry behind the newest
 *                op, the node doesn't start, for it can't know whether that op was all
 *                (atlas_uncertain).
 *  prepares.wal, only errors of writes and of growth: what is in flight was promised to nobody.
 *  grid
 *
 * DAMAGE: recovered, or reported; never open with something missing. Everywhere anything, but for
 *  the one case that the recovery table can't tell from a crash (torn_prepare, end): the newest
 *  prepare is damaged, and its header was never written. So of the newest prepare that the disk has
 *  taken (op_done), unless a checkpoint covers it,
 *  - the prepare itself stays intact while the engine runs or opens: its header may be torn by the
 *    next append;
 *  - or, while the engine is gone, its header does.
 *  What is older is proved by it, and may lose both its prepare and its header; and so may the
 *  newest one, if the superblock says that it was acknowledged.
 *  Where the answer waits for the prepare only (JOURNAL_SYNC_FIRST), its write is not lost or
 *  misdirected: that is what is given up, and window.c's subject.
 */
#include "sim/sim.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/units.h"
#include "store/superblock.h"

void
atlas_init(struct sim *sim)
{
    sim->atlas = (struct sim_atlas){.stamp = UINT64_MAX};
}

void
atlas_free(struct sim *sim)
{
    for (uint32_t i = 0; i < STORAGE_FILE_COUNT; i++) free(sim->atlas.meant[i]);
}

/* ---- What was meant -------------------------------------------------------------------------- */

static uint8_t *
meant(struct sim *sim, enum storage_file file)
{
    struct sim_atlas *atlas = &sim->atlas;
    const uint64_t size_old = atlas->meant_size_bytes[file];
    const uint64_t size_new = sim->disk.files[file].size_bytes;
    assert(size_new >= size_old);
    if (size_new > atlas->meant_capacity_bytes[file]) {
        const uint64_t capacity = max_u64(size_new, 2 * atlas->meant_capacity_bytes[file]);
        uint8_t *bytes = calloc(1, capacity);
        assert(bytes != NULL);
        if (size_old > 0) memcpy(bytes, atlas->meant[file], size_old);
        free(atlas->meant[file]);
        atlas->meant[file] = bytes;
        atlas->meant_capacity_bytes[file] = capacity;
    }
    atlas->meant_size_bytes[file] = size_new;
    return atlas->meant[file];
}

void
atlas_wrote(struct sim *sim, const struct storage_request *write, bool done)
{
    const uint8_t *on_disk = storage_sim_bytes(&sim->disk, write->file) + write->offset_bytes;
    uint8_t *target = meant(sim, write->file) + write->offset_bytes;
    for (uint64_t at = 0; at < write->size_bytes;) {
        uint64_t piece_bytes;
        const uint8_t *piece = storage_request_piece(write, at, &piece_bytes);
        memcpy(target + at, done ? piece : on_disk + at, piece_bytes);
        at += piece_bytes;
    }
}

bool
atlas_faulty(const struct sim *sim)
{
    for (uint32_t i = 0; i < STORAGE_FILE_COUNT; i++) {
        const uint64_t size_bytes = sim->disk.files[i].size_bytes;
        if (size_bytes == 0) continue;
        if (storage_sim_faulty(&sim->disk, (enum storage_file) i, 0, size_bytes)) return true;
    }
    return false;
}

bool
atlas_damaged(const struct sim *sim)
{
    return sim->options.profile >= SIM_DAMAGE && atlas_faulty(sim);
}

void
atlas_heal(struct sim *sim)
{
    static uint8_t sector[SECTOR_SIZE] __attribute__((aligned(SECTOR_SIZE)));
    assert(sim->engine == NULL);
    sim->atlas.healing = true;
    for (uint32_t i = 0; i < STORAGE_FILE_COUNT; i++) {
        const enum storage_file file = (enum storage_file) i;
        const uint64_t size_bytes = sim->disk.files[file].size_bytes;
        for (uint64_t offset = 0; offset < size_bytes; offset += SECTOR_SIZE) {
            if (!storage_sim_faulty(&sim->disk, file, offset, SECTOR_SIZE)) continue;
            memcpy(sector, meant(sim, file) + offset, SECTOR_SIZE);
            const enum storage_result result = storage_transfer_now(
                &sim->disk.storage, STORAGE_WRITE, file, offset, sector, SECTOR_SIZE);
            assert(result == STORAGE_OK);
        }
    }
    sim->atlas.healing = false;
    sim->counts.healed += 1;
    assert(!atlas_faulty(sim));
}

/* ---- Questions ------------------------------------------------------------------------------- */

static bool
overlaps(uint64_t a_offset, uint64_t a_size, uint64_t b_offset, uint64_t b_size)
{
    return a_offset < b_offset + b_size && b_offset < a_offset + a_size;
}

/* Would the fault that is asked about damage a part of this range? */
static bool
asked_about(
    const struct sim *sim,
    const struct storage_request *asked,
    enum storage_file file,
    uint64_t offset_bytes,
    uint64_t size_bytes)
{
    const struct sim_atlas *atlas = &sim->atlas;
    const uint64_t stamp = sim->disk.counters.reads + sim->disk.counters.writes;
    if (asked->file == file &&
        overlaps(asked->offset_bytes, asked->size_bytes, offset_bytes, size_bytes)) {
        return true;
    }
    return atlas->stamp == stamp && atlas->file == file &&
           overlaps(atlas->offset_bytes, atlas->size_bytes, offset_bytes, size_bytes);
}

static bool
copy_valid(const struct sim *sim, uint64_t offset_bytes)
{
    const uint64_t start = offsetof(struct superblock_state, version);
    const uint8_t *bytes = sim->disk.files[STORAGE_SUPERBLOCK].bytes + offset_bytes;
    u128 stored;
    if (storage_sim_faulty(&sim->disk, STORAGE_SUPERBLOCK, offset_bytes, SECTOR_SIZE)) return false;
    memcpy(&stored, bytes, sizeof(stored));
    return stored == checksum(bytes + start, SECTOR_SIZE - start);
}

static bool
superblock_spares(const struct sim *sim, const struct storage_request *asked)
{
    const uint8_t *bytes = sim->disk.files[STORAGE_SUPERBLOCK].bytes;
    const uint8_t *first = NULL;
    uint32_t identical = 0;
    uint32_t hit = 0;
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        const uint64_t offset = copy * SUPERBLOCK_COPY_STRIDE;
        if (asked_about(sim, asked, STORAGE_SUPERBLOCK, offset, SECTOR_SIZE)) {
            hit += 1;
            continue;
        }
        if (!copy_valid(sim, offset)) continue;
        if (first == NULL) first = bytes + offset;
        identical += memcmp(first, bytes + offset, sizeof(u128)) == 0;
    }
    return hit == 0 || identical == SUPERBLOCK_COPIES - 1;
}

bool
atlas_header_on_disk(const struct sim *sim, const struct prepare_header *header)
{
    const uint64_t count = headers_log_count(sim->options.prepares_size_bytes);
    const uint64_t offset = headers_log_entry(count, header->op) * PREPARE_HEADER_SIZE;
    const uint8_t *bytes = sim->disk.files[STORAGE_HEADERS].bytes + offset;
    if (storage_sim_faulty(&sim->disk, STORAGE_HEADERS, offset, PREPARE_HEADER_SIZE)) return false;
    return memcmp(bytes, header, PREPARE_HEADER_SIZE) == 0;
}

bool
atlas_uncertain(
    const struct sim *sim,
    enum engine_open_result result,
    const struct journal_report *journal)
{
    if (result != ENGINE_OPEN_JOURNAL_DAMAGED || !journal->uncertain) return false;
    const uint64_t count = headers_log_count(sim->options.prepares_size_bytes);
    const uint64_t offset = headers_log_entry(count, journal->damage_op) * PREPARE_HEADER_SIZE;
    return storage_sim_faulty(&sim->disk, STORAGE_HEADERS, offset, PREPARE_HEADER_SIZE);
}

const struct superblock_state *
atlas_superblock(const struct sim *sim)
{
    const uint8_t *bytes = sim->disk.files[STORAGE_SUPERBLOCK].bytes;
    const struct superblock_state *chosen = NULL;
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++) {
        const struct superblock_state *state = (const void *) (bytes + i * SUPERBLOCK_COPY_STRIDE);
        uint32_t identical = 0;
        for (uint32_t j = 0; j < SUPERBLOCK_COPIES; j++) {
            const uint64_t offset = j * SUPERBLOCK_COPY_STRIDE;
            const bool same = memcmp(state, bytes + offset, sizeof(u128)) == 0;
            identical += same && copy_valid(sim, offset);
        }
        if (identical < 2) continue;
        if (chosen == NULL || state->sequence > chosen->sequence) chosen = state;
    }
    return chosen;
}

/* Does the superblock say that this op was acknowledged, whichever of its copies count? */
static bool
superblock_has_acked(const struct sim *sim, uint64_t op)
{
    const uint8_t *bytes = sim->disk.files[STORAGE_SUPERBLOCK].bytes;
    uint32_t valid = 0;
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        const uint64_t offset = copy * SUPERBLOCK_COPY_STRIDE;
        const struct superblock_state *state = (const void *) (bytes + offset);
        if (!copy_valid(sim, offset)) continue;
        if (state->op_acked_min < op) return false;
        valid += 1;
    }
    return valid > 0;
}

/* Does something prove the newest prepare, even then? */
static bool
evidence_stays(const struct sim *sim, const struct storage_request *asked)
{
    const struct sim_oracle *oracle = &sim->oracle;
    if (oracle->op_done <= oracle->checkpoint_op) return true;
    if (superblock_has_acked(sim, oracle->op_done)) return true;
    const struct prepare_header *header = oracle_prepare(sim, oracle->op_done);
    assert(header != NULL);
    const uint64_t place = header->position % sim->options.prepares_size_bytes;
    const uint64_t size = prepare_size_on_disk(header);
    const bool intact =
        !storage_sim_faulty(&sim->disk, STORAGE_PREPARES, place, size) &&
        memcmp(sim->disk.files[STORAGE_PREPARES].bytes + place, header, size) == 0;
    if (intact && !asked_about(sim, asked, STORAGE_PREPARES, place, size)) return true;
    return sim->engine == NULL && asked->file == STORAGE_PREPARES &&
           atlas_header_on_disk(sim, header);
}

static bool
lies_of_a_prepare(const struct sim *sim, const struct storage_request *asked)
{
    const enum storage_sim_fault fault = sim->disk.fault_asked;
    return asked->file == STORAGE_PREPARES &&
           (fault == STORAGE_SIM_LOST_WRITE || fault == STORAGE_SIM_MISDIRECTED_WRITE);
}

static bool
atlas_decides(const struct sim *sim, const struct storage_request *asked)
{
    if (sim->calm || sim->atlas.healing) return false;
    /* It damages nothing. */
    if (sim->disk.fault_asked == STORAGE_SIM_GROW_ERROR) return sim->options.profile > SIM_CRASHES;
    const bool write_error = sim->disk.fault_asked == STORAGE_SIM_WRITE_ERROR;
    switch (sim->options.profile) {
    case SIM_QUIET:
    case SIM_CRASHES: return false;
    case SIM_SURVIVABLE:
        if (asked->file == STORAGE_SUPERBLOCK) return superblock_spares(sim, asked);
        return asked->file == STORAGE_HEADERS || write_error;
    case SIM_DAMAGE:
        if (asked->file == STORAGE_SUPERBLOCK || asked->file == STORAGE_GRID) return true;
        if (sim->options.sync == JOURNAL_SYNC_FIRST && lies_of_a_prepare(sim, asked)) return false;
        return evidence_stays(sim, asked);
    case SIM_WINDOW: return sim->window.armed && lies_of_a_prepare(sim, asked);
    }
    unreachable();
}

bool
atlas_allows(void *context, enum storage_file file, uint64_t offset_bytes, uint64_t size_bytes)
{
    struct sim *sim = context;
    const struct storage_request asked = {
        .file = file,
        .offset_bytes = offset_bytes,
        .size_bytes = size_bytes,
    };
    if (!atlas_decides(sim, &asked)) return false;
    if (sim->disk.fault_asked == STORAGE_SIM_GROW_ERROR) return true;
    sim->atlas.stamp = sim->disk.counters.reads + sim->disk.counters.writes;
    sim->atlas.file = file;
    sim->atlas.offset_bytes = offset_bytes;
    sim->atlas.size_bytes = size_bytes;
    return true;
}

/* ---- Damage from outside --------------------------------------------------------------------- */

static uint64_t
victim_offset(struct sim *sim, enum storage_file file)
{
    const struct sim_oracle *oracle = &sim->oracle;
    const uint64_t size_bytes = sim->disk.files[file].size_bytes;
    if (file == STORAGE_SUPERBLOCK) {
        return prng_below(&sim->prng, SUPERBLOCK_COPIES) * SUPERBLOCK_COPY_STRIDE;
    }
    if (file == STORAGE_PREPARES && oracle->op_done > oracle->checkpoint_op) {
        const uint64_t op = prng_range(&sim->prng, oracle->checkpoint_op + 1, oracle->op_done);
        const struct prepare_header *header = oracle_prepare(sim, op);
        if (header != NULL) return header->position % sim->options.prepares_size_bytes;
    }
    return prng_below(&sim->prng, size_bytes / SECTOR_SIZE) * SECTOR_SIZE;
}

void
atlas_inject(struct sim *sim)
{
    assert(sim->engine == NULL);
    if (!prng_chance(&sim->prng, sim->options.injections, 100)) return;
    const uint64_t count = prng_range(&sim->prng, 1, 3);
    for (uint64_t i = 0; i < count; i++) {
        const enum storage_file file =
            (enum storage_file) prng_below(&sim->prng, STORAGE_FILE_COUNT);
        if (sim->disk.files[file].size_bytes == 0) continue;
        const uint64_t offset = victim_offset(sim, file);
        const bool rots = prng_chance(&sim->prng, 2, 3);
        sim->atlas.stamp = UINT64_MAX;
        sim->disk.fault_asked = rots ? STORAGE_SIM_ROT : STORAGE_SIM_LATENT_ERROR;
        if (!atlas_allows(sim, file, offset, SECTOR_SIZE)) continue;
        if (rots) {
            storage_sim_rot(&sim->disk, file, offset, SECTOR_SIZE);
        } else {
            storage_sim_latent_error(&sim->disk, file, offset, SECTOR_SIZE);
        }
    }
    sim->atlas.stamp = UINT64_MAX;
}
