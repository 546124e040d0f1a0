# Everything that is not the extension itself: tests, lint, benchmarks, the tour. Build products go to build/.

BUILD = build
CC ?= gcc

# The core and its tests, with tiny limits and sanitizers.
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
TEST_CFLAGS = -std=gnu11 -g -O1 -DLEDGER_CONFIG_TEST_MIN -Isrc -Itest -MMD -MP $(SANITIZE)
TEST_WARNINGS = -Wall -Wextra -Wshadow -Wswitch-enum -Wno-missing-field-initializers -Werror
CORE_WARNINGS_STRICT = $(CORE_WARNINGS) -Werror
TEST_LIBS = -lxxhash -luring -lpthread -lssl -lcrypto

UNIT_SRCS = $(sort $(wildcard test/unit/test_*.c))
# Calls of the system are replaced only where the tests of storage are linked.
STORAGE_SRCS = test/unit/storage_fixture.c test/unit/storage_hooks.c
UNIT_SHARED_SRCS = $(filter-out $(UNIT_SRCS) $(STORAGE_SRCS),$(sort $(wildcard test/unit/*.c)))
MODEL_SRCS = $(sort $(wildcard test/model/*.c))
SIM_SHARED_SRCS = test/sim/storage_sim.c test/sim/network_sim.c test/sim/memory.c
SIM_SRCS = $(filter-out $(SIM_SHARED_SRCS),$(sort $(wildcard test/sim/*.c)))
FUZZ_SRCS = $(sort $(wildcard test/fuzz/*.c))

test_objects = $(patsubst %.c,$(BUILD)/test/%.o,$(1))
TEST_CORE_OBJS = $(call test_objects,$(CORE_SRCS) $(OS_SRCS))
TEST_SHARED_OBJS = $(call test_objects,$(SIM_SHARED_SRCS) $(MODEL_SRCS) $(UNIT_SHARED_SRCS))
UNIT_BINARIES = $(patsubst test/unit/%.c,$(BUILD)/unit/%,$(UNIT_SRCS)) $(BUILD)/unit/test_lsm_parts_production \
	$(BUILD)/unit/test_network_production $(BUILD)/unit/test_network_stress_production

$(BUILD)/test/src/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(TEST_CFLAGS) $(CORE_WARNINGS_STRICT) -c $< -o $@

$(BUILD)/test/test/%.o: test/%.c
	@mkdir -p $(@D)
	$(CC) $(TEST_CFLAGS) $(TEST_WARNINGS) -c $< -o $@

$(BUILD)/libtest.a: $(TEST_CORE_OBJS) $(TEST_SHARED_OBJS)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/unit/%: $(BUILD)/test/test/unit/%.o $(BUILD)/libtest.a
	@mkdir -p $(@D)
	$(CC) $(TEST_CFLAGS) $(filter %.o,$^) $(BUILD)/libtest.a -o $@ $(TEST_LIBS)

$(addprefix $(BUILD)/unit/,test_storage test_storage_choice test_storage_files test_storage_os test_storage_sim): $(call test_objects,$(STORAGE_SRCS))

# Parts of blocks with production limits too: there a record can lie in two sectors of four.
PARTS_SRCS = test/unit/test_lsm_parts.c $(addprefix test/unit/,unit.c unit_aborts.c lsm_fixture.c tree_fixture.c reseal.c) \
	test/sim/storage_sim.c test/sim/memory.c $(wildcard src/base/*.c) src/store/grid.c \
	src/store/free_set.c $(addprefix src/lsm/,block_cache.c block_cache_recount.c table.c tree.c filter.c)
PARTS_CFLAGS = $(filter-out -DLEDGER_CONFIG_TEST_MIN -MMD -MP,$(TEST_CFLAGS))

$(BUILD)/unit/test_lsm_parts_production: $(PARTS_SRCS) $(wildcard src/*.h src/*/*.h src/*/*/*.h test/*/*.h)
	@mkdir -p $(@D)
	$(CC) $(PARTS_CFLAGS) $(TEST_WARNINGS) $(PARTS_SRCS) -o $@ $(TEST_LIBS)

# Messages with production limits too: there a prepare is sixteen times what is read ahead.
NETWORK_SRCS = $(addprefix test/unit/,unit.c message_fixture.c network_fixture.c) \
	$(wildcard src/base/*.c) src/store/prepare.c src/store/members.c $(wildcard src/vsr/message*.c) $(wildcard src/os/network_*.c)

$(addprefix $(BUILD)/unit/,test_network_production test_network_stress_production): $(BUILD)/unit/%_production: test/unit/%.c \
		$(NETWORK_SRCS) $(wildcard src/*.h src/*/*.h test/*/*.h)
	@mkdir -p $(@D)
	$(CC) $(PARTS_CFLAGS) $(TEST_WARNINGS) $< $(NETWORK_SRCS) -o $@ $(TEST_LIBS)

# Stepped instruction by instruction: without those of sanitizers.
SLEEPERS_SRCS = test/unit/test_sleepers.c test/unit/unit.c src/os/sleepers.c
SLEEPERS_CFLAGS = $(filter-out $(SANITIZE),$(PARTS_CFLAGS))

$(BUILD)/unit/test_sleepers: $(SLEEPERS_SRCS) src/os/sleepers.h test/unit/unit.h
	@mkdir -p $(@D)
	$(CC) $(SLEEPERS_CFLAGS) $(TEST_WARNINGS) -Wl,-z,now $(SLEEPERS_SRCS) -o $@

$(BUILD)/sim: $(call test_objects,$(SIM_SRCS)) $(BUILD)/libtest.a
	$(CC) $(TEST_CFLAGS) $^ -o $@ $(TEST_LIBS)

# The same without sanitizers, for many seeds: a trace is the same in both. Assertions are on.
FAST_CFLAGS = $(filter-out -O1 $(SANITIZE),$(TEST_CFLAGS)) -O3 -march=native
FAST_SRCS = $(SIM_SRCS) $(SIM_SHARED_SRCS) $(MODEL_SRCS) $(CORE_SRCS)

$(BUILD)/fast/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(FAST_CFLAGS) $(TEST_WARNINGS) -c $< -o $@

$(BUILD)/sim_fast: $(patsubst %.c,$(BUILD)/fast/%.o,$(FAST_SRCS))
	$(CC) $(FAST_CFLAGS) $^ -o $@ -lxxhash

# The same with all canaries in it (tools/canaries.py, which says which sources they are in).
CANARY_DIR = $(BUILD)/canaries

$(CANARY_DIR)/objects/%.o: $(CANARY_DIR)/src/%.c
	@mkdir -p $(@D)
	$(CC) -I$(CANARY_DIR)/src $(FAST_CFLAGS) -c $< -o $@

$(CANARY_DIR)/plain/%.o: %.c
	@mkdir -p $(@D)
	$(CC) -I$(CANARY_DIR)/src $(FAST_CFLAGS) -c $< -o $@

$(CANARY_DIR)/sim: $(patsubst src/%.c,$(CANARY_DIR)/objects/%.o,$(CANARY_SRCS)) \
		$(patsubst %.c,$(CANARY_DIR)/plain/%.o,$(filter-out $(CANARY_SRCS),$(FAST_SRCS))) $(CANARY_DIR)/canary.c
	$(CC) $(FAST_CFLAGS) $^ -o $@ -lxxhash

$(BUILD)/fuzz: $(call test_objects,$(FUZZ_SRCS)) $(BUILD)/libtest.a
	$(CC) $(TEST_CFLAGS) $^ -o $@ $(TEST_LIBS)

# Millions of states: without sanitizers.
PROTOCOL_SRCS = $(sort $(wildcard test/protocol/*.c)) src/vsr/view_choice.c src/store/members.c src/base/checksum.c
PROTOCOL_CFLAGS = -O2 $(filter-out -O1 -MMD -MP $(SANITIZE),$(TEST_CFLAGS))

$(BUILD)/protocol: $(PROTOCOL_SRCS) $(wildcard src/*.h src/base/*.h src/store/*.h src/vsr/*.h test/protocol/*.h)
	@mkdir -p $(@D)
	$(CC) $(PROTOCOL_CFLAGS) $(TEST_WARNINGS) $(PROTOCOL_SRCS) -o $@ $(TEST_LIBS)

-include $(shell test -d $(BUILD) && find $(BUILD) -name '*.d')

.PHONY: unit sim fuzz protocol canaries lint tidy deps quickstart quickstart-cluster quickstart-stop test test-quick regress tap jepsen bench bench-cluster bench-engine bench-engine-smoke bench-network bench-forest help

deps:
	tools/deps.sh

unit: $(UNIT_BINARIES)
	tools/run_unit.sh $(UNIT_BINARIES)

# make sim SEED=n [COUNT=n]
SEED ?= 1
COUNT ?= 1
sim: $(BUILD)/sim
	$(BUILD)/sim $(SEED) $(COUNT)

fuzz: $(BUILD)/fuzz
	$(BUILD)/fuzz

protocol: $(BUILD)/protocol
	$(BUILD)/protocol

# Rules that are broken on purpose: each must be noticed. `tools/canaries.py NAME` for one.
canaries:
	tools/canaries.py

tidy:
	tools/tidy.py

lint: tidy
	tools/lint.sh

regress:
	tools/postgres_tests.sh regress

# Helpers of the TAP tests.
$(BUILD)/deny_io_uring: test/tap/deny_io_uring.c
	@mkdir -p $(@D)
	$(CC) -O2 -Wall -Wextra -Werror -o $@ $<

$(BUILD)/clock_ahead.so: test/tap/clock_ahead.c
	@mkdir -p $(@D)
	$(CC) -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $<

$(BUILD)/kill_at.so: test/tap/kill_at.c test/tap/next_symbol.h
	@mkdir -p $(@D)
	$(CC) -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $<

$(BUILD)/file_faults.so: test/tap/file_faults.c test/tap/next_symbol.h
	@mkdir -p $(@D)
	$(CC) -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $<

# make tap [TESTS=test/tap/001_name.pl]
tap: $(BUILD)/deny_io_uring $(BUILD)/clock_ahead.so $(BUILD)/kill_at.so $(BUILD)/file_faults.so
	tools/postgres_tests.sh tap $(TESTS)

# A cluster under all kinds of faults, and whether its history has an explanation.
#   make jepsen [SECONDS=n] [ARGS="--seed n --keep"]
SECONDS ?= 120
jepsen:
	tools/postgres_tests.sh jepsen --seconds $(SECONDS) $(ARGS)

# make test [MAJORS="17 18"]
test:
	tools/test.sh $(MAJORS)

quickstart:
	tools/quickstart.sh

quickstart-cluster:
	tools/quickstart_cluster.sh

quickstart-stop:
	tools/quickstart.sh stop
	tools/quickstart_cluster.sh stop

bench:
	tools/postgres_tests.sh bench

bench-cluster:
	tools/postgres_tests.sh bench bench_cluster

# The engine through its façade, with production limits and as PGXS compiles the extension. A case, or the suite:
#   make bench-engine [ENGINE_TRANSFERS=n] [ARGS="--accounts 10000"]
BENCH_CFLAGS = -std=gnu11 -O2 -g -fPIC -fvisibility=hidden -fno-strict-aliasing -fwrapv -fexcess-precision=standard \
	-fstack-protector-strong -fno-omit-frame-pointer -Isrc -Itest -MMD -MP
BENCH_ENGINE_SRCS = test/bench/bench_engine.c test/bench/engine_host.c test/bench/engine_load.c \
	test/bench/engine_cases.c test/bench/engine_report.c
ENGINE_TRANSFERS ?= 10000000

$(BUILD)/bench/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) $(TEST_WARNINGS) -c $< -o $@

$(BUILD)/bench_engine: $(patsubst %.c,$(BUILD)/bench/%.o,$(BENCH_ENGINE_SRCS) $(CORE_SRCS) $(OS_SRCS))
	$(CC) $(BENCH_CFLAGS) $^ -o $@ $(TEST_LIBS) -lm

bench-engine: $(BUILD)/bench_engine
	$(BUILD)/bench_engine --transfers $(ENGINE_TRANSFERS) $(or $(ARGS),--suite)

bench-engine-smoke: $(BUILD)/bench_engine
	$(BUILD)/bench_engine --smoke --dir $${LEDGER_STAGE_PARENT:-/var/tmp}/ledger-bench.$$$$

# The network between two processes, with production limits.
$(BUILD)/bench_network: $(patsubst %.c,$(BUILD)/bench/%.o,test/bench/bench_network.c test/unit/message_fixture.c $(CORE_SRCS) $(OS_SRCS))
	$(CC) $(BENCH_CFLAGS) $^ -o $@ $(TEST_LIBS)

# make bench-network [ARGS="--seconds 5"]
bench-network: $(BUILD)/bench_network
	$(BUILD)/bench_network $(ARGS)

# The forest alone, with production limits.
bench-forest:
	@mkdir -p $(BUILD)
	$(CC) -std=gnu11 -O2 -g -Isrc -Itest test/bench/bench_forest.c $(CORE_SRCS) -o $(BUILD)/bench_forest -lxxhash
	$(BUILD)/bench_forest

help:
	@sed -n '1,7p' Makefile
