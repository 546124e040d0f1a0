/* SPDX-License-Identifier: PostgreSQL */
/* See superblock_bench.h. */
#include "unit/superblock_bench.h"

#include <string.h>

#include "base/units.h"
#include "unit.h"

struct superblock_bench bench;

const struct superblock_format_options bench_format = {
    .cluster = BENCH_CLUSTER,
    .incarnation = 5,
    .system_identifier = 6,
    .prepares_size_bytes = PREPARES_SIZE_MIN,
};

void
bench_begin(uint64_t seed)
{
    prng_init(&bench.prng, seed);
    const struct storage_sim_options options = {
        .file_size_bytes = {[STORAGE_SUPERBLOCK] = SUPERBLOCK_FILE_SIZE},
    };
    storage_sim_init(&bench.sim, &options, &bench.prng);
    superblock_restart(&bench.superblock, &bench.sim);
}

void
bench_begin_formatted(uint64_t seed)
{
    bench_begin(seed);
    expect_equal(superblock_format(&bench.superblock, &bench_format), SUPERBLOCK_OK);
    superblock_chain_init(&bench.chain, BENCH_CLUSTER);
}

void
bench_end(void)
{
    storage_sim_free(&bench.sim);
}

void
bench_on_done(struct superblock_update *update, enum superblock_result result)
{
    struct bench_asked *asked = container_of(update, struct bench_asked, update);
    assert(!asked->done);
    asked->done = true;
    asked->result = result;
    asked->turn = bench.turns;
    bench.turns += 1;
}

void
bench_ask(struct bench_asked *asked, enum superblock_update_kind kind)
{
    asked->update.kind = kind;
    asked->update.callback = bench_on_done;
    asked->done = false;
    superblock_update(&bench.superblock, &asked->update);
    expect(!asked->done); /* No completion inside submit. */
}

void
bench_ask_view(struct bench_asked *asked, uint32_t view, uint32_t log_view, uint64_t op)
{
    *asked = (struct bench_asked){.update.view = view};
    superblock_chain_extend(&bench.chain, op, bench.superblock.working->log_view);
    superblock_chain_log(&bench.chain, op, log_view, &asked->update.log);
    bench_ask(asked, SUPERBLOCK_UPDATE_VIEW);
}

void
bench_ask_checkpoint(struct bench_asked *asked, uint64_t op, uint64_t op_head)
{
    *asked = (struct bench_asked){0};
    superblock_chain_extend(&bench.chain, op_head, bench.superblock.working->log_view);
    const uint32_t log_view = bench.superblock.working->log_view;
    superblock_chain_log(&bench.chain, op_head, log_view, &asked->update.log);
    asked->update.log.commit_max = op;
    asked->update.log.commit_max_checksum = bench.chain.headers[op].checksum;
    asked->update.checkpoint.header = bench.chain.headers[op];
    asked->update.checkpoint.root.address = op;
    asked->update.checkpoint.grid_block_count = op;
    asked->update.members = bench.superblock.working->members;
    bench_ask(asked, SUPERBLOCK_UPDATE_CHECKPOINT);
}

void
bench_ask_owner(struct bench_asked *asked, u128 incarnation, uint64_t system_identifier)
{
    *asked = (struct bench_asked){
        .update = {.incarnation = incarnation, .system_identifier = system_identifier},
    };
    bench_ask(asked, SUPERBLOCK_UPDATE_OWNER);
}

void
bench_wait(void)
{
    while (superblock_busy(&bench.superblock)) {
        (void) storage_wait(&bench.sim.storage);
    }
}

static enum superblock_result
wait_alone(void)
{
    bench_wait();
    expect(bench.alone.done);
    return bench.alone.result;
}

enum superblock_result
bench_update_view(uint32_t view, uint64_t commit_max)
{
    bench_ask_view(&bench.alone, view, view, commit_max);
    return wait_alone();
}

enum superblock_result
bench_update_checkpoint(uint64_t op)
{
    bench_ask_checkpoint(&bench.alone, op, op);
    return wait_alone();
}

enum superblock_result
bench_update_owner(u128 incarnation, uint64_t system_identifier)
{
    bench_ask_owner(&bench.alone, incarnation, system_identifier);
    return wait_alone();
}

bool
bench_disk_settled(void)
{
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        struct superblock_state expected = *bench.superblock.working;
        expected.copy = (uint16_t) copy;
        if (memcmp(superblock_copy_on_disk(&bench.sim, copy), &expected, sizeof(expected)) != 0)
            return false;
    }
    return true;
}

bool
bench_fault_at_copies(void *context, enum storage_file file, uint64_t offset, uint64_t size)
{
    (void) context;
    (void) file;
    (void) size;
    return (bench.lost_copies >> (offset / SUPERBLOCK_COPY_STRIDE)) & 1;
}
