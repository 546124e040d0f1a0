/* SPDX-License-Identifier: PostgreSQL */
/*
 * Solo writes: which way they go, by what has been measured; and that each way is the same but for
 * the time it takes. That the rules of io/storage.h hold for both is tested by test_storage and
 * test_storage_os, on each kind of disk.
 */
#include "unit/storage_fixture.h"

#include "base/bytes.h"
#include "unit/unit.h"

/* The choice alone ----------------------------------------------------------------------------- */

static struct storage_solo_stats stats;
static struct storage_choice choice;
static uint64_t now_ns;

/* What a way does: how long a write takes, and how long it is until the next one. */
struct pace {
    uint64_t latency_us;
    uint64_t interval_us;
};

/* A number of solo writes of so many events. Returns how many went by calls. */
static uint32_t
write_paced(uint32_t count, const struct pace paces[STORAGE_WAY_COUNT], uint32_t events)
{
    uint32_t calls = 0;
    for (uint32_t i = 0; i < count; i++) {
        const enum storage_way way = storage_choice_next(&choice, now_ns, events);
        calls += way == STORAGE_WAY_CALL ? 1 : 0;
        storage_choice_measured(&choice, paces[way].latency_us * NS_PER_US);
        now_ns += paces[way].interval_us * NS_PER_US;
    }
    return calls;
}

/* The next one begins as soon as the last one has ended. */
static uint32_t
write_many(uint32_t count, uint64_t ring_us, uint64_t call_us)
{
    const struct pace paces[STORAGE_WAY_COUNT] = {
        [STORAGE_WAY_RING] = {ring_us, ring_us},
        [STORAGE_WAY_CALL] = {call_us, call_us},
    };
    return write_paced(count, paces, 1);
}

static void
begin(void)
{
    now_ns = NS_PER_S;
    storage_choice_init(&choice, &stats, STORAGE_WAY_RING, false);
    expect_equal(stats.latency_ns[STORAGE_WAY_RING], 0);
    expect_equal(stats.latency_ns[STORAGE_WAY_CALL], 0);
}

/* So many writes are enough for the first decision, and for another one later. */
#define FIRST      (CHOICE_FIRST * 2 * CHOICE_TURN + 1)
#define REST       (CHOICE_REST_MIN + 2 * CHOICE_TURN)
#define FOLLOWS    (CHOICE_REST_MAX + CHOICE_COMPARISONS * REST)
#define LONG_AFTER (40 * CHOICE_REST_MAX)

UNIT_TEST(the_faster_way_is_found_and_used)
{
    for (int call_is_faster = 0; call_is_faster < 2; call_is_faster++) {
        const uint64_t ring_us = call_is_faster == 1 ? 400 : 250;
        const uint64_t call_us = call_is_faster == 1 ? 250 : 400;
        begin();
        expect_equal(write_many(FIRST - 1, ring_us, call_us), CHOICE_FIRST * CHOICE_TURN);
        const uint32_t calls = write_many(LONG_AFTER, ring_us, call_us);
        const uint32_t slower = call_is_faster == 1 ? LONG_AFTER - calls : calls;
        expect_equal(stats.way, call_is_faster == 1 ? STORAGE_WAY_CALL : STORAGE_WAY_RING);
        expect(slower > 10 * CHOICE_TURN);
        expect(slower * 200 <= LONG_AFTER); /* One in two hundred at most. */
        expect_equal(stats.latency_ns[STORAGE_WAY_RING], ring_us * NS_PER_US);
        expect_equal(stats.latency_ns[STORAGE_WAY_CALL], call_us * NS_PER_US);
        expect_equal(
            stats.writes[STORAGE_WAY_RING] + stats.writes[STORAGE_WAY_CALL],
            FIRST - 1 + LONG_AFTER);
    }
}

/* A way may write faster, and be worse for those who bring the next write. */
UNIT_TEST(what_counts_is_how_much_is_done)
{
    const struct pace call_is_better[] = {
        [STORAGE_WAY_RING] = {100, 400}, [STORAGE_WAY_CALL] = {120, 300}};
    const struct pace ring_is_better[] = {
        [STORAGE_WAY_RING] = {120, 300}, [STORAGE_WAY_CALL] = {100, 400}};
    begin();
    (void) write_paced(FIRST, call_is_better, 1);
    expect_equal(stats.way, STORAGE_WAY_CALL);
    (void) write_paced(FOLLOWS, ring_is_better, 1);
    expect_equal(stats.way, STORAGE_WAY_RING);

    /* By calls, each takes twice as long, and has three times as many events. */
    begin();
    for (uint32_t i = 0; i < FIRST; i++) {
        const enum storage_way way = storage_choice_next(&choice, now_ns, 1);
        const bool call = way == STORAGE_WAY_CALL;
        choice.newest_events = call ? 30 : 10;
        storage_choice_measured(&choice, 100 * NS_PER_US);
        now_ns += (call ? 400 : 200) * NS_PER_US;
    }
    expect_equal(stats.way, STORAGE_WAY_CALL);
}

/* A way that is slow now and then, by much, is a slow one. */
UNIT_TEST(what_is_slow_often_counts)
{
    begin();
    for (uint32_t i = 0; i < FIRST; i++) {
        (void) write_many(1, i % 10 == 0 ? 1200 : 200, 250);
    }
    expect_equal(stats.way, STORAGE_WAY_CALL);
}

/* It is noticed that the other way has become better, however clear it was before. */
UNIT_TEST(the_choice_follows_the_machine)
{
    begin();
    (void) write_many(FIRST, 400, 250);
    for (int round = 0; round < 4; round++) {
        const bool call_is_faster = round % 2 == 1;
        const enum storage_way faster = call_is_faster ? STORAGE_WAY_CALL : STORAGE_WAY_RING;
        for (uint32_t i = 0; i < FOLLOWS && stats.way != faster; i++) {
            (void) write_many(1, 300, call_is_faster ? 200 : 500);
        }
        expect_equal(stats.way, faster);
        expect_equal(choice.rest_last, CHOICE_REST_MIN); /* It looks again soon after a change, */
        (void) write_many(8 * CHOICE_REST_MAX, 300, call_is_faster ? 200 : 500);
        expect_equal(choice.rest_last, CHOICE_REST_MAX); /* and seldom where all is clear. */
    }
}

/* Ways that are about equally good don't take turns; what is slow now and then is noise. */
UNIT_TEST(small_differences_change_nothing)
{
    begin();
    for (uint32_t i = 0; i < 10; i++) {
        (void) write_many(CHOICE_REST_MAX, 200, 196);
        expect_equal(stats.way, STORAGE_WAY_RING);
        expect_equal(choice.rest_last, CHOICE_REST_MIN);
    }
    (void) write_many(CHOICE_COMPARISONS * REST, 200, 190);
    expect_equal(stats.way, STORAGE_WAY_CALL);
    for (uint32_t i = 0; i < 10; i++) {
        (void) write_many(CHOICE_REST_MAX, 186, 190);
        expect_equal(stats.way, STORAGE_WAY_CALL);
    }
    for (uint32_t i = 0; i < 2 * CHOICE_REST_MAX; i++) {
        (void) write_many(1, 186, i % (CHOICE_COUNTED / CHOICE_LONGEST) == 0 ? 20000 : 190);
        expect_equal(stats.way, STORAGE_WAY_CALL);
    }
}

/* Load that grows or falls steadily changes the cost of both ways, and nobody's choice. */
UNIT_TEST(load_that_changes_is_no_difference)
{
    begin();
    for (uint32_t i = 0; i < 3 * CHOICE_REST_MAX; i++) {
        const uint64_t us = 1000 + i / 8;
        (void) write_many(1, us, us);
        expect_equal(stats.way, STORAGE_WAY_RING);
    }
    /* One turn that something else has slowed down doesn't decide either. */
    for (uint32_t slow = 0; slow < 2 * CHOICE_FIRST; slow++) {
        begin();
        for (uint32_t i = 0; i < FIRST; i++) {
            const uint64_t us = i / CHOICE_TURN == slow ? 300 : 200;
            (void) write_many(1, us, us);
            expect_equal(stats.way, STORAGE_WAY_RING);
        }
    }
}

/* What else is under way lengthens intervals, and says nothing of a way. */
UNIT_TEST(an_interval_that_was_interrupted_does_not_count)
{
    begin();
    for (uint32_t i = 0; i < 2 * FIRST; i++) {
        const enum storage_way way = storage_choice_next(&choice, now_ns, 1);
        storage_choice_measured(&choice, 200 * NS_PER_US);
        const bool call = way == STORAGE_WAY_CALL;
        if (i % 2 == 0) storage_choice_interrupt(&choice);
        now_ns += (i % 2 == 0 ? (call ? 9000 : 1) : (call ? 200 : 300)) * NS_PER_US;
    }
    expect_equal(stats.way, STORAGE_WAY_CALL);
}

/* Where nothing can be counted, a turn of the other way ends all the same. */
UNIT_TEST(a_comparison_that_leads_nowhere_is_given_up)
{
    begin();
    (void) write_many(CHOICE_TURN + 1, 200, 300);
    expect_equal(choice.newest, STORAGE_WAY_CALL);
    uint32_t calls = 0;
    for (uint32_t i = 0; i < CHOICE_REST_MAX; i++) {
        calls += storage_choice_next(&choice, now_ns, 1) == STORAGE_WAY_CALL ? 1 : 0;
        storage_choice_interrupt(&choice);
        now_ns += NS_PER_MS;
    }
    expect_equal(calls, CHOICE_TURN_MAX - 1);
    expect_equal(stats.way, STORAGE_WAY_RING);
    (void) write_many(FOLLOWS, 300, 200);
    expect_equal(stats.way, STORAGE_WAY_CALL);
}

UNIT_TEST(calls_that_block_for_long_are_not_used)
{
    begin();
    /* A comparison ends with the first turn of them. */
    expect_equal(write_many(CHOICE_REST_MAX, 9000, 5000), CHOICE_TURN);
    expect_equal(stats.way, STORAGE_WAY_RING);
    (void) write_many(FOLLOWS, 900, 500);
    expect_equal(stats.way, STORAGE_WAY_CALL);
    /* That they have become slow is seen at once, and in the first turn of the next comparison. */
    expect(write_many(CHOICE_REST_MAX / 2, 9000, 5000) <= 2 * CHOICE_TURN);
    expect_equal(stats.way, STORAGE_WAY_RING);
}

UNIT_TEST(a_fixed_way_is_only_measured)
{
    storage_choice_init(&choice, &stats, STORAGE_WAY_RING, true);
    expect_equal(write_many(3 * CHOICE_REST_MAX, 900, 1), 0);
    expect_equal(stats.latency_ns[STORAGE_WAY_RING], 900 * NS_PER_US);
    expect_equal(stats.latency_ns[STORAGE_WAY_CALL], 0);
    storage_choice_init(&choice, &stats, STORAGE_WAY_CALL, true);
    expect_equal(write_many(3 * CHOICE_REST_MAX, 1, 900), 3 * CHOICE_REST_MAX);
}

/* On disks ------------------------------------------------------------------------------------- */

#define BIG (CHOICE_SIZE_MAX + SECTOR_SIZE)

struct done {
    uint64_t calls; /* Transfers by plain calls. */
    uint64_t rings; /* Submissions to the ring. */
    uint64_t solo[STORAGE_WAY_COUNT];
};

static struct done
done_since(const struct disk *disk, const struct done *before)
{
    struct done done = {
        .calls = hooks.pwrites - before->calls,
        .rings = hooks.submits - before->rings,
    };
    for (int way = 0; way < STORAGE_WAY_COUNT; way++) {
        done.solo[way] = disk->storage->solo.writes[way] - before->solo[way];
    }
    return done;
}

static bool
chooses(const struct disk *disk)
{
    return disk->kind == DISK_AUTO || disk->kind == DISK_AUTO_DIRECT;
}

static void
submit_pair(struct disk *disk, uint64_t first_size)
{
    items_reset();
    for (uint32_t i = 0; i < 2; i++) pattern_fill(buffers[i], first_size, i + first_size);
    submit_ordered(
        disk->storage,
        item_prepare(0, STORAGE_WRITE, STORAGE_PREPARES, SECTOR_SIZE, first_size),
        item_prepare(1, STORAGE_WRITE, STORAGE_HEADERS, SECTOR_SIZE, SECTOR_SIZE));
    expect_equal(disk->storage->in_flight_count, 2);
    expect_equal(done_count, 0);
}

static void
expect_pair(struct disk *disk, uint64_t first_size)
{
    expect(items[0].done_order < items[1].done_order);
    expect(items[0].request.result == STORAGE_OK && items[1].request.result == STORAGE_OK);
    const uint8_t *first = read_back(disk, STORAGE_PREPARES, SECTOR_SIZE, first_size);
    expect(pattern_is(first, first_size, first_size));
    const uint8_t *second = read_back(disk, STORAGE_HEADERS, SECTOR_SIZE, SECTOR_SIZE);
    expect(pattern_is(second, SECTOR_SIZE, 1 + first_size));
}

/* Nothing is written inside submit by calls, and all of it, in order, by the next poll. */
static void
by_calls(struct disk *disk)
{
    if (disk->os.method == STORAGE_OS_SYNC) return;
    struct done before = {0};
    before = done_since(disk, &before);
    submit_pair(disk, CHOICE_SIZE_MAX);
    struct done done = done_since(disk, &before);
    expect_equal(done.calls, 0);
    expect_equal(done.rings, 0);
    expect_equal(storage_poll(disk->storage), 2);
    done = done_since(disk, &before);
    expect_equal(done.calls, 2);
    expect_equal(done.rings, 0);
    expect_equal(done.solo[STORAGE_WAY_CALL], 1);
    expect_equal(disk->storage->in_flight_count, 0);
    expect(disk->storage->solo.latency_ns[STORAGE_WAY_CALL] > 0);
    expect_pair(disk, CHOICE_SIZE_MAX);

    /* A wait does it too: its caller blocks anyway, whatever else there may be. */
    before = done_since(disk, &(struct done){0});
    disk->storage->idle = false;
    submit_pair(disk, SECTOR_SIZE);
    expect_equal(storage_wait(disk->storage), 2);
    expect_equal(done_since(disk, &before).calls, 2);
    expect_pair(disk, SECTOR_SIZE);
}

UNIT_TEST(the_next_poll_does_a_held_write)
{
    on_kinds(by_calls, DISK_AUTO, DISK_AUTO_DIRECT);
}

/* Something has come up before the poll; or the write is too large; or it isn't the only one. */
static void
by_the_ring(struct disk *disk)
{
    if (disk->os.method == STORAGE_OS_SYNC) return;
    const struct done before = done_since(disk, &(struct done){0});
    disk->storage->idle = false;
    submit_pair(disk, SECTOR_SIZE);
    while (disk->storage->in_flight_count > 0) (void) storage_poll(disk->storage);
    expect_pair(disk, SECTOR_SIZE);

    disk->storage->idle = true;
    submit_pair(disk, BIG);
    while (disk->storage->in_flight_count > 0) (void) storage_poll(disk->storage);
    expect_pair(disk, BIG);

    submit_pair(disk, SECTOR_SIZE);
    submit(disk->storage, item_prepare(2, STORAGE_READ, STORAGE_GRID, 0, SECTOR_SIZE));
    drain(disk->storage);
    expect_pair(disk, SECTOR_SIZE);

    items_reset();
    submit(disk->storage, item_prepare(2, STORAGE_READ, STORAGE_GRID, 0, SECTOR_SIZE));
    pattern_fill(buffers[0], SECTOR_SIZE, 5);
    submit(disk->storage, item_prepare(0, STORAGE_WRITE, STORAGE_GRID, BIG, SECTOR_SIZE));
    drain(disk->storage);
    expect(pattern_is(read_back(disk, STORAGE_GRID, BIG, SECTOR_SIZE), SECTOR_SIZE, 5));

    const struct done done = done_since(disk, &before);
    expect_equal(done.calls, 0);
    expect(done.rings >= 4);
    expect_equal(done.solo[STORAGE_WAY_CALL], 0);
    /* None of these says how long a solo one takes. */
    expect_equal(done.solo[STORAGE_WAY_RING], 0);
}

UNIT_TEST(a_write_in_company_goes_through_the_ring)
{
    on_kinds(by_the_ring, DISK_AUTO, DISK_AUTO_DIRECT);
}

/* A method that was asked for is the only one. */
static void
forced(struct disk *disk)
{
    const bool sync = disk->os.method == STORAGE_OS_SYNC;
    const struct done before = done_since(disk, &(struct done){0});
    if (chooses(disk)) return;
    for (uint32_t i = 0; i < 3 * CHOICE_LATENCIES; i++) {
        submit_pair(disk, SECTOR_SIZE);
        drain(disk->storage);
        expect_equal(items[1].done_order, 2);
    }
    expect_pair(disk, SECTOR_SIZE);
    const struct done done = done_since(disk, &before);
    const enum storage_way way = sync ? STORAGE_WAY_CALL : STORAGE_WAY_RING;
    expect_equal(disk->storage->solo.way, way);
    expect_equal(done.solo[way], 3 * CHOICE_LATENCIES);
    expect_equal(done.solo[way == STORAGE_WAY_CALL ? STORAGE_WAY_RING : STORAGE_WAY_CALL], 0);
    expect(disk->storage->solo.latency_ns[way] > 0);
    if (!sync) expect_equal(done.calls, 0);
    if (sync) expect_equal(done.rings, 0);
}

UNIT_TEST(a_forced_method_is_measured_and_kept) { on_real_disks(forced); }

/* What both ways are measured by is really done, and what it finds is used. */
static void
found_out(struct disk *disk)
{
    if (disk->os.method == STORAGE_OS_SYNC) return;
    struct storage *storage = disk->storage;
    storage_choice_init(
        storage_uring_choice(disk->os.uring), &storage->solo, STORAGE_WAY_RING, false);
    for (uint32_t i = 0; i < 3 * CHOICE_TURN; i++) {
        submit_pair(disk, SECTOR_SIZE);
        while (storage->in_flight_count > 0) (void) storage_poll(storage);
        expect_equal(items[1].done_order, 2);
    }
    expect_pair(disk, SECTOR_SIZE);
    const struct storage_solo_stats *solo = &storage->solo;
    expect_equal(solo->writes[STORAGE_WAY_RING], 2 * CHOICE_TURN);
    expect_equal(solo->writes[STORAGE_WAY_CALL], CHOICE_TURN);
    expect(solo->latency_ns[STORAGE_WAY_RING] > 0 && solo->latency_ns[STORAGE_WAY_CALL] > 0);
}

UNIT_TEST(both_ways_are_tried) { on_kinds(found_out, DISK_AUTO, DISK_AUTO_DIRECT); }

/* A callback that submits the next write, as a caller does that always has one more. */
static struct storage *chained_storage;

static void
on_chained(struct storage_request *request)
{
    item_on_done(request);
    const uint32_t next = done_count;
    if (next >= 8) return;
    pattern_fill(buffers[next], SECTOR_SIZE, next);
    struct storage_request *write =
        item_prepare(next, STORAGE_WRITE, STORAGE_GRID, next * SECTOR_SIZE, SECTOR_SIZE);
    write->callback = on_chained;
    submit(chained_storage, write);
}

static void
chained(struct disk *disk)
{
    items_reset();
    chained_storage = disk->storage;
    pattern_fill(buffers[0], SECTOR_SIZE, 0);
    struct storage_request *write = item_prepare(0, STORAGE_WRITE, STORAGE_GRID, 0, SECTOR_SIZE);
    write->callback = on_chained;
    submit(disk->storage, write);
    drain(disk->storage);
    expect_equal(done_count, 8);
    for (uint32_t i = 0; i < 8; i++) {
        const uint8_t *bytes = read_back(disk, STORAGE_GRID, i * SECTOR_SIZE, SECTOR_SIZE);
        expect(pattern_is(bytes, SECTOR_SIZE, i));
    }
}

UNIT_TEST(callbacks_of_solo_writes_submit_the_next) { on_every_disk(chained); }

/* What is held when storage is closed was never begun. */
static void
close_held(struct disk *disk)
{
    if (disk->os.method == STORAGE_OS_SYNC) return;
    submit_pair(disk, SECTOR_SIZE);
    storage_os_close(&disk->os);
    expect_equal(done_count, 0);
    expect(disk_os_open(disk, false) == STORAGE_OS_OPENED);
    expect(bytes_zero(read_back(disk, STORAGE_PREPARES, SECTOR_SIZE, SECTOR_SIZE), SECTOR_SIZE));
}

UNIT_TEST(closing_with_a_held_write) { on_kinds(close_held, DISK_AUTO, DISK_AUTO_DIRECT); }

UNIT_MAIN(test_storage_choice)
