/* SPDX-License-Identifier: PostgreSQL */
/* See storage_sim.h, which specifies the disk. */
#include "storage_sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/units.h"

/* What a crash can split: disks promise no more than a physical sector of 512 bytes. */
#define TEAR_SIZE 512

/* What a file gets when it grows, at least. */
#define GROWN_BYTES_MIN (64 * MIB)

#define PER_MILLION 1000000

enum sector_flag {
    SECTOR_FAULTY = 1,
    SECTOR_UNREADABLE = 2,
};

enum trace_event {
    TRACE_START,
    TRACE_COMPLETE,
    TRACE_GROW,
    TRACE_CRASH,
    TRACE_RESTART,
};

/* What becomes of one piece of a write that did not complete OK. */
enum piece_fate { PIECE_NEW, PIECE_OLD, PIECE_GARBAGE, PIECE_TORN };

static void sim_submit(struct storage *storage, struct storage_request *request);
static uint32_t sim_poll(struct storage *storage, bool wait);
static void sim_grow(struct storage *storage, struct storage_growth *growth);

static const struct storage_ops storage_sim_ops = {
    .submit = sim_submit,
    .poll = sim_poll,
    .grow = sim_grow,
};

static struct storage_sim *
sim_of(struct storage *storage)
{
    assert(storage->ops == &storage_sim_ops);
    return container_of(storage, struct storage_sim, storage);
}

static void
trace(
    struct storage_sim *sim,
    enum trace_event event,
    const struct storage_request *request,
    u128 content)
{
    struct {
        u128 previous;
        u128 content;
        uint64_t tick;
        uint64_t offset_bytes;
        uint64_t size_bytes;
        uint32_t event;
        uint32_t direction;
        uint32_t file;
        uint32_t result;
    } line = {
        .previous = sim->trace_hash,
        .content = content,
        .tick = sim->tick,
        .event = event,
    };
    static_assert(sizeof(line) == 72, "no padding is hashed");
    if (request != NULL) {
        line.offset_bytes = request->offset_bytes;
        line.size_bytes = request->size_bytes;
        line.direction = request->direction;
        line.file = request->file;
        line.result = event == TRACE_COMPLETE ? request->result : 0;
    }
    sim->trace_hash = checksum(&line, sizeof(line));
}

static uint64_t
files_size_bytes(const struct storage_sim *sim)
{
    uint64_t size_bytes = 0;
    for (int i = 0; i < STORAGE_FILE_COUNT; i++) {
        size_bytes += sim->files[i].size_bytes;
    }
    return size_bytes;
}

static void
file_free(const struct storage_sim_file *file)
{
    sim_memory_give(&file->memory, max_u64(file->size_bytes, file->size_most_bytes));
    free(file->sector_flags);
}

/* Room for so many bytes: what was not written to is zero. */
static void
file_reserve(struct storage_sim_file *file, uint64_t capacity_bytes)
{
    const struct sim_memory memory = sim_memory_take(capacity_bytes);
    uint8_t *sector_flags = calloc(capacity_bytes / SECTOR_SIZE, 1);
    assert(sector_flags != NULL);
    if (file->size_bytes > 0) {
        memcpy(memory.bytes, file->bytes, file->size_bytes);
        memcpy(sector_flags, file->sector_flags, file->size_bytes / SECTOR_SIZE);
    }
    file_free(file);
    file->memory = memory;
    file->bytes = memory.bytes;
    file->sector_flags = sector_flags;
    file->capacity_bytes = capacity_bytes;
}

/* What grows gets room for long: a grid grows often, and by little. */
static void
file_grow(struct storage_sim_file *file, uint64_t size_bytes)
{
    assert(size_bytes >= file->size_bytes);
    assert(size_bytes % SECTOR_SIZE == 0);
    if (size_bytes > file->capacity_bytes) {
        file_reserve(file, max_u64(max_u64(size_bytes, 4 * file->capacity_bytes), GROWN_BYTES_MIN));
    }
    /* Somebody may have cut it. */
    if (file->size_bytes < file->size_most_bytes) {
        const uint64_t end = min_u64(size_bytes, file->size_most_bytes);
        memset(file->bytes + file->size_bytes, 0, end - file->size_bytes);
        memset(
            file->sector_flags + file->size_bytes / SECTOR_SIZE,
            0,
            (end - file->size_bytes) / SECTOR_SIZE);
    }
    file->size_most_bytes = max_u64(file->size_most_bytes, size_bytes);
    file->size_bytes = size_bytes;
}

void
storage_sim_init(
    struct storage_sim *sim, const struct storage_sim_options *options, struct prng *prng)
{
    assert(prng != NULL);
    assert(options->latency_min_ticks <= options->latency_max_ticks);

    memset(sim, 0, sizeof(*sim));
    sim->storage.ops = &storage_sim_ops;
    sim->options = *options;
    sim->prng = prng;
    for (int i = 0; i < STORAGE_FILE_COUNT; i++) {
        struct storage_sim_file *file = &sim->files[i];
        const uint64_t size_bytes = options->file_size_bytes[i];
        assert(size_bytes % SECTOR_SIZE == 0);
        if (size_bytes > 0) file_reserve(file, size_bytes);
        file->size_bytes = size_bytes;
        file->size_most_bytes = size_bytes;
        sim->storage.file_size_bytes[i] = options->file_size_bytes[i];
    }
}

void
storage_sim_free(struct storage_sim *sim)
{
    for (int i = 0; i < STORAGE_FILE_COUNT; i++) {
        file_free(&sim->files[i]);
    }
    memset(sim, 0, sizeof(*sim));
}

void
storage_sim_tick(struct storage_sim *sim)
{
    sim->tick += 1;
}

uint8_t *
storage_sim_bytes(struct storage_sim *sim, enum storage_file file)
{
    return sim->files[file].bytes;
}

/* Sectors -------------------------------------------------------------------------------------- */

static void
sectors_assert(const struct storage_sim_file *file, uint64_t offset_bytes, uint64_t size_bytes)
{
    assert(size_bytes > 0);
    assert(offset_bytes < file->size_bytes);
    assert(size_bytes <= file->size_bytes - offset_bytes);
}

static bool
sectors_have(
    const struct storage_sim_file *file,
    uint64_t offset_bytes,
    uint64_t size_bytes,
    enum sector_flag flag)
{
    sectors_assert(file, offset_bytes, size_bytes);
    const uint64_t last = (offset_bytes + size_bytes - 1) / SECTOR_SIZE;
    for (uint64_t sector = offset_bytes / SECTOR_SIZE; sector <= last; sector++) {
        if (file->sector_flags[sector] & flag) return true;
    }
    return false;
}

static void
sectors_mark(
    struct storage_sim_file *file, uint64_t offset_bytes, uint64_t size_bytes, unsigned flags)
{
    sectors_assert(file, offset_bytes, size_bytes);
    const uint64_t last = (offset_bytes + size_bytes - 1) / SECTOR_SIZE;
    for (uint64_t sector = offset_bytes / SECTOR_SIZE; sector <= last; sector++) {
        file->sector_flags[sector] = (uint8_t) (file->sector_flags[sector] | flags);
    }
}

/* The first size_bytes of a write go to a place, mostly the one that they were meant for. */
static void
sectors_overwrite(
    struct storage_sim_file *file,
    uint64_t offset_bytes,
    const struct storage_request *write,
    uint64_t size_bytes)
{
    sectors_assert(file, offset_bytes, size_bytes);
    assert(offset_bytes % SECTOR_SIZE == 0 && size_bytes % SECTOR_SIZE == 0);
    for (uint64_t done = 0; done < size_bytes;) {
        uint64_t piece_bytes;
        const uint8_t *piece = storage_request_piece(write, done, &piece_bytes);
        piece_bytes = min_u64(piece_bytes, size_bytes - done);
        memcpy(file->bytes + offset_bytes + done, piece, piece_bytes);
        done += piece_bytes;
    }
    memset(file->sector_flags + offset_bytes / SECTOR_SIZE, 0, size_bytes / SECTOR_SIZE);
}

/* Of all bytes of the request's buffers. */
static u128
content_checksum(const struct storage_request *request)
{
    u128 checksums[STORAGE_BUFFERS_MAX];
    if (request->buffer_count == 0) return checksum(request->buffer, request->size_bytes);
    for (uint32_t i = 0; i < request->buffer_count; i++) {
        checksums[i] = checksum(request->buffers[i], request->buffer_size_bytes);
    }
    return checksum(checksums, request->buffer_count * sizeof(u128));
}

static void
fill_garbage(struct storage_sim *sim, uint8_t *target, uint64_t size_bytes)
{
    assert(size_bytes % sizeof(uint64_t) == 0);
    for (uint64_t i = 0; i < size_bytes; i += sizeof(uint64_t)) {
        const uint64_t word = prng_next(sim->prng);
        memcpy(target + i, &word, sizeof(word));
    }
}

void
storage_sim_rot(
    struct storage_sim *sim, enum storage_file file, uint64_t offset_bytes, uint64_t size_bytes)
{
    struct storage_sim_file *sim_file = &sim->files[file];
    sectors_assert(sim_file, offset_bytes, size_bytes);

    const uint64_t end = offset_bytes + size_bytes;
    for (uint64_t start = offset_bytes; start < end;) {
        const uint64_t stop = min_u64(end, (start / SECTOR_SIZE + 1) * SECTOR_SIZE);
        /* The first change is never undone by a later one: those are in other bytes. */
        const uint64_t first = start + prng_below(sim->prng, stop - start);
        sim_file->bytes[first] ^= (uint8_t) (1u << prng_below(sim->prng, 8));
        const uint64_t more = prng_chance(sim->prng, 1, 2) ? 0 : prng_below(sim->prng, 64);
        for (uint64_t i = 0; i < more; i++) {
            const uint64_t at = start + prng_below(sim->prng, stop - start);
            if (at != first) sim_file->bytes[at] ^= (uint8_t) prng_next(sim->prng);
        }
        sim->counters.rots += 1;
        start = stop;
    }
    sectors_mark(sim_file, offset_bytes, size_bytes, SECTOR_FAULTY);
}

void
storage_sim_latent_error(
    struct storage_sim *sim, enum storage_file file, uint64_t offset_bytes, uint64_t size_bytes)
{
    sectors_mark(&sim->files[file], offset_bytes, size_bytes, SECTOR_FAULTY | SECTOR_UNREADABLE);
    const uint64_t last = (offset_bytes + size_bytes - 1) / SECTOR_SIZE;
    sim->counters.latent_errors += last - offset_bytes / SECTOR_SIZE + 1;
}

bool
storage_sim_faulty(
    const struct storage_sim *sim,
    enum storage_file file,
    uint64_t offset_bytes,
    uint64_t size_bytes)
{
    return sectors_have(&sim->files[file], offset_bytes, size_bytes, SECTOR_FAULTY);
}

static void
tell_wrote(struct storage_sim *sim, const struct storage_request *write, bool done)
{
    if (sim->options.wrote != NULL) sim->options.wrote(sim->options.wrote_context, write, done);
}

/* Crash ---------------------------------------------------------------------------------------- */

/* Applies one piece of a write. A piece that is torn is cut into smaller ones by the caller. */
static void
piece_apply(
    struct storage_sim *sim,
    uint8_t *target,
    const uint8_t *source,
    uint64_t size_bytes,
    enum piece_fate fate)
{
    switch (fate) {
    case PIECE_NEW: memcpy(target, source, size_bytes); break;
    case PIECE_OLD: break;
    case PIECE_GARBAGE: fill_garbage(sim, target, size_bytes); break;
    case PIECE_TORN: unreachable();
    }
}

static enum piece_fate
piece_fate_random(struct storage_sim *sim, bool tearable)
{
    const uint64_t dice = prng_below(sim->prng, 16);
    if (dice < 6) return PIECE_NEW;
    if (dice < 12) return PIECE_OLD;
    if (dice < 13) return PIECE_GARBAGE;
    return tearable ? PIECE_TORN : PIECE_NEW;
}

/* Each sector new, old, garbage or torn. Readability and faultiness follow what is now there. */
static void
write_apply_mixture(struct storage_sim *sim, const struct storage_request *write)
{
    struct storage_sim_file *file = &sim->files[write->file];
    for (uint64_t done = 0; done < write->size_bytes; done += SECTOR_SIZE) {
        uint64_t piece_bytes;
        const uint8_t *source = storage_request_piece(write, done, &piece_bytes);
        assert(piece_bytes >= SECTOR_SIZE);
        uint8_t *sector = file->bytes + write->offset_bytes + done;
        const enum piece_fate fate = piece_fate_random(sim, true);
        if (fate != PIECE_OLD) {
            file->sector_flags[(write->offset_bytes + done) / SECTOR_SIZE] = 0;
        }
        if (fate != PIECE_TORN) {
            piece_apply(sim, sector, source, SECTOR_SIZE, fate);
            continue;
        }
        for (uint64_t tear = 0; tear < SECTOR_SIZE; tear += TEAR_SIZE) {
            const enum piece_fate tear_fate = piece_fate_random(sim, false);
            piece_apply(sim, sector + tear, source + tear, TEAR_SIZE, tear_fate);
        }
    }
}

static void
write_apply_crashed(struct storage_sim *sim, const struct storage_request *write)
{
    struct storage_sim_file *file = &sim->files[write->file];
    switch (prng_below(sim->prng, 5)) {
    case 0: sectors_overwrite(file, write->offset_bytes, write, write->size_bytes); break;
    case 1: break;
    case 2: {
        const uint64_t sectors = prng_below(sim->prng, write->size_bytes / SECTOR_SIZE + 1);
        if (sectors == 0) break;
        sectors_overwrite(file, write->offset_bytes, write, sectors * SECTOR_SIZE);
        break;
    }
    default: write_apply_mixture(sim, write); break;
    }
}

/* What is left of a growth under way: any size between. */
static void
growth_cut(struct storage_sim *sim)
{
    const struct storage_growth *growth = sim->storage.growing;
    if (growth == NULL) return;
    struct storage_sim_file *file = &sim->files[growth->file];
    if (file->size_bytes >= growth->size_bytes) return; /* An error has left more than that. */
    const uint64_t added_bytes = growth->size_bytes - file->size_bytes;
    const uint64_t sectors = prng_range(sim->prng, 0, added_bytes / SECTOR_SIZE);
    file_grow(file, file->size_bytes + sectors * SECTOR_SIZE);
}

void
storage_sim_crash_now(struct storage_sim *sim)
{
    assert(!sim->crashed);
    sim->crashed = true;
    sim->crash_fuse = 0;
    sim->counters.crashes += 1;
    for (uint32_t i = 0; i < sim->flight_count; i++) {
        const struct storage_request *request = sim->flights[i].request;
        if (request->direction != STORAGE_WRITE) continue;
        write_apply_crashed(sim, request);
        tell_wrote(sim, request, false);
    }
    growth_cut(sim);
    trace(sim, TRACE_CRASH, NULL, 0);
}

void
storage_sim_crash_after(struct storage_sim *sim, uint64_t event_count)
{
    assert(!sim->crashed);
    sim->crash_fuse = event_count;
}

/* True if this event is the one that the crash was planned for. */
static bool
fuse_burns_out(struct storage_sim *sim)
{
    if (sim->crashed || sim->crash_fuse == 0) return false;
    sim->crash_fuse -= 1;
    return sim->crash_fuse == 0;
}

void
storage_sim_restart(struct storage_sim *sim)
{
    assert(!sim->polling);
    assert(sim->crashed || sim->storage.in_flight_count == 0);
    sim->crashed = false;
    sim->crash_fuse = 0;
    sim->flight_count = 0;
    sim->storage.in_flight_count = 0;
    sim->storage.growing = NULL;
    for (int i = 0; i < STORAGE_FILE_COUNT; i++) {
        sim->storage.file_size_bytes[i] = sim->files[i].size_bytes;
    }
    trace(sim, TRACE_RESTART, NULL, 0);
}

/* Start ---------------------------------------------------------------------------------------- */

static bool
requests_overlap(const struct storage_request *a, const struct storage_request *b)
{
    if (a->file != b->file) return false;
    return a->offset_bytes < b->offset_bytes + b->size_bytes &&
           b->offset_bytes < a->offset_bytes + a->size_bytes;
}

/* Reads may overlap reads. Everything else in flight at the same time must be apart. */
static void
assert_apart(const struct storage_request *a, const struct storage_request *b)
{
    if (a->direction == STORAGE_READ && b->direction == STORAGE_READ) return;
    assert(!requests_overlap(a, b));
}

static void
assert_apart_from_flights(const struct storage_sim *sim, const struct storage_request *request)
{
    for (uint32_t i = 0; i < sim->flight_count; i++) {
        const struct storage_request *other = sim->flights[i].request;
        assert(other != request && other->then != request);
        assert_apart(request, other);
        if (other->then != NULL) assert_apart(request, other->then);
    }
}

/* What the read's buffers have: these bytes; without any, what nobody may rely on. */
static void
read_fill(const struct storage_request *read, const uint8_t *bytes)
{
    assert(read->direction == STORAGE_READ);
    uint64_t piece_bytes = 0;
    for (uint64_t done = 0; done < read->size_bytes; done += piece_bytes) {
        uint8_t *piece = storage_request_piece(read, done, &piece_bytes);
        if (bytes == NULL) {
            memset(piece, 0xA5, piece_bytes);
        } else {
            memcpy(piece, bytes + done, piece_bytes);
        }
    }
}

static void
flight_start(struct storage_sim *sim, struct storage_request *request)
{
    assert(request->in_flight);
    assert(sim->flight_count < STORAGE_SIM_FLIGHTS_MAX);

    const uint64_t latency_ticks =
        prng_range(sim->prng, sim->options.latency_min_ticks, sim->options.latency_max_ticks);
    struct storage_sim_flight *flight = &sim->flights[sim->flight_count];
    *flight = (struct storage_sim_flight){
        .request = request,
        .due_tick = sim->tick + latency_ticks,
        .start_index = sim->start_count,
    };
    if (request->direction == STORAGE_WRITE) {
        flight->content_checksum = content_checksum(request);
    } else {
        read_fill(request, NULL);
    }
    sim->start_count += 1;
    sim->flight_count += 1;
    trace(sim, TRACE_START, request, flight->content_checksum);
    if (fuse_burns_out(sim)) storage_sim_crash_now(sim);
}

static void
sim_submit(struct storage *storage, struct storage_request *request)
{
    struct storage_sim *sim = sim_of(storage);
    struct storage_request *then = request->then;
    assert(storage->in_flight_count + 2 <= STORAGE_SIM_FLIGHTS_MAX);

    assert_apart_from_flights(sim, request);
    request->in_flight = true;
    storage->in_flight_count += 1;
    if (then != NULL) {
        assert_apart_from_flights(sim, then);
        assert_apart(request, then);
        then->in_flight = true;
        storage->in_flight_count += 1;
    }
    sim->counters.submits += 1;
    flight_start(sim, request);
}

/* Faults --------------------------------------------------------------------------------------- */

static bool
fault_drawn(struct storage_sim *sim, uint32_t per_million)
{
    return per_million > 0 && prng_chance(sim->prng, per_million, PER_MILLION);
}

static bool
fault_allowed(
    struct storage_sim *sim,
    enum storage_sim_fault fault,
    enum storage_file file,
    uint64_t offset_bytes,
    uint64_t size_bytes)
{
    const struct storage_sim_options *options = &sim->options;
    sim->fault_asked = fault;
    if (options->fault_allowed == NULL) return true;
    if (options->fault_allowed(options->fault_context, file, offset_bytes, size_bytes)) return true;
    sim->counters.faults_vetoed += 1;
    return false;
}

static bool
fault_on_write(
    struct storage_sim *sim,
    const struct storage_request *write,
    enum storage_sim_fault fault,
    uint32_t per_million)
{
    if (!fault_drawn(sim, per_million)) return false;
    return fault_allowed(sim, fault, write->file, write->offset_bytes, write->size_bytes);
}

/* A place for a write to land on instead. False if none was found in a few tries. */
static bool
misdirection_target(
    struct storage_sim *sim, const struct storage_request *write, uint64_t *target_offset_bytes)
{
    const uint64_t file_size_bytes = sim->files[write->file].size_bytes;
    const uint64_t place_count = (file_size_bytes - write->size_bytes) / SECTOR_SIZE + 1;
    for (int try = 0; try < 4; try++) {
        struct storage_request target = *write;
        target.offset_bytes = prng_below(sim->prng, place_count) * SECTOR_SIZE;
        bool apart = !requests_overlap(&target, write);
        for (uint32_t i = 0; i < sim->flight_count && apart; i++) {
            const struct storage_request *other = sim->flights[i].request;
            apart = other->direction == STORAGE_READ || !requests_overlap(&target, other);
        }
        if (!apart) continue;
        *target_offset_bytes = target.offset_bytes;
        return fault_allowed(
            sim,
            STORAGE_SIM_MISDIRECTED_WRITE,
            write->file,
            target.offset_bytes,
            write->size_bytes);
    }
    return false;
}

/* Completion ----------------------------------------------------------------------------------- */

static enum storage_result
write_take_effect(struct storage_sim *sim, const struct storage_request *write)
{
    struct storage_sim_file *file = &sim->files[write->file];
    const uint64_t offset_bytes = write->offset_bytes, size_bytes = write->size_bytes;
    sim->counters.writes += 1;
    sim->counters.write_bytes += size_bytes;

    if (fault_on_write(
            sim, write, STORAGE_SIM_WRITE_ERROR, sim->options.write_error_per_million)) {
        sim->counters.write_errors += 1;
        write_apply_mixture(sim, write);
        sectors_mark(file, offset_bytes, size_bytes, SECTOR_FAULTY);
        return STORAGE_IO_ERROR;
    }
    if (fault_on_write(sim, write, STORAGE_SIM_LOST_WRITE, sim->options.lost_write_per_million)) {
        sim->counters.lost_writes += 1;
        sectors_mark(file, offset_bytes, size_bytes, SECTOR_FAULTY);
        return STORAGE_OK;
    }
    uint64_t target_offset_bytes;
    if (fault_on_write(
            sim,
            write,
            STORAGE_SIM_MISDIRECTED_WRITE,
            sim->options.misdirected_write_per_million) &&
        misdirection_target(sim, write, &target_offset_bytes)) {
        sim->counters.misdirected_writes += 1;
        sectors_overwrite(file, target_offset_bytes, write, size_bytes);
        sectors_mark(file, target_offset_bytes, size_bytes, SECTOR_FAULTY);
        sectors_mark(file, offset_bytes, size_bytes, SECTOR_FAULTY);
        return STORAGE_OK;
    }
    sectors_overwrite(file, offset_bytes, write, size_bytes);
    return STORAGE_OK;
}

static enum storage_result
read_take_effect(struct storage_sim *sim, const struct storage_request *read)
{
    const struct storage_sim_file *file = &sim->files[read->file];
    sim->counters.reads += 1;
    sim->counters.read_bytes += read->size_bytes;

    const uint64_t sector_count = read->size_bytes / SECTOR_SIZE;
    if (fault_drawn(sim, sim->options.latent_error_per_million)) {
        const uint64_t victim =
            read->offset_bytes + prng_below(sim->prng, sector_count) * SECTOR_SIZE;
        if (fault_allowed(sim, STORAGE_SIM_LATENT_ERROR, read->file, victim, SECTOR_SIZE)) {
            storage_sim_latent_error(sim, read->file, victim, SECTOR_SIZE);
        }
    }
    if (fault_drawn(sim, sim->options.rot_per_million)) {
        const uint64_t victim =
            read->offset_bytes + prng_below(sim->prng, sector_count) * SECTOR_SIZE;
        if (fault_allowed(sim, STORAGE_SIM_ROT, read->file, victim, SECTOR_SIZE)) {
            storage_sim_rot(sim, read->file, victim, SECTOR_SIZE);
        }
    }
    if (sectors_have(file, read->offset_bytes, read->size_bytes, SECTOR_UNREADABLE)) {
        return STORAGE_IO_ERROR;
    }
    read_fill(read, file->bytes + read->offset_bytes);
    return STORAGE_OK;
}

static void
request_finish(struct storage_sim *sim, struct storage_request *request, enum storage_result result)
{
    assert(request->in_flight);
    assert(sim->storage.in_flight_count > 0);
    u128 content = 0;
    if (request->direction == STORAGE_READ && result == STORAGE_OK) {
        content = content_checksum(request);
    }
    request->result = result;
    request->done_bytes = result == STORAGE_OK ? request->size_bytes : 0;
    request->in_flight = false;
    request->then = NULL;
    sim->storage.in_flight_count -= 1;
    trace(sim, TRACE_COMPLETE, request, content);
    request->callback(request);
}

/* Returns how many callbacks ran. */
static uint32_t
flight_complete(struct storage_sim *sim, uint32_t index)
{
    assert(index < sim->flight_count);
    if (fuse_burns_out(sim)) storage_sim_crash_now(sim);

    const struct storage_sim_flight flight = sim->flights[index];
    sim->flight_count -= 1;
    sim->flights[index] = sim->flights[sim->flight_count];

    struct storage_request *request = flight.request;
    struct storage_request *then = request->then;
    if (request->direction == STORAGE_WRITE) {
        assert(content_checksum(request) == flight.content_checksum);
    }

    enum storage_result result = STORAGE_IO_ERROR;
    if (!sim->crashed) {
        const bool writes = request->direction == STORAGE_WRITE;
        result = writes ? write_take_effect(sim, request) : read_take_effect(sim, request);
        if (writes) tell_wrote(sim, request, result == STORAGE_OK);
    }
    if (then != NULL && result == STORAGE_OK) flight_start(sim, then);
    request_finish(sim, request, result);
    if (then == NULL || result == STORAGE_OK) return 1;

    request_finish(sim, then, STORAGE_IO_ERROR);
    return 2;
}

/* Picks one of the requests that are due and have a start number below the limit. */
static bool
flight_pick(struct storage_sim *sim, uint64_t start_limit, uint32_t *index)
{
    uint32_t due_count = 0;
    for (uint32_t i = 0; i < sim->flight_count; i++) {
        const struct storage_sim_flight *flight = &sim->flights[i];
        if (flight->due_tick > sim->tick || flight->start_index >= start_limit) continue;
        due_count += 1;
        if (prng_below(sim->prng, due_count) == 0) *index = i;
    }
    return due_count > 0;
}

static enum storage_result
growth_take_effect(struct storage_sim *sim, const struct storage_growth *growth)
{
    struct storage_sim_file *file = &sim->files[growth->file];
    const uint64_t size_old_bytes = sim->storage.file_size_bytes[growth->file];
    assert(file->size_bytes >= size_old_bytes); /* More, if a growth has failed. */
    const uint64_t size_bytes = max_u64(growth->size_bytes, file->size_bytes);
    const uint64_t added_bytes = size_bytes - file->size_bytes;
    const uint64_t limit_bytes = sim->options.space_limit_bytes;
    if (limit_bytes > 0 && files_size_bytes(sim) + added_bytes > limit_bytes) {
        return STORAGE_NO_SPACE;
    }
    if (fault_drawn(sim, sim->options.grow_error_per_million) &&
        fault_allowed(sim, STORAGE_SIM_GROW_ERROR, growth->file, size_old_bytes, added_bytes)) {
        growth_cut(sim);
        sim->counters.grow_errors += 1;
        return STORAGE_IO_ERROR;
    }
    sim->counters.grows += 1;
    file_grow(file, size_bytes);
    return STORAGE_OK;
}

/* If it is due, and was started before the poll. Returns how many callbacks ran. */
static uint32_t
growth_complete(struct storage_sim *sim, uint64_t start_limit)
{
    const struct storage_growth *growth = sim->storage.growing;
    if (growth == NULL || sim->growth_due_tick > sim->tick) return 0;
    if (sim->growth_start_index >= start_limit) return 0;
    if (fuse_burns_out(sim)) storage_sim_crash_now(sim);
    const struct storage_request line = {.file = growth->file, .size_bytes = growth->size_bytes};
    trace(sim, TRACE_GROW, &line, 1);
    storage_grow_finish(
        &sim->storage, sim->crashed ? STORAGE_IO_ERROR : growth_take_effect(sim, growth));
    return 1;
}

static uint32_t
sim_poll(struct storage *storage, bool wait)
{
    struct storage_sim *sim = sim_of(storage);
    assert(!sim->polling);
    sim->polling = true;

    if (wait) {
        assert(sim->flight_count > 0 || storage->growing != NULL);
        uint64_t earliest_tick = UINT64_MAX;
        for (uint32_t i = 0; i < sim->flight_count; i++) {
            earliest_tick = min_u64(earliest_tick, sim->flights[i].due_tick);
        }
        if (storage->growing != NULL) earliest_tick = min_u64(earliest_tick, sim->growth_due_tick);
        sim->tick = max_u64(sim->tick, earliest_tick);
    }

    const uint64_t start_limit = sim->start_count;
    uint32_t completed = 0;
    uint32_t index = 0;
    const bool grows_first = storage->growing != NULL && prng_chance(sim->prng, 1, 2);
    if (grows_first) completed += growth_complete(sim, start_limit);
    while (flight_pick(sim, start_limit, &index)) {
        completed += flight_complete(sim, index);
    }
    if (!grows_first) completed += growth_complete(sim, start_limit);
    assert(!wait || completed > 0);
    sim->polling = false;
    return completed;
}

/* It takes longer than a request, so that much can happen meanwhile. */
static void
sim_grow(struct storage *storage, struct storage_growth *growth)
{
    struct storage_sim *sim = sim_of(storage);
    const struct storage_request line = {.file = growth->file, .size_bytes = growth->size_bytes};
    const uint64_t latency_ticks = prng_range(
        sim->prng, sim->options.latency_min_ticks, 4 * (uint64_t) sim->options.latency_max_ticks);
    assert(storage->growing == growth);
    sim->growth_due_tick = sim->tick + latency_ticks;
    sim->growth_start_index = sim->start_count;
    sim->start_count += 1;
    trace(sim, TRACE_GROW, &line, 0);
}
