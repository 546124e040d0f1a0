/* SPDX-License-Identifier: PostgreSQL */
/* What the files of the model share. */
#ifndef LEDGER_TEST_MODEL_MODEL_INTERNAL_H
#define LEDGER_TEST_MODEL_MODEL_INTERNAL_H

#include "model/model.h"

/* The id is not in the list. */
void model_ids_add(struct model_ids *ids, u128 id);

/* What the event gets at its slot. Nothing changes unless it is STATUS_CREATED. */
uint32_t model_create_account(struct model *model, const struct account *event, uint64_t slot);
uint32_t model_create_transfer(struct model *model, const struct transfer *event, uint64_t slot);

/* Failures that depend on the state, and so might turn into success: the id is burnt instead. */
bool model_transient(uint32_t status);

/* What was reserved is free again, and what the pending transfer closed is open again. */
void model_pending_release(struct model *model, const struct transfer *pending);

/* Records an event of the transfer. The accounts have been changed already. */
void model_event_add(
    struct model *model,
    const struct transfer *transfer,
    enum change_event_type type,
    uint64_t timestamp);

#endif
