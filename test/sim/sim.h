/* SPDX-License-Identifier: PostgreSQL */
/*
 * The simulator: one engine on a simulated disk and clock, random requests, random faults, and a
 * model that knows every answer. Everything comes from one seed.
 *
 *   main.c      seeds in, a line a seed out; the canaries
 *   sim.c       one seed: steps of time, crashes, stops, the calm end
 *   swarm.c     what this seed is like: which faults, how often, how small
 *   node.c      one life of the engine after another: format, open, stop, crash
 *   clients.c   requests in flight, and what may be answered to them
 *   oracle.c    the log as the engine wrote it, and the model that executes it
 *   compare.c   everything the engine can be asked, against the model
 *   verify.c    verifications, and what the scrubber reports
 *   atlas.c     which faults a lone node must survive; what the disk should hold; healing
 *   window.c    one fault of the newest prepare, and a crash: what each order of the logs loses
 *
 * WHAT IS CHECKED. The oracle sees each prepare on its way to the disk. When the engine commits an
 * op, the model executes that prepare, and
 *  (O1) each request answered ENGINE_OK is one batch of a committed prepare, in order, with the
 *       same events, and the model's results, byte by byte; no batch is without its answer.
 *  (O2) ops have no gap, chain by parent, and their timestamps ascend strictly.
 *  (O3) after each open: nothing that was committed is missing; what came on top is what was
 *       written last; all accounts, transfers, balances and change events equal the model's; the
 *       log on disk is byte by byte what was written.
 *  (O4) a read is what the model reads at the op that the answer names, which is one since the read
 *       was submitted. A further page of a scan is what the model had at the op of the first,
 *       whatever was committed, cut or replayed since.
 *  (O5) a refusal has a reason: memory and space that are short, a fault for ENGINE_FAILED. What
 *       was admitted finds room again when it is replayed.
 *  (O6) an open that reports damage has a reason: a fault that is still there, or that came during
 *       it. After healing it opens.
 *  (O7) once faults stop, every request is answered, and every hold that is due is released. At any
 *       time, an engine that has something to do does it, or waits for the disk: its host sleeps.
 *  (O8) the books add up (model_check_invariants).
 *  (O9) the scrubber reports a block only if a fault has damaged it; verification finds nothing
 *       where there was no fault, whatever is committed meanwhile. (Y1)
 *  (O10) a checkpoint is a function of the log: made again after a crash, it is the same bytes.
 */
#ifndef LEDGER_TEST_SIM_SIM_H
#define LEDGER_TEST_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "engine/engine.h"
#include "model/model.h"
#include "model/workload.h"
#include "sim/storage_sim.h"
#include "store/grid.h"
#include "store/prepare.h"
#include "store/superblock.h"

#define SIM_CLIENTS_MAX    12
#define SIM_REPLY_SIZE_MAX (RESULTS_MAX * 384)

/* Ops that may be committed while a read is under way. */
#define SIM_MOMENTS_MAX 256

/* More than there can be prepares between a checkpoint and the newest op. */
#define SIM_LOG_ENTRIES 128

/* ---- Swarm ----------------------------------------------------------------------------------- */

enum sim_profile {
    SIM_QUIET,     /* No faults. Every request succeeds, unless memory or disk are small. */
    SIM_CRASHES,   /* Crashes only. */
    SIM_SURVIVABLE, /* Crashes, and faults that must not be noticed: see atlas.c. */
    SIM_DAMAGE,    /* Any fault that leaves evidence: recovered, or reported. */
    SIM_WINDOW,    /* Not drawn: see window.c. */
};
#define SIM_PROFILE_COUNT 4 /* Those that are drawn. */

struct sim_options {
    enum sim_profile profile;
    uint64_t prepares_size_bytes;
    enum journal_sync sync;
    uint64_t memory_extra_bytes;
    uint64_t grid_space_bytes; /* 0: no limit. */
    uint32_t requests;
    uint32_t clients;
    uint32_t reads;         /* Of 100 requests. */
    uint32_t submits;       /* Of 100: chance that a free client asks in a step. */
    uint32_t polls_max;     /* Polls in a step, at most. */
    uint32_t stops;         /* Of a thousand steps: a clean stop. */
    uint64_t fuse_max;      /* Events of the disk to a crash, at most. 0: no crash. */
    uint32_t injections;    /* Of a hundred restarts: damage meanwhile. */
    uint64_t scrub_ns;      /* Interval of the scrubber. 0: none. */
    bool verifies;          /* Verifications while everything happens. */
    uint64_t step_ns_max;   /* By which time goes on, mostly. */
    bool memory_small;
    struct storage_sim_options disk; /* Rates and latencies. */
};

struct sim_options sim_options_random(struct prng *prng);

const char *sim_profile_name(enum sim_profile profile);

/* ---- Parts ----------------------------------------------------------------------------------- */

struct sim_clock {
    struct clock clock;
    uint64_t realtime_ns;
    uint64_t monotonic_ns;
};

enum sim_client_state {
    SIM_CLIENT_IDLE,
    SIM_CLIENT_LENT,     /* The engine has the request. */
    SIM_CLIENT_ANSWERED, /* A create was answered ENGINE_OK in this poll: to be checked. */
    SIM_CLIENT_RETRY,    /* The outcome is unknown: the same batch again. */
};

/* An answer that the model would give. */
struct sim_answer {
    u128 content; /* Its checksum. */
    uint32_t size;
    uint64_t op; /* Of the state that it is of. */
};

/* A scan of accounts that goes on from page to page, over crashes too. */
struct sim_scan {
    bool open;
    bool asked; /* The current request is its next page. */
    struct query_filter page;
    struct ledger_instant instant;
    struct model_past past; /* The model at that instant. */
};

struct sim_client {
    struct engine_request request;
    struct sim *sim;
    enum sim_client_state state;
    bool create;
    bool malformed; /* Must be answered ENGINE_INVALID. */
    struct sim_answer moments[SIM_MOMENTS_MAX]; /* A read: when submitted, and after each op. */
    uint32_t moments_count;
    struct sim_scan scan;
    uint8_t input[EVENTS_PER_BATCH_MAX * EVENT_SIZE + EVENT_SIZE] __attribute__((aligned(16)));
    uint8_t reply[SIM_REPLY_SIZE_MAX] __attribute__((aligned(16)));
};

/* A prepare as the engine gave it to the disk. Op 0: none. */
struct sim_log_entry {
    uint64_t op;
    uint8_t bytes[PREPARE_SIZE_MAX] __attribute__((aligned(16)));
};

struct sim_oracle {
    struct model model;
    struct sim_log_entry log[SIM_LOG_ENTRIES]; /* The newest prepare of each op mod count. */
    uint64_t op_done;       /* Newest op whose prepare the disk has taken. */
    uint64_t commit;        /* Newest op that the model has executed. */
    uint64_t checkpoint_op; /* A durable checkpoint, perhaps not the newest. */
    struct checkpoint_state checkpoint; /* That of the superblock that was written last. */
    struct block_header root;           /* Of the root that was written last. */
    u128 checksum;          /* Of the header of `commit`. */
    uint64_t timestamp;
    uint64_t session; /* Of the newest batch, and its number. */
    uint64_t number;
    struct sim_client *answered[SIM_CLIENTS_MAX]; /* In order. */
    uint32_t answered_count;
};

struct sim_atlas {
    uint8_t *meant[STORAGE_FILE_COUNT]; /* What each file would be without faults. */
    uint64_t meant_size_bytes[STORAGE_FILE_COUNT];
    uint64_t meant_capacity_bytes[STORAGE_FILE_COUNT];
    bool healing; /* What is written now is what was meant; nothing fails. */
    /* The range last allowed, and when: a misdirected write asks about two. */
    uint64_t stamp;
    enum storage_file file;
    uint64_t offset_bytes;
    uint64_t size_bytes;
};

enum sim_canary {
    SIM_CANARY_NONE,
    SIM_CANARY_LYING_DISK, /* Says that writes to the logs are durable, and forgets them. */
    SIM_CANARY_REPLY,      /* A bit of an answer flips. */
    SIM_CANARY_STATE,      /* A byte of a record differs after an open. */
};
#define SIM_CANARY_COUNT 4

struct sim_counts {
    uint64_t requests;
    uint64_t reads;
    uint64_t reads_across; /* While which ops were committed. */
    uint64_t pages;        /* Of scans of accounts, after their first. */
    uint64_t damaged;      /* Reads that were answered so. */
    uint64_t scrubbed;     /* Damaged blocks that the scrubber has found. */
    uint64_t tours;        /* Of the scrubber. */
    uint64_t verified;     /* Verifications that came to their end. */
    uint64_t refused;
    uint64_t failed;
    uint64_t retries;
    uint64_t lives;
    uint64_t opens_failed;
    uint64_t reported;
    uint64_t healed;
    uint64_t checkpoints;
    uint64_t parts; /* Of blocks, that were read alone. */
};

/* A window seed: see window.c. */
enum sim_window_fault { SIM_WINDOW_LOST, SIM_WINDOW_MISDIRECTED, SIM_WINDOW_ROT };

struct sim_window {
    bool armed; /* The next prepare's write is the victim. */
    enum sim_window_fault fault;
    uint64_t victim; /* Its op; 0: there is none yet. */
    bool past_taken; /* What was before the victim was executed: */
    struct model_past past;
    u128 past_checksum;
    uint64_t past_timestamp;
    bool lost; /* The victim was acknowledged, and is gone without a word. */
    bool told;
};

struct sim_verify {
    struct engine_request request;
    bool lent;
    uint8_t reply[64 * sizeof(struct verify_finding)] __attribute__((aligned(16)));
};

struct sim {
    uint64_t seed;
    struct prng prng; /* What happens. */
    struct prng prng_disk;
    struct prng prng_session;
    struct prng prng_workload;
    struct sim_options options;
    struct storage_sim disk;
    struct sim_clock clock;
    struct workload workload;
    struct sim_oracle oracle;
    struct sim_atlas atlas;
    struct sim_client clients[SIM_CLIENTS_MAX];
    struct sim_verify verify;
    struct engine *engine; /* NULL: not running. */
    uint64_t memory_bytes;
    uint64_t faults_at_open; /* Faults of the disk before this life. */
    uint32_t rests;          /* Polls in a row of a busy engine that had nothing to do. */
    bool calm;               /* No more faults. */
    bool full_before_calm;   /* A growth that the full disk refused may still be answered for. */
    enum sim_canary canary;
    struct sim_window window;
    u128 replies_hash;
    struct sim_counts counts;
};

/* ---- Everybody ------------------------------------------------------------------------------- */

/* A violation. Prints the seed and ends the program; a canary goes back to main. */
_Noreturn void sim_fail(const struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define sim_check(sim, condition, ...)                                                             \
    do {                                                                                           \
        if (!(condition)) sim_fail(sim, __VA_ARGS__);                                              \
    } while (0)

/* ---- sim.c ----------------------------------------------------------------------------------- */

void sim_run(struct sim *sim, uint64_t seed, enum sim_canary canary);
void sim_free(struct sim *sim);

/* Time goes on, the engine works, and what it did is checked. */
void sim_step(struct sim *sim);

/* All faults that the disk has had. */
uint64_t sim_faults(const struct sim *sim);

/* The same, in the profile SIM_WINDOW. */
void sim_run_window(struct sim *sim, uint64_t seed);

/* ---- window.c -------------------------------------------------------------------------------- */

void window_run(struct sim *sim);

/* The disk has taken a prepare, or says so. */
void window_wrote(struct sim *sim, const struct prepare_header *header);

/* The model has executed an op. */
void window_committed(struct sim *sim);

/* ---- node.c ---------------------------------------------------------------------------------- */

extern const struct engine_identity sim_identity;

void node_format(struct sim *sim);

/* Opens until it is open, through crashes and damage. */
void node_open(struct sim *sim);

/* Opens once, without faults. */
enum engine_open_result node_try(struct sim *sim, struct engine_open_report *report);

/* The engine is gone, and what it was doing is cut. */
void node_crash(struct sim *sim);

/* The engine is gone once the disk has nothing to do. */
void node_stop(struct sim *sim);

/* ---- clients.c ------------------------------------------------------------------------------- */

void clients_submit(struct sim *sim);

void clients_init(struct sim *sim, uint32_t events_max);
void clients_free(struct sim *sim);

/* The engine is gone: what it was lent is of unknown outcome. */
void clients_forget(struct sim *sim);

bool clients_waiting(const struct sim *sim);

/* The model has executed an op. */
void clients_committed(struct sim *sim);

/*
 * A read that nobody else sees. Returns the size of the reply; SIM_NO_ANSWER: there is none,
 * because of damage, or the engine has come to its end.
 */
#define SIM_NO_ANSWER UINT32_MAX
uint32_t clients_read_now(
    struct sim *sim, uint8_t operation, const void *input, uint32_t input_size, void *reply);

/* ---- verify.c -------------------------------------------------------------------------------- */

/* Perhaps begins a verification, or gives one up. */
void verify_step(struct sim *sim);

/* The engine is gone. */
void verify_forget(struct sim *sim);

/* A whole verification, in the calm. */
void verify_now(struct sim *sim);

/* What the scrubber has to say. */
void verify_scrub(struct sim *sim);

/* ---- oracle.c -------------------------------------------------------------------------------- */

void oracle_init(struct sim *sim);
void oracle_free(struct sim *sim);

/* The disk was given a prepare. */
void oracle_wrote(struct sim *sim, const struct storage_request *write, bool done);

/* After each poll: executes what was committed, checks what was answered. */
void oracle_capture(struct sim *sim);

/* The engine says that it is open, and at op. */
void oracle_opened(struct sim *sim, uint64_t op);

/* The entry of the op, or NULL. */
const struct prepare_header *oracle_prepare(const struct sim *sim, uint64_t op);

/* ---- compare.c ------------------------------------------------------------------------------- */

void compare_all(struct sim *sim);
void compare_log(struct sim *sim);

/* ---- atlas.c --------------------------------------------------------------------------------- */

void atlas_init(struct sim *sim);
void atlas_free(struct sim *sim);
bool atlas_allows(
    void *context, enum storage_file file, uint64_t offset_bytes, uint64_t size_bytes);
void atlas_wrote(struct sim *sim, const struct storage_request *write, bool done);

/* Damages something while the engine is gone. */
void atlas_inject(struct sim *sim);

/* True if a fault is on disk. */
bool atlas_faulty(const struct sim *sim);

/* True if there is one that the engine may notice. */
bool atlas_damaged(const struct sim *sim);

/* The state that opening would take from the copies on the disk, or NULL. */
const struct superblock_state *atlas_superblock(const struct sim *sim);

/* True if the entry of the headers log is what it should be. */
bool atlas_header_on_disk(const struct sim *sim, const struct prepare_header *header);

/* The journal refused because of the entry behind the newest op: was that the work of a fault? */
bool atlas_uncertain(
    const struct sim *sim,
    enum engine_open_result result,
    const struct journal_report *journal);

/* Writes what was meant wherever a fault is. */
void atlas_heal(struct sim *sim);

#endif
