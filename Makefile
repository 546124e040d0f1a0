# ledger: a double-entry ledger database inside PostgreSQL.
#
#   make quickstart    from nothing to a running ledger, with a tour
#   make quickstart-cluster   the same on three servers, of which one is lost
#   make test          every test, from a clean clone; ends with "N passed, N failed"
#   make, make install build and install into the PostgreSQL that pg_config names
#   make bench-engine  the engine alone, without SQL [ENGINE_TRANSFERS=n] [ARGS="--help"]
#   make lint bench    see README.md

EXTENSION = ledger
DATA = ledger--1.0.sql
MODULE_big = ledger
PGFILEDESC = "ledger - double-entry ledger database"

# Layer by layer, in the order of their dependencies.
BASE_SRCS = $(sort $(wildcard src/base/*.c))
STORE_SRCS = $(sort $(wildcard src/store/*.c))
LSM_SRCS = $(sort $(wildcard src/lsm/*.c))
FOREST_SRCS = $(sort $(wildcard src/forest/*.c))
LEDGER_SRCS = $(sort $(wildcard src/ledger/*.c))
VSR_SRCS = $(sort $(wildcard src/vsr/*.c))
ENGINE_SRCS = $(sort $(wildcard src/engine/*.c))
CORE_SRCS = $(BASE_SRCS) $(STORE_SRCS) $(LSM_SRCS) $(FOREST_SRCS) $(LEDGER_SRCS) $(VSR_SRCS) $(ENGINE_SRCS)
OS_SRCS = $(sort $(wildcard src/os/*.c))
PG_SRCS = $(sort $(wildcard src/pg/*.c src/pg/worker/*.c src/pg/client/*.c src/pg/sql/*.c src/pg/fdw/*.c))

CORE_OBJS = $(CORE_SRCS:.c=.o)
OS_OBJS = $(OS_SRCS:.c=.o)
PG_OBJS = $(PG_SRCS:.c=.o)
OBJS = $(CORE_OBJS) $(OS_OBJS) $(PG_OBJS)

# STRICT=1 makes warnings errors: for this project's own tests, not for a user's compiler.
WERROR = $(if $(STRICT),-Werror)
CORE_WARNINGS = -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wswitch-enum -Wundef -Wcast-align -Wvla -Wnull-dereference \
	-Wduplicated-cond -Wlogical-op -Wframe-larger-than=32768 $(WERROR)
GLUE_WARNINGS = -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers $(WERROR)

PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -std=gnu11 -Wno-declaration-after-statement -MMD -MP
SHLIB_LINK = -luring -lxxhash -lpthread -lssl -lcrypto
EXTRA_CLEAN = $(OBJS:.o=.d) build

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
NO_INSTALLCHECK = 1

PG_CONFIG ?= pg_config

GOALS_WITHOUT_POSTGRES = quickstart quickstart-cluster quickstart-stop test test-quick deps unit sim fuzz protocol canaries lint tidy bench bench-cluster bench-engine bench-engine-smoke bench-network bench-forest regress tap jepsen help
ifneq ($(filter-out $(GOALS_WITHOUT_POSTGRES),$(or $(MAKECMDGOALS),all)),)
override with_llvm := no
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
override with_llvm := no

$(CORE_OBJS) $(OS_OBJS): override CFLAGS += -fvisibility=hidden $(CORE_WARNINGS)
$(PG_OBJS): override CFLAGS += $(GLUE_WARNINGS)
-include $(OBJS:.o=.d)
endif

include test/test.mk
