/* SPDX-License-Identifier: PostgreSQL */
/* What the unit tests of the superblock share: one on a simulated disk, and how to ask it. */
#ifndef LEDGER_TEST_UNIT_SUPERBLOCK_BENCH_H
#define LEDGER_TEST_UNIT_SUPERBLOCK_BENCH_H

#include "base/prng.h"

#include "unit/superblock_fixture.h"

#define BENCH_CLUSTER ((u128) 3 << 64 | 4)

/* Something that was asked of the superblock, and what came of it. */
struct bench_asked {
    struct superblock_update update;
    bool done;
    enum superblock_result result;
    uint32_t turn; /* In which order answers came. */
};

struct superblock_bench {
    struct storage_sim sim;
    struct prng prng;
    struct superblock superblock;
    struct superblock_chain chain;
    struct bench_asked alone; /* What the functions ask for that wait. */
    uint32_t turns;
    uint64_t lost_copies; /* Where bench_fault_at_copies allows faults, by bits. */
};

extern struct superblock_bench bench;
extern const struct superblock_format_options bench_format;

void bench_begin(uint64_t seed);
void bench_begin_formatted(uint64_t seed);
void bench_end(void);

bool bench_fault_at_copies(void *context, enum storage_file file, uint64_t offset, uint64_t size);

/* All four slots hold the working state. */
bool bench_disk_settled(void);

void bench_on_done(struct superblock_update *update, enum superblock_result result);
void bench_ask(struct bench_asked *asked, enum superblock_update_kind kind);

/* The log of log_view ends with op, which is committed. */
void bench_ask_view(struct bench_asked *asked, uint32_t view, uint32_t log_view, uint64_t op);

/* The log ends with op_head. */
void bench_ask_checkpoint(struct bench_asked *asked, uint64_t op, uint64_t op_head);

void bench_ask_owner(struct bench_asked *asked, u128 incarnation, uint64_t system_identifier);

/* Until everything that was asked for is answered. */
void bench_wait(void);

/* These wait. */
enum superblock_result bench_update_view(uint32_t view, uint64_t commit_max);
enum superblock_result bench_update_checkpoint(uint64_t op);
enum superblock_result bench_update_owner(u128 incarnation, uint64_t system_identifier);

#endif
