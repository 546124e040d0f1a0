/* SPDX-License-Identifier: PostgreSQL */
#include "unit.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/prng.h"
#include "base/units.h"
#include "store/grid.h"

#include "../sim/storage_sim.h"
#include "reseal.h"
#include "unit/mark_acquired.h"

#define CLUSTER         ((u128) 8 << 64 | 9)
#define BLOCK_COUNT_MAX 100

static _Alignas(ARENA_ALIGNMENT) uint8_t memory[4 * ARENA_ALIGNMENT];
static _Alignas(SECTOR_SIZE) uint8_t block[BLOCK_SIZE];
static _Alignas(SECTOR_SIZE) uint8_t block_read[BLOCK_SIZE];
static _Alignas(SECTOR_SIZE) uint8_t many[2 * GRID_WRITE_BLOCKS_MAX][BLOCK_SIZE];
static struct storage_sim sim;
static struct prng prng;
static struct grid grid;

static void
restart(void)
{
    struct arena arena;
    memset(memory, 0xa5, sizeof(memory));
    arena_init(&arena, memory, sizeof(memory));
    grid_init(&grid, &arena, &sim.storage, BLOCK_COUNT_MAX);
    grid_open(&grid, CLUSTER);
}

static void
begin(uint64_t seed)
{
    prng_init(&prng, seed);
    const struct storage_sim_options options = {0};
    storage_sim_init(&sim, &options, &prng);
    restart();
}

static void
end(void)
{
    storage_sim_free(&sim);
}

static void
fill_block(uint32_t size)
{
    struct block_header *header = (struct block_header *) (void *) block;
    for (uint64_t i = 0; i < BLOCK_SIZE; i++) {
        block[i] = (uint8_t) prng_next(&prng);
    }
    memset(header, 0, sizeof(*header));
    header->type = BLOCK_VALUES;
    header->tree = 3;
    header->op = 17;
    header->record_count = 4;
    header->size = size;
}

static bool write_done;
static enum grid_result write_result;

static void
write_on_done(struct grid_write *write, enum grid_result result)
{
    (void) write;
    write_done = true;
    write_result = result;
}

static enum grid_result
write_block(void)
{
    struct grid_write write = {0};
    void *const blocks[] = {block};
    write_done = false;
    grid_write_blocks(&grid, &write, blocks, 1, write_on_done);
    expect(!write_done);
    while (!write_done) {
        (void) storage_wait(&sim.storage);
    }
    return write_result;
}

/* Acquires, seals and writes a block of random content. */
static struct block_reference
write_random_block(uint32_t size)
{
    expect_equal(grid_reserve_now(&grid, 1), GRID_ROOM);
    fill_block(size);
    const struct block_reference reference = grid_block_seal(&grid, block, grid_acquire(&grid));
    expect_equal(write_block(), GRID_OK);
    return reference;
}

UNIT_TEST(byte_table_is_as_documented)
{
#define AT(field, offset) expect_equal(offsetof(struct block_header, field), offset)
    AT(checksum, 0);
    AT(cluster, 16);
    AT(address, 32);
    AT(op, 40);
    AT(size, 48);
    AT(type, 52);
    AT(tree, 53);
    AT(version, 54);
    AT(record_count, 56);
    AT(reserved_count, 60);
    AT(previous, 64);
    AT(sector_sums, 96);
    AT(reserved, 96 + 8 * BLOCK_SECTORS);
#undef AT
    expect_equal(sizeof(struct block_header), BLOCK_HEADER_SIZE);
}

UNIT_TEST(write_then_read)
{
    begin(1);
    static const uint32_t sizes[] = {BLOCK_HEADER_SIZE, BLOCK_HEADER_SIZE + 1, 1000, BLOCK_SIZE};
    for (uint64_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        const struct block_reference reference = write_random_block(sizes[i]);
        expect_equal(reference.address, i + 1);
        expect_equal(grid_read_block(&grid, &reference, BLOCK_VALUES, block_read), GRID_OK);
        expect(memcmp(block, block_read, BLOCK_SIZE) == 0);
        for (uint64_t at = sizes[i]; at < BLOCK_SIZE; at++) {
            expect(block_read[at] == 0);
        }
        expect_equal(grid_read_block(&grid, &reference, BLOCK_MANIFEST, block_read), GRID_CORRUPT);
    }
    expect_equal(grid.stats.blocks_written, ARRAY_COUNT(sizes));
    end();
}

/* Acquires, fills and seals many[0 … count − 1]. */
static void
seal_many(struct block_reference *references, uint32_t count)
{
    expect_equal(grid_reserve_now(&grid, count), GRID_ROOM);
    for (uint32_t i = 0; i < count; i++) {
        fill_block((uint32_t) prng_range(&prng, BLOCK_HEADER_SIZE, BLOCK_SIZE));
        memcpy(many[i], block, BLOCK_SIZE);
        references[i] = grid_block_seal(&grid, many[i], grid_acquire(&grid));
        expect_equal(references[i].address, i + 1);
    }
}

UNIT_TEST(blocks_are_written_in_one_request)
{
    for (uint32_t count = 1; count <= GRID_WRITE_BLOCKS_MAX; count++) {
        begin(count);
        struct block_reference references[2 * GRID_WRITE_BLOCKS_MAX];
        seal_many(references, count);
        const uint64_t writes_before = sim.counters.writes;
        struct grid_write write = {0};
        void *blocks[GRID_WRITE_BLOCKS_MAX];
        for (uint32_t i = 0; i < count; i++) {
            blocks[i] = many[i];
        }
        write_done = false;
        grid_write_blocks(&grid, &write, blocks, count, write_on_done);
        memset(blocks, 0, sizeof(blocks)); /* The array was copied. */
        while (!write_done) (void) storage_wait(&sim.storage);
        expect_equal(write_result, GRID_OK);
        expect_equal(sim.counters.writes - writes_before, 1);
        expect_equal(grid.stats.blocks_written, count);
        expect_equal(grid.stats.write_requests, 1);
        for (uint32_t i = 0; i < count; i++) {
            expect_equal(grid_read_block(&grid, &references[i], BLOCK_VALUES, block), GRID_OK);
            expect(memcmp(block, many[i], BLOCK_SIZE) == 0);
        }
        end();
    }
}

static void
write_apart(void)
{
    struct block_reference references[3];
    struct grid_write write = {0};
    seal_many(references, 3);
    void *const blocks[] = {many[0], many[2]};
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(3);
    grid_write_blocks(&grid, &write, blocks, 2, write_on_done);
}

static void
write_changed(void)
{
    struct block_reference references[2];
    struct grid_write write = {0};
    seal_many(references, 2);
    void *const blocks[] = {many[0], many[1]};
    many[1][BLOCK_HEADER_SIZE - 1] ^= 1;
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(3);
    grid_write_blocks(&grid, &write, blocks, 2, write_on_done);
}

/* (G1) What a checkpoint may reference is not written, not even between blocks that are fresh. */
static void
g1_write_durable(void)
{
    struct block_reference references[2];
    struct grid_write write = {0};
    seal_many(references, 1);
    grid_checkpoint_durable(&grid);
    fill_block(BLOCK_HEADER_SIZE);
    memcpy(many[1], block, BLOCK_SIZE);
    (void) grid_block_seal(&grid, many[1], grid_acquire(&grid));
    void *const blocks[] = {many[0], many[1]};
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(3);
    grid_write_blocks(&grid, &write, blocks, 2, write_on_done);
}

UNIT_TEST(g1_misuse_of_writes_is_asserted)
{
    void (*const cases[])(void) = {write_apart, write_changed, g1_write_durable};
    for (uint32_t i = 0; i < ARRAY_COUNT(cases); i++) {
        begin(1);
        (void) fflush(NULL);
        const pid_t child = fork();
        if (child == 0) {
            cases[i]();
            _exit(0);
        }
        int status = 0;
        expect(waitpid(child, &status, 0) == child);
        expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        end();
    }
}

struct test_read {
    struct grid_read read;
    enum grid_result result;
    bool done;
};

static void
read_on_done(struct grid_read *read, enum grid_result result)
{
    struct test_read *test_read = container_of(read, struct test_read, read);
    expect(!test_read->done);
    test_read->result = result;
    test_read->done = true;
}

/* Many in flight at a time; each finds what is wrong with its own block, and nothing else. */
UNIT_TEST(reads_in_flight_are_verified_each)
{
    enum { COUNT = 2 * GRID_WRITE_BLOCKS_MAX };
    enum damage { INTACT, CHANGED, UNREADABLE, ASTRAY, OTHER_TYPE, DAMAGE_COUNT };
    static _Alignas(SECTOR_SIZE) uint8_t targets[COUNT][BLOCK_SIZE];
    for (uint64_t seed = 1; seed <= 50; seed++) {
        begin(seed);
        sim.options.latency_max_ticks = 5;
        struct block_reference references[COUNT];
        struct test_read reads[COUNT] = {0};
        enum damage damages[COUNT];
        seal_many(references, COUNT);
        uint8_t *bytes = storage_sim_bytes(&sim, STORAGE_GRID);
        for (uint32_t i = 0; i < COUNT; i++) {
            memcpy(bytes + i * BLOCK_SIZE, many[i], BLOCK_SIZE);
            damages[i] = (enum damage) prng_below(&prng, DAMAGE_COUNT);
            if (damages[i] == CHANGED) storage_sim_rot(&sim, STORAGE_GRID, i * BLOCK_SIZE, 1);
            if (damages[i] == UNREADABLE) {
                storage_sim_latent_error(&sim, STORAGE_GRID, i * BLOCK_SIZE, SECTOR_SIZE);
            }
            if (damages[i] == ASTRAY) {
                memcpy(bytes + i * BLOCK_SIZE, many[(i + 1) % COUNT], BLOCK_SIZE);
            }
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            struct block_reference reference = references[i];
            const enum block_type type = damages[i] == OTHER_TYPE ? BLOCK_INDEX : BLOCK_VALUES;
            expect(grid_read_block_start(
                &grid, &reads[i].read, &reference, type, targets[i], read_on_done));
            reference = (struct block_reference){0}; /* It was copied. */
            expect(!reads[i].done);
        }
        expect_equal(sim.storage.in_flight_count, COUNT);
        while (sim.storage.in_flight_count > 0) (void) storage_wait(&sim.storage);
        for (uint32_t i = 0; i < COUNT; i++) {
            expect(reads[i].done);
            enum grid_result wanted = damages[i] == INTACT ? GRID_OK : GRID_CORRUPT;
            if (damages[i] == UNREADABLE) wanted = GRID_IO_ERROR;
            expect_equal(reads[i].result, wanted);
            if (wanted == GRID_OK) expect(memcmp(targets[i], many[i], BLOCK_SIZE) == 0);
        }
        expect_equal(grid.stats.blocks_read, COUNT);
        end();
    }
}

/* One request for several; where it fails, each is read by itself. */
UNIT_TEST(blocks_read_in_one_request_are_judged_each)
{
    enum damage { INTACT, CHANGED, ASTRAY, UNREADABLE, DAMAGE_COUNT };
    static _Alignas(SECTOR_SIZE) uint8_t targets[GRID_READ_BLOCKS_MAX][BLOCK_SIZE];
    for (uint64_t seed = 1; seed <= 100; seed++) {
        begin(seed);
        const uint32_t count = (uint32_t) prng_range(&prng, 2, GRID_READ_BLOCKS_MAX);
        struct block_reference references[GRID_READ_BLOCKS_MAX];
        struct test_read reads[GRID_READ_BLOCKS_MAX] = {0};
        struct grid_read *several[GRID_READ_BLOCKS_MAX];
        void *blocks[GRID_READ_BLOCKS_MAX];
        enum damage damages[GRID_READ_BLOCKS_MAX];
        bool unreadable = false;
        seal_many(references, count);
        uint8_t *bytes = storage_sim_bytes(&sim, STORAGE_GRID);
        for (uint32_t i = 0; i < count; i++) {
            const uint64_t at = (uint64_t) i * BLOCK_SIZE;
            memcpy(bytes + at, many[i], BLOCK_SIZE);
            damages[i] = (enum damage) prng_below(&prng, seed % 2 == 0 ? UNREADABLE : DAMAGE_COUNT);
            if (damages[i] == CHANGED) storage_sim_rot(&sim, STORAGE_GRID, at, 1);
            if (damages[i] == ASTRAY) memcpy(bytes + at, many[(i + 1) % count], BLOCK_SIZE);
            if (damages[i] == UNREADABLE) {
                storage_sim_latent_error(&sim, STORAGE_GRID, at, SECTOR_SIZE);
            }
            unreadable |= damages[i] == UNREADABLE;
            several[i] = &reads[i].read;
            blocks[i] = targets[i];
        }
        grid_read_blocks_start(&grid, several, references, count, blocks, read_on_done);
        expect_equal(sim.storage.in_flight_count, 1);
        memset(blocks, 0, sizeof(blocks)); /* The array was copied. */
        while (sim.storage.in_flight_count > 0) (void) storage_wait(&sim.storage);
        for (uint32_t i = 0; i < count; i++) {
            expect(reads[i].done);
            enum grid_result wanted = damages[i] == INTACT ? GRID_OK : GRID_CORRUPT;
            if (damages[i] == UNREADABLE) wanted = GRID_IO_ERROR;
            expect_equal(reads[i].result, wanted);
            if (wanted == GRID_OK) expect(memcmp(targets[i], many[i], BLOCK_SIZE) == 0);
        }
        expect_equal(grid.stats.blocks_read, count);
        expect_equal(grid.stats.read_requests, unreadable ? 1 + count : 1);
        end();
    }
}

UNIT_TEST(reads_beyond_the_file_do_not_start)
{
    begin(1);
    expect_equal(grid_reserve_now(&grid, 1), GRID_ROOM);
    const uint64_t addresses[] = {0, grid.block_count + 1, UINT64_MAX};
    for (uint32_t i = 0; i < ARRAY_COUNT(addresses); i++) {
        struct test_read read = {0};
        const struct block_reference reference = {.address = addresses[i]};
        expect(!grid_read_block_start(
            &grid, &read.read, &reference, BLOCK_VALUES, block_read, read_on_done));
        expect_equal(sim.storage.in_flight_count, 0);
        expect(!read.done);
    }
    expect_equal(grid.stats.blocks_read, 0);
    end();
}

/* ---- Parts --------------------------------------------------------------------------------- */

static enum grid_result
read_part(const struct block_reference *reference, const struct grid_extract *part)
{
    struct test_read read = {0};
    memset(block_read, 0xa5, sizeof(block_read));
    expect(grid_read_extract_start(
        &grid, &read.read, reference, part, block_read, read_on_done));
    expect(!read.done);
    while (!read.done) (void) storage_wait(&sim.storage);
    return read.result;
}

/* Is the part in its place, and nothing else touched? */
static bool
part_alone(const struct grid_extract *part)
{
    for (uint64_t at = 0; at < BLOCK_SIZE; at++) {
        const bool within = at / SECTOR_SIZE >= part->first &&
                            at / SECTOR_SIZE < part->first + part->count;
        if (block_read[at] != (within ? block[at] : 0xa5)) return false;
    }
    return true;
}

/* Every part of a block, and every sector that is damaged: only parts with it are. */
UNIT_TEST(a_part_is_verified_by_its_sums_alone)
{
    begin(1);
    const struct block_reference first = write_random_block(BLOCK_SIZE);
    const struct block_reference reference = write_random_block(BLOCK_SIZE);
    const struct block_header *header = (const void *) block;
    uint8_t *bytes = storage_sim_bytes(&sim, STORAGE_GRID) + BLOCK_SIZE;
    uint64_t read_count = 0;
    for (uint32_t damaged = 0; damaged <= BLOCK_SECTORS; damaged++) {
        const uint64_t at = (uint64_t) damaged * SECTOR_SIZE + BLOCK_HEADER_SIZE;
        if (damaged < BLOCK_SECTORS) bytes[at + prng_below(&prng, 3000)] ^= 4;
        for (uint32_t start = 0; start < BLOCK_SECTORS; start++) {
            for (uint32_t count = 1; start + count <= BLOCK_SECTORS; count++) {
                const struct grid_extract part = {header->sector_sums, start, count};
                if (count == BLOCK_SECTORS) continue;
                const bool hit = damaged >= start && damaged < start + count;
                expect_equal(read_part(&reference, &part), hit ? GRID_CORRUPT : GRID_OK);
                if (!hit) expect(part_alone(&part));
                read_count += 1;
            }
        }
        const enum grid_result whole = damaged < BLOCK_SECTORS ? GRID_CORRUPT : GRID_OK;
        expect_equal(grid_read_block(&grid, &reference, BLOCK_VALUES, block_read), whole);
        memcpy(bytes, block, BLOCK_SIZE);
    }
    expect_equal(grid.stats.extracts_read, read_count);
    expect_equal(grid.stats.blocks_read, read_count + BLOCK_SECTORS + 1);
    expect_equal(grid_read_block(&grid, &first, BLOCK_VALUES, block_read), GRID_OK);
    end();
}

/* What lies elsewhere, or lay here before, has another sum. */
UNIT_TEST(a_part_of_another_block_or_place_is_not_the_part)
{
    begin(2);
    const struct block_reference first = write_random_block(BLOCK_SIZE);
    const struct block_reference second = write_random_block(BLOCK_SIZE);
    const struct block_header *header = (const void *) block;
    uint8_t *bytes = storage_sim_bytes(&sim, STORAGE_GRID);
    for (uint32_t i = 0; i < BLOCK_SECTORS; i++) {
        const struct grid_extract part = {header->sector_sums, i, 1};
        struct block_reference beyond = second;
        struct test_read read = {0};
        expect_equal(read_part(&first, &part), GRID_CORRUPT);
        expect_equal(read_part(&second, &part), GRID_OK);
        memcpy(bytes + BLOCK_SIZE + i * SECTOR_SIZE, block + (i ^ 1) * SECTOR_SIZE, SECTOR_SIZE);
        expect_equal(read_part(&second, &part), GRID_CORRUPT);
        memcpy(bytes + BLOCK_SIZE, block, BLOCK_SIZE);
        beyond.address = grid.block_count + 1;
        expect(!grid_read_extract_start(
            &grid, &read.read, &beyond, &part, block_read, read_on_done));
        expect_equal(sim.storage.in_flight_count, 0);
        storage_sim_latent_error(&sim, STORAGE_GRID, BLOCK_SIZE + i * SECTOR_SIZE, 1);
        expect_equal(read_part(&second, &part), GRID_IO_ERROR);
        if (i == 0) continue;
        const struct grid_extract other = {header->sector_sums, 0, 1};
        expect_equal(read_part(&second, &other), GRID_IO_ERROR); /* Its own, from before. */
    }
    end();
}

/* Each length of the padding, and each place in it. */
UNIT_TEST(padding_is_checked_to_the_byte)
{
    begin(1);
    for (uint32_t size = BLOCK_SIZE - 20; size < BLOCK_SIZE; size++) {
        const struct block_reference reference = write_random_block(size);
        uint8_t *bytes =
            storage_sim_bytes(&sim, STORAGE_GRID) + (reference.address - 1) * BLOCK_SIZE;
        for (uint32_t at = size; at < BLOCK_SIZE; at++) {
            bytes[at] = 0x80;
            expect_equal(grid_read_block(&grid, &reference, BLOCK_VALUES, block), GRID_CORRUPT);
            bytes[at] = 0;
        }
        expect_equal(grid_read_block(&grid, &reference, BLOCK_VALUES, block), GRID_OK);
    }
    end();
}

UNIT_TEST(any_changed_bit_is_found)
{
    begin(1);
    const struct block_reference reference = write_random_block(300);
    uint8_t *bytes = storage_sim_bytes(&sim, STORAGE_GRID);
    for (uint64_t bit = 0; bit < 8 * (uint64_t) BLOCK_SIZE; bit += 1 + bit / 2500) {
        bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
        expect_equal(grid_read_block(&grid, &reference, BLOCK_VALUES, block_read), GRID_CORRUPT);
        bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
    }
    expect_equal(grid_read_block(&grid, &reference, BLOCK_VALUES, block_read), GRID_OK);
    end();
}

/* Sealed over: what no version of today writes. */
UNIT_TEST(reserved_bytes_are_zero)
{
    static const uint64_t places[] = {
        offsetof(struct block_header, reserved_count),
        offsetof(struct block_header, previous.reserved),
        offsetof(struct block_header, reserved),
        BLOCK_HEADER_SIZE - 1,
    };
    begin(1);
    struct block_reference reference = write_random_block(300);
    uint8_t *bytes = storage_sim_bytes(&sim, STORAGE_GRID);
    for (uint64_t i = 0; i < ARRAY_COUNT(places); i++) {
        for (uint32_t good = 0; good < 2; good++) {
            bytes[places[i]] ^= 1;
            reference.checksum = reseal_block(bytes);
            expect_equal(
                grid_read_block(&grid, &reference, BLOCK_VALUES, block_read),
                good == 1 ? GRID_OK : GRID_CORRUPT);
        }
    }
    end();
}

UNIT_TEST(a_block_elsewhere_or_older_is_not_the_block)
{
    begin(1);
    const struct block_reference first = write_random_block(300);
    const struct block_reference second = write_random_block(300);
    uint8_t *bytes = storage_sim_bytes(&sim, STORAGE_GRID);
    /* Misdirected: an intact block at another's place. */
    memcpy(bytes, bytes + BLOCK_SIZE, BLOCK_SIZE);
    expect_equal(grid_read_block(&grid, &first, BLOCK_VALUES, block_read), GRID_CORRUPT);
    expect_equal(grid_read_block(&grid, &second, BLOCK_VALUES, block_read), GRID_OK);
    /* Named by its own checksum, at the place where it lies and doesn't belong. */
    const struct block_reference astray = {.checksum = second.checksum, .address = 1};
    expect_equal(grid_read_block(&grid, &astray, BLOCK_VALUES, block_read), GRID_CORRUPT);
    /* A lost write. */
    memset(bytes + BLOCK_SIZE, 0, BLOCK_SIZE);
    expect_equal(grid_read_block(&grid, &second, BLOCK_VALUES, block_read), GRID_CORRUPT);
    /* Beyond the file. */
    const struct block_reference beyond = {.address = grid.block_count + 1};
    expect_equal(grid_read_block(&grid, &beyond, BLOCK_VALUES, block_read), GRID_CORRUPT);
    const struct block_reference none = {0};
    expect_equal(grid_read_block(&grid, &none, BLOCK_VALUES, block_read), GRID_CORRUPT);
    end();
}

UNIT_TEST(io_errors_are_reported)
{
    begin(1);
    const struct block_reference reference = write_random_block(300);
    storage_sim_latent_error(&sim, STORAGE_GRID, 0, SECTOR_SIZE);
    expect_equal(grid_read_block(&grid, &reference, BLOCK_VALUES, block_read), GRID_IO_ERROR);
    sim.options.write_error_per_million = 1000000;
    fill_block(500);
    (void) grid_block_seal(&grid, block, grid_acquire(&grid));
    expect_equal(write_block(), GRID_IO_ERROR);
    end();
}

/* (G1), (G2), (G3) against a model: who holds each block, and since when. */
UNIT_TEST(g1_g2_g3_acquire_and_release)
{
    enum holder { FREE, FRESH, DURABLE, RELEASED };
    for (uint64_t seed = 1; seed <= 20; seed++) {
        begin(seed);
        enum holder model[BLOCK_COUNT_MAX + 1] = {FREE};
        expect_equal(grid_reserve_now(&grid, BLOCK_COUNT_MAX), GRID_ROOM);
        for (uint32_t step = 0; step < 2000; step++) {
            const uint64_t address = prng_range(&prng, 1, BLOCK_COUNT_MAX);
            const uint64_t action = prng_below(&prng, 20);
            if (action == 0) {
                grid_checkpoint_durable(&grid);
                for (uint64_t i = 1; i <= BLOCK_COUNT_MAX; i++) {
                    if (model[i] == FRESH) model[i] = DURABLE;
                    if (model[i] == RELEASED) model[i] = FREE; /* (G2) */
                }
            } else if (action < 12) {
                uint64_t lowest = 1;
                while (lowest <= BLOCK_COUNT_MAX && model[lowest] != FREE) {
                    lowest += 1;
                }
                expect_equal(grid_free_count(&grid) > 0, lowest <= BLOCK_COUNT_MAX);
                if (lowest > BLOCK_COUNT_MAX) continue;
                expect_equal(grid_acquire(&grid), lowest); /* (G1), (G3) */
                model[lowest] = FRESH;
            } else if (model[address] == FRESH || model[address] == DURABLE) {
                grid_release(&grid, address);
                model[address] = RELEASED;
            }
            uint64_t free_count = 0;
            for (uint64_t i = 1; i <= BLOCK_COUNT_MAX; i++) {
                free_count += model[i] == FREE;
            }
            expect_equal(grid_free_count(&grid), free_count);
        }
        end();
    }
}

UNIT_TEST(g1_marked_blocks_are_not_acquired)
{
    begin(1);
    expect_equal(grid_reserve_now(&grid, 70), GRID_ROOM);
    restart();
    expect_equal(grid_free_count(&grid), grid.block_count);
    for (uint64_t address = 1; address <= 69; address++) {
        if (address % 7 != 0) expect(grid_mark_acquired(&grid, address));
    }
    expect(!grid_mark_acquired(&grid, 1)); /* Taken already. */
    expect(!grid_mark_acquired(&grid, 0));
    expect(!grid_mark_acquired(&grid, grid.block_count + 1));
    for (uint64_t address = 7; address <= 63; address += 7) {
        expect_equal(grid_acquire(&grid), address);
    }
    expect_equal(grid_acquire(&grid), 70);
    end();
}

UNIT_TEST(g4_space_is_taken_before_it_is_promised)
{
    begin(1);
    expect_equal(grid_free_count(&grid), 0);
    expect_equal(grid_reserve_now(&grid, 0), GRID_ROOM);
    expect_equal(sim.storage.file_size_bytes[STORAGE_GRID], 0);
    expect_equal(grid_reserve_now(&grid, 1), GRID_ROOM);
    expect_equal(grid.block_count, GRID_GROW_BLOCKS);
    expect_equal(sim.storage.file_size_bytes[STORAGE_GRID], GRID_GROW_BLOCKS * BLOCK_SIZE);
    expect_equal(grid_reserve_now(&grid, GRID_GROW_BLOCKS), GRID_ROOM);
    expect_equal(grid.block_count, GRID_GROW_BLOCKS);
    (void) grid_acquire(&grid);
    expect_equal(grid_reserve_now(&grid, GRID_GROW_BLOCKS), GRID_ROOM);
    expect_equal(grid.block_count, 2 * GRID_GROW_BLOCKS);
    /* The last step is smaller: 100 is no multiple of 16. */
    expect_equal(grid_reserve_now(&grid, BLOCK_COUNT_MAX - 1), GRID_ROOM);
    expect_equal(grid.block_count, BLOCK_COUNT_MAX);
    expect_equal(grid_reserve_now(&grid, BLOCK_COUNT_MAX), GRID_ROOM_FULL);
    expect_equal(grid_reserve_now(&grid, UINT64_MAX), GRID_ROOM_FULL);
    expect_equal(grid_free_count(&grid), BLOCK_COUNT_MAX - 1);
    for (uint64_t i = 2; i <= BLOCK_COUNT_MAX; i++) {
        expect_equal(grid_acquire(&grid), i);
    }
    end();
}

UNIT_TEST(g4_a_full_file_system_changes_nothing)
{
    begin(1);
    expect_equal(grid_reserve_now(&grid, 1), GRID_ROOM);
    sim.options.space_limit_bytes = sim.storage.file_size_bytes[STORAGE_GRID];
    expect_equal(grid_reserve_now(&grid, GRID_GROW_BLOCKS + 1), GRID_ROOM_FULL);
    expect_equal(grid.block_count, GRID_GROW_BLOCKS);
    expect_equal(grid_free_count(&grid), GRID_GROW_BLOCKS);
    sim.options.space_limit_bytes = 0;
    expect_equal(grid_reserve_now(&grid, GRID_GROW_BLOCKS + 1), GRID_ROOM);
    end();
}

static void
growth_wait(void)
{
    while (grid.growth.storage.in_flight) (void) storage_wait(&sim.storage);
}

/* What is only wished for is nobody's wait, and is there when it is needed. */
UNIT_TEST(g4_space_is_taken_ahead_of_need)
{
    begin(1);
    expect_equal(grid_reserve_now(&grid, 1), GRID_ROOM);
    expect_equal(grid_reserve(&grid, 10, GRID_GROW_BLOCKS), GRID_ROOM);
    expect(!grid.growth.storage.in_flight);
    expect_equal(grid_reserve(&grid, 10, GRID_GROW_BLOCKS + 1), GRID_ROOM);
    expect(grid.growth.storage.in_flight);
    expect_equal(grid.block_count, GRID_GROW_BLOCKS);
    /* While it grows: what there is, and what there is not. */
    expect_equal(grid_reserve(&grid, GRID_GROW_BLOCKS, GRID_GROW_BLOCKS), GRID_ROOM);
    expect_equal(
        grid_reserve(&grid, GRID_GROW_BLOCKS + 1, GRID_GROW_BLOCKS + 1), GRID_ROOM_WAITS);
    growth_wait();
    expect_equal(grid.block_count, 2 * GRID_GROW_BLOCKS);
    expect_equal(grid_reserve(&grid, GRID_GROW_BLOCKS + 1, GRID_GROW_BLOCKS + 1), GRID_ROOM);
    expect(!grid.growth.storage.in_flight);
    end();
}

/* It is not tried again and again, and says nothing of what is needed later. */
UNIT_TEST(g4_a_full_file_system_ahead_of_need)
{
    begin(1);
    expect_equal(grid_reserve_now(&grid, 1), GRID_ROOM);
    sim.options.space_limit_bytes = sim.storage.file_size_bytes[STORAGE_GRID];
    expect_equal(grid_reserve(&grid, 10, GRID_GROW_BLOCKS + 1), GRID_ROOM);
    growth_wait();
    expect_equal(grid.block_count, GRID_GROW_BLOCKS);
    expect_equal(grid_reserve(&grid, 10, GRID_GROW_BLOCKS + 1), GRID_ROOM);
    expect(!grid.growth.storage.in_flight);

    /* One block more there is: what is needed is had, but for the rounding. */
    sim.options.space_limit_bytes += BLOCK_SIZE;
    expect_equal(grid_reserve_now(&grid, GRID_GROW_BLOCKS + 1), GRID_ROOM);
    expect_equal(grid.block_count, GRID_GROW_BLOCKS + 1);
    expect_equal(grid_reserve_now(&grid, GRID_GROW_BLOCKS + 2), GRID_ROOM_FULL);
    expect_equal(grid_reserve(&grid, 10, GRID_GROW_BLOCKS + 2), GRID_ROOM);
    growth_wait();
    sim.options.space_limit_bytes = 0;
    expect_equal(grid_reserve_now(&grid, GRID_GROW_BLOCKS + 2), GRID_ROOM);
    end();
}

/* What nobody waits for may fail: there is room for what was promised. It is tried again later. */
UNIT_TEST(a_growth_ahead_of_need_that_fails_stops_nobody)
{
    for (int needed = 0; needed < 2; needed++) {
        begin(1);
        expect_equal(grid_reserve_now(&grid, 1), GRID_ROOM);
        sim.options.grow_error_per_million = 1000000;
        expect_equal(grid_reserve(&grid, 10, GRID_GROW_BLOCKS + 1), GRID_ROOM);
        growth_wait();
        expect_equal(sim.counters.grow_errors, 1);
        expect_equal(grid_reserve(&grid, 10, GRID_GROW_BLOCKS + 1), GRID_ROOM);
        expect(!grid.growth.storage.in_flight);
        expect_equal(grid.block_count, GRID_GROW_BLOCKS);

        sim.options.grow_error_per_million = 0;
        if (needed == 1) {
            expect_equal(grid_reserve_now(&grid, GRID_GROW_BLOCKS + 1), GRID_ROOM);
            expect(grid.block_count > GRID_GROW_BLOCKS);
        } else {
            grid_checkpoint_durable(&grid);
            expect_equal(grid_reserve(&grid, 10, GRID_GROW_BLOCKS + 1), GRID_ROOM);
            growth_wait();
            expect_equal(grid.block_count, 2 * GRID_GROW_BLOCKS);
        }
        end();
    }
}

/* It fails ahead of need, while somebody begins to wait for it: it is tried once more for them. */
UNIT_TEST(a_growth_that_somebody_waits_for_fails)
{
    begin(1);
    expect_equal(grid_reserve_now(&grid, 1), GRID_ROOM);
    sim.options.grow_error_per_million = 1000000;
    expect_equal(grid_reserve(&grid, 10, GRID_GROW_BLOCKS + 1), GRID_ROOM);
    expect_equal(grid_reserve_now(&grid, GRID_GROW_BLOCKS + 1), GRID_ROOM_FAILED);
    expect_equal(sim.counters.grow_errors, 2);
    expect_equal(grid_reserve(&grid, 10, 10), GRID_ROOM_FAILED);
    end();
}

/* A growth that a crash cut leaves a part of a block, or a file beyond what may be used. */
UNIT_TEST(g4_files_of_any_size)
{
    for (uint64_t size = 0; size <= 3 * (uint64_t) BLOCK_SIZE; size += SECTOR_SIZE) {
        begin(1);
        expect_equal(storage_grow(&sim.storage, STORAGE_GRID, size), STORAGE_OK);
        restart();
        expect_equal(grid.block_count, size / BLOCK_SIZE);
        expect_equal(grid_reserve_now(&grid, 4), GRID_ROOM);
        end();
    }
    begin(1);
    const uint64_t size = 2 * (uint64_t) BLOCK_COUNT_MAX * BLOCK_SIZE;
    expect_equal(storage_grow(&sim.storage, STORAGE_GRID, size), STORAGE_OK);
    restart();
    expect_equal(grid.block_count, BLOCK_COUNT_MAX);
    expect_equal(grid_reserve_now(&grid, BLOCK_COUNT_MAX + 1), GRID_ROOM_FULL);
    end();
}

UNIT_MAIN(test_grid)
